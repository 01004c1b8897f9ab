"""How many processor cores there are to work with."""

import os


def num_cores() -> int:
    """Those that this process may use, which in a container may be fewer than the machine has."""
    return len(os.sched_getaffinity(0))
