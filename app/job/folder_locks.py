"""One job a folder: a lock on each folder that a job writes its results to.

The lock is the kernel's (flock) and ends with the process that holds it, however that ends; the
file only says who holds it. Children do not inherit it: Python closes its files where another
program begins.
"""

import contextlib
import fcntl
import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from app.base.errors import FolderInUseError, printable

logger = logging.getLogger(__name__)

# The dot hides it from listings; of a job on SageMaker it is copied to S3 with the checkpoints.
LOCK_FILE: Final = ".lock"
_MAX_HOLDER_BYTES: Final = 200


class FolderLocks:
    """The folders that this process has for itself, until the end of the with block."""

    def __init__(self) -> None:
        self._held: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for path, file in self._held.items():
            # Removed first, while nobody else can hold it; another's, where ours is gone, stays.
            with contextlib.suppress(OSError):
                if _is_at(path, file):
                    path.unlink()
            os.close(file)
        self._held.clear()

    def take(self, folder: Path) -> bool:
        """Have a folder alone; it is made if it is not there.

        Returns whether nobody else can be at work there. Where folders cannot be locked, a line of
        the log says so, and the job goes on.

        Raises:
            FolderInUseError: If another process works there; says which.
        """
        path = folder.resolve() / LOCK_FILE
        if path in self._held:
            return True
        try:
            file = _open_locked(path)
        except BlockingIOError as error:
            raise FolderInUseError(
                folder,
                f"{folder}: another job works here: {_read_holder(path)}; wait for its end or stop "
                "it, or give this job another folder",
            ) from error
        except OSError as error:
            logger.warning(
                "%s: cannot be locked (%s); see to it that no other job works there",
                folder,
                error.strerror or error,
            )
            return False
        self._held[path] = file
        return True


def check_free(folder: Path) -> None:
    """Check that nobody works in a folder, before it is moved or removed.

    Raises:
        FolderInUseError: If another process works there.
    """
    if (folder / LOCK_FILE).exists():
        with FolderLocks() as locks:
            locks.take(folder)


def _open_locked(path: Path) -> int:
    """The lock file, locked and with this process's name in it.

    Raises:
        BlockingIOError: If another process holds it.
        OSError: If it cannot be opened or locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, file):
                with contextlib.suppress(OSError):  # a full disk: the lock holds without words
                    os.truncate(file, 0)
                    os.write(file, _describe_self().encode())
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # who held it until now has removed it


def _is_at(path: Path, file: int) -> bool:
    """Whether an open file is the one that others would open by its path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _describe_self() -> str:
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {os.getpid()} of host {socket.gethostname()}, since {since}"


def _read_holder(path: Path) -> str:
    """Who holds a lock, in its own words."""
    try:
        with path.open("rb") as file:
            words = file.read(_MAX_HOLDER_BYTES).decode(errors="replace").strip()
    except OSError:
        words = ""
    return printable(words) or "a process that has not said its name"
