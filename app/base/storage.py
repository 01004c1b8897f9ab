"""Files that a run leaves: written whole or not at all, with one line to say why not."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from app.base.errors import StorageError, join_problems
from app.base.machine import find_lack
from app.base.units import GIB

_UNFINISHED: Final = ".tmp"
_EARLIER: Final = re.compile(r"earlier-([1-9]\d*)")


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn a failure to write below a folder into one line with its reason and a remedy.

    Raises:
        StorageError: Instead of any OSError.
    """
    try:
        yield
    except OSError as error:
        free_gib = read_free_gib(folder)
        free = "" if free_gib is None else f" ({find_lack(folder) or f'{free_gib:.2f} GiB free'})"
        raise StorageError(
            f"{folder}: cannot be written: {error.strerror or error}{free}; give it more space (on "
            "SageMaker: VolumeSizeInGB) or mount it writable, then run the job again: it resumes "
            "its last checkpoint"
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write; it replaces `path` only when all its bytes are on the disk.

    So nobody ever finds half a file, neither after a crash nor while it is written. Until then it
    lies beside `path`, since a file cannot be renamed across mounts.
    """
    unfinished = path.with_name(path.name + _UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    _sync_folder(path.parent)


def move_whole(source: Path, path: Path) -> None:
    """Move a finished file to where people look for it, all its bytes on the disk first.

    Args:
        source: On the same mount, written by a library that opens files itself.
        path: What is there is replaced.

    Raises:
        OSError: If its bytes cannot be written, or it cannot be moved.
    """
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(path)
    _sync_folder(path.parent)


def remove_unfinished(folder: Path, pattern: str, beginnings: tuple[str, ...] = ("",)) -> None:
    """Remove what `replacing` began to write, for a process that was killed meanwhile.

    Only for who holds the folder's lock: others may be writing.

    Args:
        folder: May be missing.
        pattern: Of the names of the files that were to be replaced.
        beginnings: One of these is how such a name begins.
    """
    for unfinished in folder.glob(pattern + _UNFINISHED):
        if unfinished.name.startswith(beginnings):
            with contextlib.suppress(OSError):
                unfinished.unlink()


def move_aside(paths: Sequence[Path]) -> Path:
    """Move files or folders of one folder into a new one beside them; returns that.

    It is named earlier-N, with the first N above all that are there. A crash leaves each where it
    was or where it goes to.

    Args:
        paths: At least one, all in one folder, in the order in which they are moved.

    Raises:
        OSError: If one cannot be moved.
    """
    parent = paths[0].parent
    numbers = [
        int(found[1]) for path in parent.iterdir() if (found := _EARLIER.fullmatch(path.name))
    ]
    earlier = parent / f"earlier-{max(numbers, default=0) + 1}"
    earlier.mkdir()
    for path in paths:
        path.rename(earlier / path.name)
    return earlier


def check_space(needed_bytes: dict[Path, int]) -> None:
    """Check that the files of a run will fit, before hours go into their content.

    Args:
        needed_bytes: By folder; those on one file system are added up.

    Raises:
        StorageError: If they do not fit; names every file system that is too small.
    """
    by_device: dict[int, list[Path]] = {}
    for folder in needed_bytes:
        by_device.setdefault(folder.stat().st_dev, []).append(folder)
    problems = []
    for folders in by_device.values():
        needed_gib = sum(needed_bytes[folder] for folder in folders) / GIB
        free_gib = read_free_gib(folders[0])
        if free_gib is not None and free_gib < needed_gib:
            problems.append(
                f"{' and '.join(map(str, folders))}: {free_gib:.2f} GiB free, but the run will "
                f"write {needed_gib:.2f} GiB there; give it more space (on SageMaker: "
                "VolumeSizeInGB), or lower keep_checkpoints"
            )
    if problems:
        raise StorageError(join_problems(problems))


def read_free_gib(folder: Path) -> float | None:
    """Free space of the file system that a folder, or its nearest parent, lies on."""
    for place in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free / GIB
    return None


def _sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, as a rename alone does not."""
    # Some network file systems have no such thing; the file itself has its bytes there.
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
