"""Requests to stop, as signals bring them, and how a process ends."""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Final, NoReturn

# SIGHUP comes when a terminal is closed, SIGUSR1 from schedulers that are about to end a job.
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_HELD: Final = (*STOP_SIGNALS, signal.SIGINT)
# A data worker that is stuck in a read cannot be waited for.
_EXIT_HANDLERS_LIMIT_S: Final = 10.0

_Handler = Callable[[int, FrameType | None], None]


def hold_signals() -> None:
    """Let signals that would end this process wait until it listens, or lets them through.

    Before that, process 1 of a container never gets them, and any other process is just ended.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)


def release_signals() -> None:
    """Let through what `hold_signals` holds."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


@contextlib.contextmanager
def stops_held() -> Iterator[None]:
    """Stops wait during the block, and also in the processes that it starts, until they listen."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


class StopFlag:
    """Whether this process was asked to stop: a callable, set by SIGTERM, SIGHUP or SIGUSR1."""

    def __init__(self) -> None:
        self._is_set = False

    def __call__(self) -> bool:
        """True once the process was asked."""
        return self._is_set

    def listen(self) -> None:
        """Let the signals set the flag, also those that came before this call."""
        _listen(STOP_SIGNALS, self._set)

    def _set(self, signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._is_set = True


class StopRequests:
    """Requests to a parent: to stop, by SIGTERM and the like or Ctrl-C, or to kill, by more Ctrl-C.

    Attributes:
        first: Name of the signal that came first; None where none came.
    """

    def __init__(self) -> None:
        self.first: str | None = None
        self._must_kill = False
        self._by_person = False

    def listen(self) -> None:
        """Let the signals count, also those that came before this call."""
        _listen((*STOP_SIGNALS, signal.SIGINT), self._count)

    def to_stop(self) -> bool:
        """Whether any request came."""
        return self.first is not None

    def to_kill(self) -> bool:
        """Whether Ctrl-C came after an earlier request."""
        return self._must_kill

    def by_person(self) -> bool:
        """Whether Ctrl-C was among the requests."""
        return self._by_person

    def _count(self, signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._by_person |= signal_number == signal.SIGINT
        self._must_kill |= self.to_stop() and signal_number == signal.SIGINT
        self.first = self.first or signal.Signals(signal_number).name


def _listen(numbers: Sequence[signal.Signals], handler: _Handler) -> None:
    for number in numbers:
        # nohup, and shells for what runs in the background, have a process ignore it on purpose.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
    release_signals()


def end_rank(exit_code: int) -> NoReturn:
    """End this training process once its exit handlers have run, or have taken 10 s.

    The interpreter is not shut down. Where DistributedDataParallel was used, threads of torch's
    gloo outlive the process group; a thread that frees a tensor during the shutdown aborts the
    process, which then seems to have failed (PyTorch pull request 179291 describes it).
    """
    _flush()
    limit = threading.Timer(_EXIT_HANDLERS_LIMIT_S, os._exit, (exit_code,))
    limit.daemon = True
    limit.start()
    atexit._run_exitfuncs()
    _flush()
    os._exit(exit_code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None where the parent process closed it
            with contextlib.suppress(OSError):  # nobody reads it any more
                stream.flush()
