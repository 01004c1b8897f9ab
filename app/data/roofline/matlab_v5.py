"""Numeric arrays of MATLAB files of version 5, parsed here.

SciPy's reader hangs on files in which a few bytes are wrong (1.17); here every length is checked
against what is there before anything is made of it.

Source: MathWorks, "MAT-File Format", for the layout of version 5.
"""

import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

HEADER_BYTES: Final = 128
_VERSION: Final = 0x0100
_TAG_BYTES: Final = 8
# Flags, axes and name of a variable lie in this much of its start.
_START_BYTES: Final = 1024

_MATRIX, _COMPRESSED = 14, 15
_NUMBER_TYPES: Final = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_STRUCT: Final = 2
_NUMERIC_CLASSES: Final = range(6, 16)
_OTHER_CLASSES: Final = {
    1: "a cell array", 3: "an object", 4: "a text", 5: "a sparse matrix",
    16: "a function handle", 17: "an object",
}  # fmt: skip
_COMPLEX_FLAG: Final = 0x0800
# A damaged length may promise any number of them, each of which is a Python object.
_MAX_AXES: Final = 32
_MAX_FIELDS: Final = 4096

ByteOrder = Literal["<", ">"]


class RefusedArray(Exception):
    """Why an array cannot be used."""


class TooLarge(Exception):
    """The wanted variables are larger than allowed.

    Attributes:
        num_bytes: How large they are.
    """

    def __init__(self, num_bytes: int) -> None:
        super().__init__(num_bytes)
        self.num_bytes = num_bytes


class V5Arrays(NamedTuple):
    """The wanted arrays of a file, and why others are not among them."""

    arrays: dict[str, npt.NDArray[np.generic]]
    refused: dict[str, str]


class _Matrix(NamedTuple):
    """A variable, or a field of a struct, after its header.

    Attributes:
        array_class: What it is, by MATLAB's number.
        is_complex: Whether an imaginary part follows.
        shape: Lengths of its axes.
        name: Of a variable; fields have none.
        body: What follows.
    """

    array_class: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    body: memoryview


class _Stored(NamedTuple):
    """Where a variable lies in a file; unpacked_bytes is None if it is not packed."""

    name: str
    position: int
    stored_bytes: int
    unpacked_bytes: int | None


def find_byte_order(start: bytes) -> ByteOrder | None:
    """The byte order of a version 5 file by its first 128 bytes; None if it is no such file."""
    if len(start) < HEADER_BYTES or 0 in start[:4]:
        return None
    order: ByteOrder | None = {b"IM": "<", b"MI": ">"}.get(start[126:128])  # type: ignore[assignment]
    if order is None or struct.unpack_from(f"{order}H", start, 124)[0] != _VERSION:
        return None
    return order


def read_v5(path: Path, struct_name: str, names: Sequence[str], max_bytes: int) -> V5Arrays:
    """The named arrays of a file: fields of a struct, or variables of their own.

    Args:
        path: The file.
        struct_name: A variable that may hold the arrays as fields; they go first.
        names: The arrays.
        max_bytes: How much may be unpacked.

    Raises:
        TooLarge: If the variables are larger, by what their headers say.
        ValueError: If the file is damaged; zlib.error likewise.
        OSError: If it cannot be read.
    """
    found = V5Arrays({}, {})
    with path.open("rb") as file:
        order = find_byte_order(file.read(HEADER_BYTES))
        if order is None:
            raise ValueError("no header of version 5")
        variables = _read_variables(file, order, {struct_name, *names}, max_bytes)
    fields: dict[str, _Matrix] = {}
    if struct_name in variables and variables[struct_name].array_class == _STRUCT:
        fields = _read_fields(variables[struct_name], order)
        if math.prod(variables[struct_name].shape) != 1 and set(names) & set(fields):
            message = "got an array of structs around it, expected one struct"
            return V5Arrays({}, dict.fromkeys(set(names) & set(fields), message))
    for name in names:
        matrix = fields.get(name) or variables.get(name)
        if matrix is None:
            continue
        try:
            found.arrays[name] = _read_numbers(matrix, order)
        except RefusedArray as error:
            found.refused[name] = str(error)
    return found


def _find_variables(file: BinaryIO, order: ByteOrder, names: set[str]) -> Iterator[_Stored]:
    """Where the variables of these names lie. Of others, only the start is looked at."""
    file_bytes = os.fstat(file.fileno()).st_size
    position = HEADER_BYTES
    while position + _TAG_BYTES <= file_bytes:
        file.seek(position)
        kind, stored_bytes = struct.unpack(f"{order}II", file.read(_TAG_BYTES))
        position += _TAG_BYTES
        if position + stored_bytes > file_bytes:
            raise ValueError(f"{file_bytes} bytes, cut short of {position + stored_bytes}")
        start, unpacked_bytes = file.read(min(stored_bytes, _START_BYTES)), None
        if kind == _COMPRESSED:
            start = zlib.decompressobj().decompress(start, _START_BYTES)
            if len(start) < _TAG_BYTES:
                raise ValueError("a packed variable without a header")
            kind, unpacked_bytes = struct.unpack_from(f"{order}II", start)
            start = start[_TAG_BYTES:]
        if kind == _MATRIX:
            name = _parse_matrix(memoryview(start), order).name
            if name in names:
                yield _Stored(name, position, stored_bytes, unpacked_bytes)
        position += stored_bytes


