"""Numeric arrays of MATLAB files of versions 7.3 and 5, alike, one slice at a time.

Version 7.3 is HDF5, and version 5 is stored as HDF5 first, so that all is read in one way.

Nothing in a file is followed or run: links, references, external storage, virtual datasets, cells
and objects are refused, and so are sizes that only a damaged or hostile file has.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from app.data.files.problems import FileProblem
from app.data.roofline.matlab_v5 import (
    DOWNLOAD_AGAIN,
    MAX_AXES,
    SAVE_AGAIN,
    is_version_5,
    store_as_hdf5,
)

_HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
# Where HDF5 may begin: MATLAB puts 512 bytes of its own before it.
_HDF5_OFFSETS: Final = (0, 512, 1024, 2048, 4096)
_MAX_CHUNK_BYTES: Final = 64 * 2**20
_MAX_CACHE_BYTES: Final = 128 * 2**20
# A slice of more chunks would take seconds to read; MATLAB makes a few dozen.
_MAX_SLICE_CHUNKS: Final = 10_000
_MAX_CACHE_SLOTS: Final = 100_003
# What is built into the library; others would be loaded from plugins.
_FILTERS: Final = {1: "deflate", 2: "shuffle", 3: "checksum", 32000: "lzf"}
_NUMERIC_KINDS: Final = "fiub"

_UNREADABLE: Final = (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError)
_EXPECTED: Final = "a MATLAB file of version 7.3 or 5"

_Values = npt.NDArray[np.generic]


class ArrayInfo(NamedTuple):
    """An array of a file, in MATLAB's order of axes: rows, columns, and so on.

    Attributes:
        shape: Length of each axis.
        dtype: Type of the stored values, as NumPy names it.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> str:
        """The lengths, for messages."""
        return " x ".join(str(length) for length in self.shape) or "1"


class RefusedArray(Exception):
    """Why an array cannot be used."""


def open_mat(path: Path, struct_name: str, names: Sequence[str], scratch_dir: Path) -> "MatArrays":
    """The named arrays of a MATLAB file: fields of a struct, or variables of their own.

    The version is known by the first bytes, not by the name.

    Args:
        path: The file.
        struct_name: A variable that may hold the arrays as fields; they go first.
        names: The arrays.
        scratch_dir: Where the arrays of a version 5 file are kept.

    Raises:
        FileProblem: If the file as a whole cannot be read.
    """
    if _find_format(path) == "hdf5":
        return MatArrays(path, struct_name, names)
    stored, refused = store_as_hdf5(path, struct_name, names, scratch_dir)
    arrays = MatArrays(stored, struct_name, names, source=path)
    arrays.problems += [f"{name} in {path}: {why}" for name, why in refused.items()]
    return arrays


def _find_format(path: Path) -> Literal["hdf5", "v5"]:
    try:
        with path.open("rb") as file:
            start = file.read(_HDF5_OFFSETS[-1] + len(_HDF5_SIGNATURE))
    except OSError as error:
        raise _unreadable(path, error) from error
    if any(start.startswith(_HDF5_SIGNATURE, offset) for offset in _HDF5_OFFSETS):
        return "hdf5"
    if is_version_5(start):
        return "v5"
    if start.startswith(b"MATLAB 7.3"):
        raise FileProblem(path, "a version 7.3 file cut short", _EXPECTED, DOWNLOAD_AGAIN)
    if not start:
        raise FileProblem(path, "an empty file", _EXPECTED, DOWNLOAD_AGAIN)
    # Version 4 has no text at its start, but a number below 5000 in four bytes.
    if len(start) >= 20 and 0 in start[:4]:
        raise FileProblem(path, "binary data, perhaps of MATLAB 4", _EXPECTED, SAVE_AGAIN)
    raise FileProblem(
        path,
        f"a file that starts with {start[:24].decode('latin-1')!a}",
        _EXPECTED,
        "if it is a web page or a pointer, download the file itself",
    )


