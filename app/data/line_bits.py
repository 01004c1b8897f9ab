"""Line targets of four kinds in a byte a pixel."""

import functools
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from app.base.tasks import IGNORE_INDEX, LINE_KINDS

NUM_LINE_KINDS: Final = len(LINE_KINDS)
UNKNOWN_BITS: Final = (1 << NUM_LINE_KINDS) - 1

_Bytes = npt.NDArray[np.uint8]


def pack_lines(lines: _Bytes) -> _Bytes:
    """(H, W) of (4, H, W): bits 0 to 3 where a kind is unknown, bits 4 to 7 where it is 1.

    Args:
        lines: uint8, 0, 1 or 255.
    """
    packed = np.zeros(lines.shape[1:], np.uint8)
    for i, kind in enumerate(lines):
        table = np.zeros(256, np.uint8)
        table[1], table[IGNORE_INDEX] = 1 << (i + NUM_LINE_KINDS), 1 << i
        packed |= np.asarray(cv2.LUT(kind, table), np.uint8)
    return packed


def unpack_lines(packed: _Bytes) -> _Bytes:
    """The inverse of `pack_lines`."""
    return np.stack([cv2.LUT(packed, table) for table in _tables()])


@functools.cache
def _tables() -> tuple[_Bytes, ...]:
    """By kind, (256,): what bits stand for."""
    bits = np.arange(256)
    return tuple(
        np.where(bits >> i & 1, IGNORE_INDEX, bits >> i + NUM_LINE_KINDS & 1).astype(np.uint8)
        for i in range(NUM_LINE_KINDS)
    )