def _read_variables(
    file: BinaryIO, order: ByteOrder, names: set[str], max_bytes: int
) -> dict[str, _Matrix]:
    """The variables of these names, unpacked."""
    stored = list(_find_variables(file, order, names))
    num_bytes = sum(each.unpacked_bytes or each.stored_bytes for each in stored)
    if num_bytes > max_bytes:
        raise TooLarge(num_bytes)
    variables: dict[str, _Matrix] = {}
    for name, position, stored_bytes, unpacked_bytes in stored:
        file.seek(position)
        content = memoryview(file.read(stored_bytes))
        if unpacked_bytes is not None:
            content = _unpack(content, _TAG_BYTES + unpacked_bytes)[_TAG_BYTES:]
        variables[name] = _parse_matrix(content, order)
    return variables


def _unpack(packed: memoryview, num_bytes: int) -> memoryview:
    """Exactly so many bytes, with the checksum behind them seen to."""
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(packed, num_bytes)
    rest = unpacker.decompress(unpacker.unconsumed_tail, 1)
    if len(content) != num_bytes or rest or not unpacker.eof:
        raise ValueError("a packed variable of another length than it says")
    return memoryview(content)


def _element(data: memoryview, position: int, order: ByteOrder) -> tuple[int, memoryview, int]:
    """Type and content of a data element, and where the next one starts."""
    if position + _TAG_BYTES > len(data):
        raise ValueError("a data element is cut short")
    kind, num_bytes = struct.unpack_from(f"{order}II", data, position)
    first = position + _TAG_BYTES
    if kind >> 16:  # small: type and length in four bytes, the content in the other four
        kind, num_bytes, first = kind & 0xFFFF, kind >> 16, position + 4
        return kind, data[first : first + min(num_bytes, 4)], position + _TAG_BYTES
    return kind, data[first : first + num_bytes], first + -(-num_bytes // 8) * 8


def _parse_matrix(data: memoryview, order: ByteOrder) -> _Matrix:
    """The header of a variable or a field, of which only the start need be there."""
    if not len(data):  # how an empty field is stored
        return _Matrix(_NUMERIC_CLASSES[0], False, (0, 0), "", data)
    _, flags, position = _element(data, 0, order)
    if len(flags) < 4:
        raise ValueError("a variable without flags")
    flag_bits = struct.unpack_from(f"{order}I", flags)[0]
    shape: tuple[int, ...] = (1, 1)
    array_class = flag_bits & 0xFF
    if array_class != 17:  # which has no axes
        _, lengths, position = _element(data, position, order)
        if len(lengths) // 4 > _MAX_AXES:
            raise ValueError(f"a variable of {len(lengths) // 4} axes")
        shape = struct.unpack_from(f"{order}{len(lengths) // 4}i", lengths)
    _, name, position = _element(data, position, order)
    is_complex = bool(flag_bits & _COMPLEX_FLAG)
    return _Matrix(array_class, is_complex, shape, _text(name), data[position:])


def _read_fields(matrix: _Matrix, order: ByteOrder) -> dict[str, _Matrix]:
    """The fields of a struct; of an array of structs, those of the first."""
    _, length, position = _element(matrix.body, 0, order)
    _, names, position = _element(matrix.body, position, order)
    name_bytes = struct.unpack_from(f"{order}i", length)[0] if len(length) >= 4 else 0
    if name_bytes < 1 or len(names) % name_bytes:
        raise ValueError("a struct without names of fields")
    if len(names) // name_bytes > _MAX_FIELDS:
        raise ValueError(f"a struct of {len(names) // name_bytes} fields")
    fields: dict[str, _Matrix] = {}
    for first in range(0, len(names), name_bytes):
        kind, content, position = _element(matrix.body, position, order)
        if kind != _MATRIX:
            raise ValueError("a field that is no array")
        fields[_text(names[first : first + name_bytes])] = _parse_matrix(content, order)
    return fields


def _read_numbers(matrix: _Matrix, order: ByteOrder) -> npt.NDArray[np.generic]:
    """The values of a numeric array, without axes of one; not copied.

    Raises:
        RefusedArray: If it is something else.
        ValueError: If there are not as many values as it says.
    """
    if matrix.array_class not in _NUMERIC_CLASSES:
        kind = "a struct" if matrix.array_class == _STRUCT else None
        kind = kind or _OTHER_CLASSES.get(matrix.array_class, f"class {matrix.array_class}")
        raise RefusedArray(f"got {kind}, expected a numeric array")
    if matrix.is_complex:
        raise RefusedArray("got complex numbers, expected real ones")
    if 0 in matrix.shape or not matrix.shape:
        raise RefusedArray("got an empty array")
    kind_number, values, _ = _element(matrix.body, 0, order)
    if kind_number not in _NUMBER_TYPES:
        raise ValueError(f"values of unknown type {kind_number}")
    # MATLAB stores whole numbers in as few bytes as they need, whatever the array's class.
    dtype = np.dtype(_NUMBER_TYPES[kind_number]).newbyteorder(order)
    if min(matrix.shape) < 0 or math.prod(matrix.shape) * dtype.itemsize != len(values):
        size = " x ".join(str(length) for length in matrix.shape)
        raise ValueError(f"an array of {size} in {len(values)} bytes")
    return np.frombuffer(values, dtype).reshape(matrix.shape, order="F").squeeze()


def _text(data: memoryview) -> str:
    return bytes(data).split(b"\0")[0].decode("latin-1")
