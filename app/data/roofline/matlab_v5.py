"""MATLAB files of version 5, which can only be read whole: stored once as HDF5 for all readers.

SciPy reads them, in a process of its own with limits of memory and time: on files in which a few
bytes are wrong it hangs, asks for any memory or raises errors of any kind (1.17). It runs nothing
that a file holds, and what is no array of numbers is refused here.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

from app.base.children import ask_child, tell_parent
from app.base.units import GIB
from app.data.files.problems import FileProblem

HEADER_BYTES: Final = 128
_VERSION: Final = 0x0100
_MAX_BYTES: Final = 4 * GIB
MAX_AXES: Final = 4
# zlib's limit: the most bytes that one compressed byte can stand for.
_MAX_RATIO: Final = 1032
# Memory that reading takes beside the arrays.
_ROOM_BYTES: Final = 512 * 2**20
# The kernel's word on this process's sizes; the first is its address space in pages.
_SIZES_FILE: Final = Path("/proc/self/statm")
_START_S: Final = 60.0
_SLOWEST_BYTES_PER_S: Final = 4 * 2**20
_TEMPORARY_PREFIX: Final = ".matlab-"
# Attribute of the stored file: why arrays are not in it, by name.
_REFUSED: Final = "refused"

_EXPECTED: Final = "a MATLAB file of version 5"
DOWNLOAD_AGAIN: Final = "download it again and compare the size with the original's"
SAVE_AGAIN: Final = "save it in MATLAB with -v7.3"

_Array = npt.NDArray[np.generic]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Conversion:
    """The child's task.

    Attributes:
        source: The version 5 file.
        target: The HDF5 file to write.
        struct_name: A variable that may hold the arrays as fields; they go first.
        names: The wanted arrays.
        max_bytes: How much they may hold together.
    """

    source: str
    target: str
    struct_name: str
    names: tuple[str, ...]
    max_bytes: int


def is_version_5(start: bytes) -> bool:
    """Whether the first 128 bytes of a file are those of a version 5 file."""
    if len(start) < HEADER_BYTES or 0 in start[:4]:
        return False
    order = {b"IM": "little", b"MI": "big"}.get(start[126:128])
    return order is not None and int.from_bytes(start[124:126], order) == _VERSION  # type: ignore[arg-type]


def store_as_hdf5(
    path: Path, struct_name: str, names: Sequence[str], scratch_dir: Path
) -> tuple[Path, dict[str, str]]:
    """The HDF5 file with a version 5 file's arrays, axes reversed; it is made if absent.

    Of several processes one makes it, and the others wait for it.

    Args:
        path: The version 5 file.
        struct_name: A variable that may hold the arrays as fields; they go first.
        names: The arrays. Absent ones are not in the result.
        scratch_dir: Where the HDF5 file is kept for the next start.

    Returns:
        The file, and why arrays are not in it, by name.

    Raises:
        FileProblem: If the file cannot be read or is too large, or the result cannot be stored.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    identity = (str(path.absolute()), status.st_size, status.st_mtime_ns, struct_name, *names)
    key = hashlib.sha256(repr(identity).encode(errors="surrogateescape")).hexdigest()[:16]
    stored = scratch_dir / f"matlab_{key}.h5"
    try:
        scratch_dir.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(stored.with_suffix(".lock")):
            if not stored.exists():
                for left_over in scratch_dir.glob(f"{_TEMPORARY_PREFIX}*"):  # of a killed process
                    shutil.rmtree(left_over, ignore_errors=True)
                _convert(path, struct_name, names, stored)
        with h5py.File(stored, "r", locking=False) as file:
            return stored, json.loads(file.attrs[_REFUSED])
    except OSError as error:
        raise _not_stored(path, scratch_dir, error.strerror or str(error)) from error


@contextlib.contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    """Lets in one process at a time; on a disk without locks, all at once."""
    with lock.open("w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert(path: Path, struct_name: str, names: Sequence[str], stored: Path) -> None:
    """Have a child write the HDF5 file beside its place, and move it there when it is whole."""
    start_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY_PREFIX, dir=stored.parent) as temporary:
        target = Path(temporary) / stored.name
        question = Conversion(str(path), str(target), struct_name, tuple(names), _MAX_BYTES)
        limit_s = _START_S + path.stat().st_size / _SLOWEST_BYTES_PER_S
        reply = ask_child("matlab", json.dumps(asdict(question)), limit_s)
        if reply.failure is not None:
            raise _unreadable(path, f"SciPy's reader: {reply.failure}")
        for problem in reply.of_kind("unreadable"):
            raise _unreadable(path, problem["reason"])
        for problem in reply.of_kind("not stored"):
            raise _not_stored(path, stored.parent, problem["reason"])
        for problem in reply.of_kind("too large"):
            raise FileProblem(
                path,
                f"{problem['size']} in a version 5 file, which is read whole",
                f"at most {_MAX_BYTES / GIB:.3g} GiB",
                SAVE_AGAIN,
            )
        target.replace(stored)
    logger.info(
        "stored the arrays of %s, of MATLAB version 5, as HDF5 in %.1f s",
        path,
        time.monotonic() - start_s,
    )


