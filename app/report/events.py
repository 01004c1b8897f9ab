"""TensorBoard's files of events, read and written without TensorBoard.

A file is a chain of records: length, checksum of the length, data, checksum of the data. The data
is a message in protobuf's encoding, of which a few fields suffice.

Source: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto and
tensorflow/core/framework/summary.proto; RFC 3720, appendix B.4, for the checksum.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

_HEADER: Final = struct.Struct("<QI")
_CHECKSUM: Final = struct.Struct("<I")
_POLYNOMIAL: Final = 0x82F63B78
_MASK: Final = 0xA282EAD8
_FILE_VERSION: Final = b"brain.Event:2"
# Tags of fields: number << 3 | how the value is encoded.
_WALL_TIME, _STEP, _VERSION, _SUMMARY = b"\x09", b"\x10", b"\x1a", b"\x2a"
_VALUE, _NAME, _NUMBER = b"\x0a", b"\x0a", b"\x15"


def first_record(wall_time_s: float) -> bytes:
    """What every file of events begins with."""
    return _frame(_time(wall_time_s) + _VERSION + _with_length(_FILE_VERSION))


def scalars_record(wall_time_s: float, step: int, values: Mapping[str, float]) -> bytes:
    """Numbers of a step.

    Args:
        wall_time_s: When they were found, in seconds since 1970.
        step: At least 0.
        values: By name.
    """
    summary = b"".join(
        _VALUE
        + _with_length(
            _NAME + _with_length(name.encode()) + _NUMBER + struct.pack("<f", _in_float32(value))
        )
        for name, value in values.items()
    )
    return _frame(_time(wall_time_s) + _STEP + _varint(step) + _SUMMARY + _with_length(summary))


def read_records(content: bytes) -> Iterator[bytes]:
    """The data of the records of a file, up to the first that is cut off.

    Checksums of data are not looked at: of what a run has written itself, only the end can miss.
    """
    start = 0
    while start + _HEADER.size <= len(content):
        size, checksum = _HEADER.unpack_from(content, start)
        end = start + _HEADER.size + size
        if checksum != _masked(content[start : start + 8]) or end + 4 > len(content):
            return
        yield content[start + _HEADER.size : end]
        start = end + _CHECKSUM.size


def size_of(data: bytes) -> int:
    """Bytes that a record takes in a file."""
    return _HEADER.size + len(data) + _CHECKSUM.size


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _build_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = (number >> 1) ^ (_POLYNOMIAL if number & 1 else 0)
        table.append(number)
    return tuple(table)


_TABLE: Final = _build_table()


def _masked(data: bytes) -> int:
    """A checksum as records have it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def _frame(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _CHECKSUM.pack(_masked(length)) + data + _CHECKSUM.pack(_masked(data))


def _time(wall_time_s: float) -> bytes:
    return _WALL_TIME + struct.pack("<d", wall_time_s)


def _with_length(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _in_float32(value: float) -> float:
    """The value, or the infinity that it is in float32."""
    try:
        struct.pack("<f", value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return value
