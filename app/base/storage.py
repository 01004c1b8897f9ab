"""Files that a run leaves: written whole or not at all, with one line to say why not."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from app.base.errors import StorageError, join_problems
from app.base.machine import find_lack
from app.base.units import GIB


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
    unfinished = path.with_name(f"{path.name}.tmp")
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
