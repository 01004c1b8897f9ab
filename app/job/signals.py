"""Requests to stop, as signals bring them, and how a process ends."""

import atexit
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


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


class StopRequests:
    """Requests to a parent: to stop, by SIGTERM or Ctrl-C, or to kill, by a further Ctrl-C."""

    def __init__(self) -> None:
        self._num_stops = 0
        self._must_kill = False
        self._by_person = False

    def listen(self) -> None:
        """Let SIGTERM and SIGINT count from now on."""
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, self._count)

    def to_stop(self) -> bool:
        """Whether any request came."""
        return self._num_stops > 0

    def to_kill(self) -> bool:
        """Whether Ctrl-C came after an earlier request."""
        return self._must_kill

    def by_person(self) -> bool:
        """Whether Ctrl-C was among the requests."""
        return self._by_person

    def _count(self, signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._by_person |= signal_number == signal.SIGINT
        self._must_kill |= self._num_stops > 0 and signal_number == signal.SIGINT
        self._num_stops += 1


def end_rank(exit_code: int) -> NoReturn:
    """End this training process, one of several, once its exit handlers have run.

    The interpreter is not shut down. Where DistributedDataParallel was used, threads of torch's
    gloo outlive the process group; a thread that frees a tensor during the shutdown aborts the
    process, which then seems to have failed (PyTorch pull request 179291 describes it).
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None where the parent process closed it
            stream.flush()
    os._exit(exit_code)
