"""Other processes: programs that a test starts, whether they still run, and waiting for them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.support.paths import ROOT

LIMIT_S = 60.0  # against hangs


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for its parent to take note of its end."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> None:
    """Wait until a condition holds; it has to within the limit."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def start_until(there: Path, program: str, *arguments: str) -> subprocess.Popen[str]:
    """A program in Python, once it has made a file, or has ended without."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    wait_until(lambda: there.exists() or process.poll() is not None)
    return process