def _unreadable(path: Path, error: BaseException) -> FileProblem:
    return FileProblem(
        path, f"an unreadable file ({_first_words(error)})", _EXPECTED, DOWNLOAD_AGAIN
    )


def _first_words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class MatArrays:
    """The wanted arrays of an HDF5 file, whose axes are MATLAB's reversed.

    Can be pickled; every process opens the file again.

    Args:
        path: The file.
        struct_name: A group that may hold the arrays; they go first.
        names: The arrays.
        source: The version 5 file that `path` is a copy of; messages name it.

    Attributes:
        arrays: Those that can be read, by name; absent ones are not in it.
        problems: Why the others cannot, one text each.

    Raises:
        FileProblem: If the file as a whole cannot be read.
    """

    def __init__(
        self, path: Path, struct_name: str, names: Sequence[str], source: Path | None = None
    ) -> None:
        self.arrays: dict[str, ArrayInfo] = {}
        self.problems: list[str] = []
        self._path = path
        self._source = source
        self._places: dict[str, str] = {}
        self._file: h5py.File | None = None
        self._process_id = 0
        self._datasets: dict[tuple[str, int | None], h5py.Dataset] = {}
        try:
            with _open_hdf5(path) as file:
                for name in names:
                    try:
                        self._inspect(file, struct_name, name)
                    except RefusedArray as error:
                        self.problems.append(f"{name} in {source or path}: {error}")
        except _UNREADABLE as error:
            raise self._describe(error) from error

    def _describe(self, error: BaseException) -> FileProblem:
        if self._source is None:
            return _unreadable(self._path, error)
        return FileProblem(
            self._source,
            f"an unreadable copy of its arrays, {self._path} ({_first_words(error)})",
            "a whole copy",
            "delete the copy: it is made again",
        )

    def _inspect(self, file: h5py.File, struct_name: str, name: str) -> None:
        for place in (f"{struct_name}/{name}", name):
            node = _find_node(file, place)
            if node is not None:
                self.arrays[name] = _check_dataset(node)
                self._places[name] = place
                return

    def read(self, name: str, axis: int | None, index: int) -> _Values:
        """One slice of an array.

        Args:
            name: A key of `arrays`.
            axis: Which axis to cut, in MATLAB's order; None reads all of it.
            index: Where.

        Returns:
            The values, without that axis; the order of the others is unchanged.

        Raises:
            FileProblem: If they cannot be read.
        """
        num_axes = len(self.arrays[name].shape)
        selection: list[slice | int] = [slice(None)] * num_axes
        if axis is not None:
            selection[num_axes - 1 - axis] = index
        try:
            values = self._dataset(name, axis)[tuple(selection)]
        except _UNREADABLE as error:
            raise self._describe(error) from error
        return np.asarray(values).T

    def unpacked_bytes(self, name: str, axis: int | None) -> int:
        """Bytes unpacked with a slice because its neighbours lie in the same pieces of the file.

        Raises:
            FileProblem: As `read`.
        """
        try:
            return _shared_chunks(self._dataset(name, axis), axis)[1]
        except _UNREADABLE as error:
            raise self._describe(error) from error

    def _dataset(self, name: str, axis: int | None) -> h5py.Dataset:
        """The open dataset; a handle of the process that forked this one is not used."""
        if self._file is None or self._process_id != os.getpid():
            self._file, self._process_id = _open_hdf5(self._path), os.getpid()
            self._datasets = {}
        key = (name, axis)
        if key not in self._datasets:
            place = self._places[name]
            num_pieces = _num_slice_chunks(self._file[place], axis)
            if num_pieces > _MAX_SLICE_CHUNKS:
                raise FileProblem(
                    self._source or self._path,
                    f"{name} with every sample in {num_pieces} chunks",
                    f"at most {_MAX_SLICE_CHUNKS}",
                    SAVE_AGAIN,
                )
            settings = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
            num_chunks, num_bytes = _shared_chunks(self._file[place], axis)
            if num_bytes > _MAX_CACHE_BYTES:
                num_chunks, num_bytes = 0, 0
            num_slots = min(100 * num_chunks + 1, _MAX_CACHE_SLOTS)
            settings.set_chunk_cache(num_slots, num_bytes, 0.0)
            self._datasets[key] = h5py.Dataset(
                h5py.h5d.open(self._file.id, place.encode(), settings)
            )
        return self._datasets[key]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None, "_datasets": {}}


