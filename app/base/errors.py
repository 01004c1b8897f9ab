"""Errors that the user can cause and cure, and the exit codes of a process.

Anything that is not a RoofError is our bug (exit 1, with a traceback). A message says what, where,
got, expected and how to fix, in one line.
"""

from collections.abc import Sequence
from pathlib import Path

EXIT_OK = 0
EXIT_BUG = 1
EXIT_DIVERGED = 1  # the platform's "algorithm error"
EXIT_USER_ERROR = 2
EXIT_LOST_PEER = 75  # EX_TEMPFAIL of sysexits.h: a later try may succeed
EXIT_SIGNAL_BASE = 128  # plus the signal's number, as in shells
EXIT_INTERRUPTED = 130  # + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE

_MAX_PROBLEMS_SHOWN = 10


class RoofError(Exception):
    """Base of every error the user can cause and cure.

    Its text is one printable line, whatever the names of files hold.
    """

    exit_code = EXIT_USER_ERROR

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class ConfigError(RoofError, ValueError):
    """A hyperparameter, a channel or a command line that cannot be used."""


class DataError(RoofError, ValueError):
    """A dataset, or one file of it, that cannot be used."""


class SampleError(DataError):
    """One sample of a dataset that cannot be used; the others can.

    Attributes:
        sample_id: Its name.
        path: The file a person should look at.
    """

    def __init__(self, sample_id: str, path: Path, message: str) -> None:
        super().__init__(message)
        self.sample_id = sample_id
        self.path = path

    def __reduce__(self) -> tuple[type["SampleError"], tuple[str, Path, str]]:
        # Exceptions are pickled by their args, which here are fewer than __init__ takes.
        return SampleError, (self.sample_id, self.path, str(self))


class CheckpointError(RoofError, RuntimeError):
    """A checkpoint, a trained model or backbone weights that cannot be used."""


class StorageError(RoofError, OSError):
    """A folder for results that cannot be written, or is full."""


class FolderInUseError(RoofError):
    """A folder in which another process works.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path, message: str) -> None:
        super().__init__(message)
        self.folder = folder


class DivergedError(RoofError):
    """Training diverged: its gradients are no longer finite."""

    exit_code = EXIT_DIVERGED


class StopRequested(Exception):
    """This process, and all others that train with it, were asked to stop."""


class WorkerLostError(RuntimeError):
    """A process that reads data has ended before its time.

    Attributes:
        exit_code: As multiprocessing has it: minus the signal's number where a signal ended it.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"a data worker ended with exit code {exit_code}")
        self.exit_code = exit_code


class PeerLostError(Exception):
    """Another training process seems to be gone; if it is, its own parent knows why."""

    def __init__(self, words: str) -> None:
        super().__init__(f"another training process seems to be gone: {words}")


class CommunicationError(Exception):
    """Training processes cannot talk to each other, though none is gone."""

    def __init__(self, words: str) -> None:
        super().__init__(f"training processes cannot communicate: {words}")


def printable(text: str) -> str:
    r"""The text with everything that would break a line of a log or a terminal as an escape.

    File names may hold line breaks, escape codes and bytes that are no UTF-8; "\n" becomes two
    characters, a byte 255 "\udcff".
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def join_problems(problems: Sequence[str]) -> str:
    """All problems in one line: the first ten in full, then how many more there are."""
    shown = "; ".join(problems[:_MAX_PROBLEMS_SHOWN])
    num_hidden = len(problems) - _MAX_PROBLEMS_SHOWN
    return f"{shown}; and {num_hidden} more" if num_hidden > 0 else shown


def first_line(error: BaseException) -> str:
    """The first line of an error's text; the name of its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
