"""Whether other processes still run."""

import psutil


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for its parent to take note of its end."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
