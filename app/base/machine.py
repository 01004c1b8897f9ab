"""Errors of the machine, whichever library met them: what is missing, and what helps."""

import contextlib
import errno
import os
import resource
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

SHM_DIR: Final = Path("/dev/shm")

_FEWER: Final = "lower num_workers or processes_per_host"
_STORAGE: Final = "see to the disk or the network storage, then run the job again: it resumes"
# Which errors are the machine's, and what to do about them.
_REMEDIES: Final[Mapping[int, str]] = {
    errno.ENOSPC: "give it more space (on SageMaker: VolumeSizeInGB)",
    errno.EDQUOT: "raise the quota, or choose another folder",
    errno.EROFS: "mount it writable, or choose another folder",
    errno.EACCES: "give this user the right to it, or choose another folder",
    errno.EPERM: "give this user the right to it, or choose another folder",
    errno.EMFILE: f"raise the limit (ulimit -n, docker run --ulimit nofile=65536), or {_FEWER}",
    errno.ENFILE: "end what else holds files open on this machine",
    errno.EAGAIN: f"raise the limit (ulimit -u, docker run --pids-limit), or {_FEWER}",
    errno.ENOMEM: f"give the container more memory, or lower batch_size, or {_FEWER}",
    errno.EIO: _STORAGE,
    errno.ESTALE: _STORAGE,
    errno.ENOTCONN: _STORAGE,
    errno.ENODEV: _STORAGE,
    errno.ENAMETOOLONG: "choose a shorter name",
}
# OPEN_MAX of its sys/syslimits.h.
_MACOS_FILES: Final = 10_240
_SHM_REMEDY: Final = "give the container more (docker run --shm-size=1g), or set num_workers=0"
# As Python and torch name what only a number says elsewhere.
_WORDS: Final[Mapping[str, int]] = {
    **{os.strerror(number): number for number in _REMEDIES},
    "can't start new thread": errno.EAGAIN,
}
_NO_TEMPORARY_FOLDER: Final = "No usable temporary directory found"


def explain_machine_error(error: BaseException) -> str | None:
    """What the machine lacks and what helps, in one line; None for an error of another kind.

    Libraries pass such errors on as they are (OSError), or as words of their own: torch raises
    RuntimeError, also for what its workers met.

    Args:
        error: As caught.
    """
    if isinstance(error, MemoryError):
        return f"memory is used up; {_REMEDIES[errno.ENOMEM]}"
    if not isinstance(error, OSError | RuntimeError):
        return None
    text = str(error)
    if _NO_TEMPORARY_FOLDER in text:
        return (
            f"no temporary folder can be written to (tried {text.rpartition('[')[2].rstrip(']')}); "
            "make one of them writable, or set TMPDIR to a folder that is"
        )
    if _is_of_a_semaphore(error):
        return (
            f"{SHM_DIR}: shared memory cannot be used: {text}; mount it writable (tmpfs), or set "
            "num_workers=0"
        )
    number = _find_number(error, text)
    if number is None:
        return None
    return _describe(number, error, text)


def find_lack(folder: Path) -> str | None:
    """What a folder's file system has run out of besides bytes: "no inode is free", or None."""
    for place in (folder, *folder.parents):
        try:
            found = os.statvfs(place)
        except OSError:
            continue
        return "no inode is free" if found.f_files > 0 and found.f_favail == 0 else None
    return None


def _find_number(error: BaseException, text: str) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in _REMEDIES else None
    return next((number for words, number in _WORDS.items() if words in text), None)


def _describe(number: int, error: BaseException, text: str) -> str:
    reason, remedy = os.strerror(number), _REMEDIES[number]
    if number == errno.EAGAIN:
        return f"no further process or thread can be started: {reason}; {remedy}"
    if "shared memory" in text or "</torch_" in text:
        return f"{SHM_DIR}: {reason}; {_SHM_REMEDY if number == errno.ENOSPC else remedy}"
    name = error.filename if isinstance(error, OSError) else None
    if isinstance(name, str | bytes):
        place = Path(os.fsdecode(name))
        lack = find_lack(place) if number == errno.ENOSPC else None
        return f"{place}: {reason}{f' ({lack})' if lack else ''}; {remedy}"
    return f"{reason}, met in {_find_place(error)}; {remedy}"


def _find_place(error: BaseException) -> str:
    """The function that met the error."""
    frame = next(iter(reversed(traceback.extract_tb(error.__traceback__))), None)
    return "an unknown place" if frame is None else f"{frame.name} of {Path(frame.filename).name}"


def _is_of_a_semaphore(error: BaseException) -> bool:
    """Whether the C library could not make a semaphore, for which it needs /dev/shm."""
    files: Iterator[str] = (f.filename for f in traceback.extract_tb(error.__traceback__)[-1:])
    return isinstance(error, OSError) and any(
        Path(name).parts[-2:] == ("multiprocessing", "synchronize.py") for name in files
    )


def raise_file_limit() -> None:
    """Let this process and its children open as many files as the machine allows them.

    Batches come from data workers as open files, and a worker that has none left says nothing more.
    """
    own, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS names no highest limit, and refuses more than the second.
    for number in (most, _MACOS_FILES):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, most))
            return
        if own >= _MACOS_FILES:
            return
