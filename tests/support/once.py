"""What is made once for all processes that share the tests."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def make_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """A folder that is filled once, by whichever of the processes needs it first.

    Args:
        tmp_path_factory: Of the session.
        name: Names the folder.
        make: Fills a folder that is not there yet.
    """
    parent = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        parent = parent.parent
    folder, half_done = parent / name, parent / f"{name}-half-done"
    with (parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(half_done)
            half_done.rename(folder)
    return folder
