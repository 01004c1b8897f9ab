"""What else this machine does while it is measured."""

import os
import time

import psutil

from app.resources.cores import num_cores


class OtherWork:
    """Cores that other work takes from now on, which makes measurements slower."""

    def __init__(self) -> None:
        """Begin."""
        self._begun_s, self._busy_s = time.monotonic(), _others_busy_s()

    def taken_cores(self) -> float:
        """How many of this process's cores other work has taken since then, on average."""
        busy_cores = (_others_busy_s() - self._busy_s) / (time.monotonic() - self._begun_s)
        spare_cores = (psutil.cpu_count() or 1) - num_cores()
        return min(max(0.0, busy_cores - spare_cores), float(num_cores()))


def _others_busy_s() -> float:
    """CPU time of the whole machine, less that of this process and of its children that ended."""
    machine, own = psutil.cpu_times(), os.times()
    # A hypervisor gives "steal" to other machines.
    kinds = ("user", "nice", "system", "irq", "softirq", "steal")
    busy_s = sum(getattr(machine, kind, 0.0) for kind in kinds)
    return busy_s - own.user - own.system - own.children_user - own.children_system
