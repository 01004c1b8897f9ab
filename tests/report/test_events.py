"""TensorBoard's files of events."""

import struct

import pytest

from app.report.events import crc32c, first_record, read_records, scalars_record, size_of


@pytest.mark.parametrize(
    ("data", "checksum"),
    # The first is the check value of the algorithm's catalogue, the others those of RFC 3720, B.4.
    [
        (b"123456789", 0xE3069283),
        (32 * b"\x00", 0x8A9136AA),
        (32 * b"\xff", 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksums_are_those_of_the_standard(data, checksum):
    assert crc32c(data) == checksum


def test_a_record_byte_by_byte():
    record = scalars_record(2.0, 300, {"a/b": 0.5})
    message = (
        b"\x09" + struct.pack("<d", 2.0)  # wall_time
        + b"\x10\xac\x02"  # step: 300 = 0b10_0101100
        + b"\x2a\x0c"  # summary, 12 bytes
        + b"\x0a\x0a"  # a value, 10 bytes
        + b"\x0a\x03a/b" + b"\x15" + struct.pack("<f", 0.5)
    )  # fmt: skip
    assert record[:8] == struct.pack("<Q", len(message))
    assert record[12:-4] == message
    for data, stored in ((record[:8], record[8:12]), (message, record[-4:])):
        crc = crc32c(data)
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
        assert stored == struct.pack("<I", masked)


def test_records_are_read_up_to_where_the_file_is_cut_off():
    records = [first_record(1.0), scalars_record(2.0, 1, {"x": 1.0})]
    content = b"".join(records)
    found = list(read_records(content))
    assert [size_of(data) for data in found] == [len(record) for record in records]
    assert found[0].endswith(b"\x1a\x0dbrain.Event:2")
    for end in range(len(records[0]), len(content)):
        assert list(read_records(content[:end])) == found[:1]
    assert list(read_records(b"no file of events, but longer than a header")) == []


def test_a_number_beyond_float32_is_infinite():
    record = scalars_record(0.0, 0, {"x": 1e300, "y": -1e300})
    assert struct.pack("<f", float("inf")) in record
    assert struct.pack("<f", float("-inf")) in record
