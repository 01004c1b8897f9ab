"""The processes that a parent started: signals to them, their ends, their last words."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from app.base.children import PARENT_VARIABLE
from app.job.signals import stops_held

_MAX_LAST_BYTES = 16 * 1024
_CHUNK_BYTES = 64 * 1024
_READER_LIMIT_S = 2.0


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        number: Which of the processes, from 0.
        exit_code: As subprocess has it: minus the signal's number where a signal ended it.
        was_killed: Whether it ended because its parent killed it.
    """

    number: int
    exit_code: int
    was_killed: bool


class Processes:
    """Children that run the same command, each in a session of its own with all it starts.

    So a terminal's Ctrl-C does not reach them, and killing one leaves nothing of it behind.

    Args:
        command: What they run.
        environments: Variables of each, beside this process's own.
        keep_last_words: Whether to read their stderr and pass it on, so that its last lines can be
            quoted.
    """

    def __init__(
        self,
        command: Sequence[str],
        environments: Sequence[Mapping[str, str]],
        *,
        keep_last_words: bool,
    ) -> None:
        self.ended: list[Ended] = []
        self._killed: set[int] = set()
        self._children: list[subprocess.Popen[bytes]] = []
        self._readers: list[threading.Thread] = []
        self._last_words: list[bytearray] = []
        try:
            # Before the children listen, a stop would just end them.
            with stops_held():
                for environment in environments:
                    self._start(command, environment, keep_last_words=keep_last_words)
        except BaseException:
            self.kill()
            raise

    @property
    def are_running(self) -> bool:
        """Whether any has not ended, as far as `reap` has seen."""
        return len(self.ended) < len(self._children)

    def send(self, signal_number: int, *, to_all_they_started: bool = False) -> None:
        """Send a signal to those that run, and if asked for to every process of their sessions."""
        for child in self._running():
            # macOS refuses a group of processes that have all ended.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if to_all_they_started:
                    os.killpg(child.pid, signal_number)
                else:
                    # Not child.send_signal, which would reap one that has just ended.
                    os.kill(child.pid, signal_number)

    def kill(self) -> None:
        """End those that run, and all that any of them started, at once."""
        for child in self._children:
            if child.returncode is None:
                self._killed.add(child.pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Note which have ended since the last call.

        As process 1 of a container, this process also gets the orphans of all others.
        """
        numbers = {child.pid: number for number, child in enumerate(self._children)}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in numbers:
                exit_code = os.waitstatus_to_exitcode(status)
                self._children[numbers[pid]].returncode = exit_code
                # It may have ended by itself just before it was to be killed.
                was_killed = pid in self._killed and exit_code == -signal.SIGKILL
                self.ended.append(Ended(numbers[pid], exit_code, was_killed))

    def last_words(self, number: int) -> str:
        """The end of what a process wrote to stderr; empty where that was not kept."""
        for reader in self._readers:
            # A process that it started may hold the pipe open for longer.
            reader.join(_READER_LIMIT_S)
        return self._last_words[number].decode(errors="backslashreplace")

    def _start(
        self, command: Sequence[str], environment: Mapping[str, str], *, keep_last_words: bool
    ) -> None:
        child = subprocess.Popen(
            command,
            env={**os.environ, **environment, PARENT_VARIABLE: str(os.getpid())},
            start_new_session=True,
            stderr=subprocess.PIPE if keep_last_words else None,
        )
        self._children.append(child)
        self._last_words.append(bytearray())
        if child.stderr is not None:
            self._read(child.stderr, self._last_words[-1])

    def _running(self) -> list[subprocess.Popen[bytes]]:
        return [child for child in self._children if child.returncode is None]

    def _read(self, stream: IO[bytes], last_words: bytearray) -> None:
        def read() -> None:
            while chunk := os.read(stream.fileno(), _CHUNK_BYTES):
                last_words.extend(chunk)
                del last_words[:-_MAX_LAST_BYTES]
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.buffer.write(chunk)
                    sys.stderr.buffer.flush()

        reader = threading.Thread(target=read, name="last-words", daemon=True)
        reader.start()
        self._readers.append(reader)