def _unreadable(path: Path, reason: str) -> FileProblem:
    return FileProblem(path, f"an unreadable file ({reason})", _EXPECTED, DOWNLOAD_AGAIN)


def _not_stored(path: Path, folder: Path, reason: str) -> FileProblem:
    return FileProblem(
        path,
        f"a version 5 file, whose arrays cannot be stored in {folder} ({reason})",
        "room for them there",
        f"make room, or {SAVE_AGAIN}",
    )


def convert(text: str) -> None:
    """The child's work: write the HDF5 file and tell the parent what became of it.

    Args:
        text: A Conversion in JSON.
    """
    request = Conversion(**json.loads(text))
    source = Path(request.source)
    try:
        _limit_memory(min(request.max_bytes, _MAX_RATIO * source.stat().st_size) + _ROOM_BYTES)
        arrays, refused = _load(source, request.struct_name, request.names)
    except MemoryError:
        tell_parent("too large", size=f"more than {request.max_bytes / GIB:.3g} GiB")
        return
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        tell_parent("unreadable", reason=reason)
        return
    num_bytes = sum(array.nbytes for array in arrays.values())
    if num_bytes > request.max_bytes:
        tell_parent("too large", size=f"{num_bytes / GIB:.3g} GiB")
        return
    try:
        with h5py.File(request.target, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array.T)
            file.attrs[_REFUSED] = json.dumps(refused)
    except OSError as error:
        tell_parent("not stored", reason=error.strerror or " ".join(str(error).split()))


def _limit_memory(num_bytes: int) -> None:
    """Let this process take so much more address space than it has, where the system can."""
    try:
        pages = int(_SIZES_FILE.read_text().split()[0])
    except OSError:  # not on Linux: what is read is weighed once it is there
        return
    limit = pages * resource.getpagesize() + num_bytes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _load(
    path: Path, struct_name: str, names: Sequence[str]
) -> tuple[dict[str, _Array], dict[str, str]]:
    """The arrays, without axes of one, and why others are not among them."""
    import scipy.io

    with path.open("rb") as file:
        variables = scipy.io.loadmat(file, variable_names=[struct_name, *names])
    fields: dict[str, Any] = {}
    struct = variables.get(struct_name)
    if _is_struct(struct):
        wanted = set(names) & set(struct.dtype.names or ())
        if struct.size != 1 and wanted:
            message = "got an array of structs around it, expected one struct"
            return {}, dict.fromkeys(wanted, message)
        fields = {name: struct.flat[0][name] for name in wanted}
    arrays: dict[str, _Array] = {}
    refused: dict[str, str] = {}
    for name in names:
        value = fields.get(name, variables.get(name))
        if value is None:
            continue
        if isinstance(value, str):  # how SciPy says that it could not read it
            raise ValueError(value)
        if reason := _find_refusal(value):
            refused[name] = reason
        else:
            arrays[name] = np.atleast_1d(np.squeeze(value))
    return arrays, refused


def _is_struct(value: object) -> bool:
    from scipy.io.matlab import MatlabObject

    return (
        isinstance(value, np.ndarray)
        and not isinstance(value, MatlabObject)
        and value.dtype.names is not None
    )


def _find_refusal(value: object) -> str | None:
    """Why a value that SciPy has read is no array of real numbers; None if it is one."""
    from scipy.io.matlab import MatlabFunction, MatlabObject, MatlabOpaque

    kinds = {"O": "a cell array", "U": "a text", "S": "a text"}
    if isinstance(value, MatlabFunction):
        found = "a function handle"
    elif isinstance(value, MatlabObject | MatlabOpaque):
        found = "an object"
    elif _is_struct(value):
        found = "a struct"
    elif not isinstance(value, np.ndarray):
        found = "a sparse matrix"
    elif value.dtype.kind in kinds:
        found = kinds[value.dtype.kind]
    elif value.dtype.kind == "c":
        return "got complex numbers, expected real ones"
    elif value.size == 0:
        return "got an empty array"
    elif np.squeeze(value).ndim > MAX_AXES:
        return f"got {np.squeeze(value).ndim} axes, expected up to {MAX_AXES}"
    else:
        return None
    return f"got {found}, expected a numeric array"
