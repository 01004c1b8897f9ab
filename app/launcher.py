"""The parent of a training run: passes signals on, and knows what a killed child cannot say.

The child is a process of its own because the kernel's out-of-memory killer leaves a process no last
word. The parent imports no torch, so it stays small.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

from app.errors import EXIT_BUG
from app.memory import MemorySampler, read_cgroup_peak_gib
from app.sagemaker import Paths, write_failure

logger = logging.getLogger(__name__)

_SIGNAL_EXIT_BASE = 128
_PR_SET_PDEATHSIG = 1
_SAMPLE_INTERVAL_S = 0.5
_IMPATIENT = (
    "training process killed by a second Ctrl-C; the same command resumes its last checkpoint"
)


class StopFlag:
    """Whether this process was asked to stop: a callable, set by SIGTERM."""

    def __init__(self) -> None:
        self._is_set = False

    def __call__(self) -> bool:
        """True once the process was asked."""
        return self._is_set

    def listen(self) -> None:
        """Let SIGTERM set the flag, also one that came before this call."""
        signal.signal(signal.SIGTERM, self._set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _set(self, signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._is_set = True


def supervise(arguments: Sequence[str], paths: Paths) -> int:
    """Run `python -m app ARGUMENTS --in-process` as a child and return the exit code to end with.

    SIGTERM, and a first Ctrl-C, are passed on as SIGTERM: the child finishes its step, saves and
    ends with 0. A second Ctrl-C kills it. A child that a signal ended gets its failure file here,
    and the exit code a shell would give it, 128 plus the signal's number.

    Args:
        arguments: The command line, from its command on.
        paths: Where the failure file goes.
    """
    flags = ["-P"] if sys.flags.safe_path else []
    command = [sys.executable, *flags, "-m", "app", *arguments, "--in-process"]
    child: subprocess.Popen[bytes] | None = None
    is_stopping = is_killed = False

    def pass_on(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal is_stopping, is_killed
        is_killed = is_killed or (is_stopping and signal_number == signal.SIGINT)
        is_stopping = True
        if child is not None:
            child.send_signal(signal.SIGKILL if is_killed else signal.SIGTERM)

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, pass_on)
    with MemorySampler(_SAMPLE_INTERVAL_S) as memory:
        # In a session of its own: a terminal's Ctrl-C would otherwise also reach the data workers.
        # SIGTERM waits, in the child too, until the child listens: before, it would end it unsaid.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        child = subprocess.Popen(command, start_new_session=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if is_stopping:  # asked before the child was there
            child.send_signal(signal.SIGTERM)
        exit_code = child.wait()
        if exit_code >= 0:
            return exit_code
        message = _IMPATIENT if is_killed else _describe_death(-exit_code, memory)
    logger.error("%s", message)
    write_failure(paths, message)
    return _SIGNAL_EXIT_BASE - exit_code


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies: two runs never share checkpoints."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the request
            sys.exit(EXIT_BUG)


def _describe_death(signal_number: int, memory: MemorySampler) -> str:
    name = signal.Signals(signal_number).name
    if signal_number != signal.SIGKILL:
        return (
            f"training process ended by {name}: a crash in native code; set device=cpu or "
            "precision=fp32 to narrow it down"
        )
    limit_gib, peak_gib = memory.limit_gib(), read_cgroup_peak_gib()
    limit = "unknown" if limit_gib is None else f"{limit_gib:.2f} GiB"
    highest = max(memory.peak_rss_gib(), peak_gib or 0.0)
    return (
        f"training process killed by the kernel (SIGKILL), probably out of memory: peak "
        f"{highest:.2f} GiB of a limit of {limit}; lower batch_size, crop_size_px or num_workers, "
        "or take an instance with more memory"
    )