def _open_hdf5(path: Path) -> h5py.File:
    # locking: read-only mounts have no locks.
    return h5py.File(path, "r", locking=False)


def _find_node(file: h5py.File, place: str) -> h5py.HLObject | None:
    """The object at a place, reached through plain groups only; None if there is none."""
    node = file
    for name in place.split("/"):
        if not isinstance(node, h5py.Group):
            raise RefusedArray("got something else than one struct around it")
        link = node.get(name, getlink=True)  # does not follow it
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise RefusedArray(f"got a link ({name}), expected the values; links are not followed")
        node = node[name]
    return node


def _check_dataset(node: h5py.HLObject) -> ArrayInfo:
    """What a dataset holds, after a look at everything that must not be read."""
    if not isinstance(node, h5py.Dataset):
        raise RefusedArray("got a struct, expected a numeric array")
    dtype = node.dtype
    if h5py.check_ref_dtype(dtype) is not None:
        raise RefusedArray("got object references, as of a cell array, expected a numeric array")
    if dtype.kind not in _NUMERIC_KINDS or dtype.itemsize > 8:
        raise RefusedArray(f"got values of type {dtype}, expected numbers")
    if node.is_virtual or node.external:
        raise RefusedArray("got values in other files, expected them in this one")
    # For an array without values, MATLAB stores the lengths of its axes, and a mark.
    if "MATLAB_empty" in node.attrs or (node.shape is not None and 0 in node.shape):
        raise RefusedArray("got an empty array")
    if node.shape is None or not 1 <= len(node.shape) <= MAX_AXES:
        raise RefusedArray(f"got {len(node.shape or ())} axes, expected up to {MAX_AXES}")
    creation = node.id.get_create_plist()
    filters = [creation.get_filter(index)[0] for index in range(creation.get_nfilters())]
    if unknown := [str(number) for number in filters if number not in _FILTERS]:
        raise RefusedArray(
            f"got HDF5 filter {', '.join(unknown)}, expected {', '.join(_FILTERS.values())}"
        )
    chunk_bytes = math.prod(node.chunks or (0,)) * dtype.itemsize
    if chunk_bytes > _MAX_CHUNK_BYTES:
        raise RefusedArray(
            f"got chunks of {chunk_bytes / 2**20:.0f} MiB, expected at most "
            f"{_MAX_CHUNK_BYTES // 2**20} MiB"
        )
    if not node.id.get_storage_size():
        raise RefusedArray("got a shape without stored values")
    return ArrayInfo(tuple(int(length) for length in reversed(node.shape)), str(dtype))


def _num_slice_chunks(dataset: h5py.Dataset, axis: int | None) -> int:
    """How many chunks a slice lies in; 0 if its array is in one piece."""
    if dataset.chunks is None:
        return 0
    sizes = zip(dataset.shape, dataset.chunks, strict=True)
    counts = [math.ceil(size / chunk) for size, chunk in sizes]
    if axis is not None:
        del counts[-1 - axis]
    return math.prod(counts)


def _shared_chunks(dataset: h5py.Dataset, axis: int | None) -> tuple[int, int]:
    """The chunks in which a slice and its neighbours lie, and their bytes; 0 if it is alone."""
    chunks = dataset.chunks
    if chunks is None or axis is None or chunks[-1 - axis] == 1:
        return 0, 0
    num_chunks = _num_slice_chunks(dataset, axis)
    return num_chunks, num_chunks * math.prod(chunks) * dataset.dtype.itemsize
