"""How many processor cores there are to work with."""

import math
import os

import psutil

from app.resources.cgroup import read_cpu_limit


def num_cores() -> int:
    """Cores that this process may use; in a container often fewer than the machine has."""
    cores = count_allowed_cores()
    limit = read_cpu_limit()
    return cores if limit is None else min(cores, max(1, math.ceil(limit)))


def count_allowed_cores() -> int:
    """Cores that this process may run on; all of the machine where the system lists none."""
    list_cores = getattr(os, "sched_getaffinity", None)  # of Linux alone
    return (os.cpu_count() or 1) if list_cores is None else len(list_cores(0))


def local_cores() -> int:
    """Physical cores of this machine; fewer where a container may use fewer."""
    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
    threads_per_core = logical / physical if physical and logical else 1.0
    return max(1, math.ceil(num_cores() / threads_per_core))


def read_cpu_flags() -> frozenset[str]:
    """Instruction sets of this machine's CPU as the kernel names them; empty where it does not."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - read in part
            line = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())


def computes_bf16(flags: frozenset[str]) -> bool:
    """Whether a CPU computes bfloat16 natively, as `precision=auto` asks."""
    return not flags.isdisjoint({"avx512_bf16", "amx_tile"})
