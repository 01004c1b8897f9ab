"""How many processor cores there are to work with."""

import math
import os

from app.cgroup import read_cpu_limit


def num_cores() -> int:
    """Those that this process may use: in a container often fewer than the machine has."""
    cores = len(os.sched_getaffinity(0))
    limit = read_cpu_limit()
    return cores if limit is None else min(cores, max(1, math.ceil(limit)))
