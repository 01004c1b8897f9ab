"""Masks of pixels in COCO's run lengths, as the polygons of these pixels.

A mask is one column of pixels below the other, left to right; its runs are of background and of the
object in turn. CVAT writes their lengths as numbers, pycocotools packs them into a text.

Source: cocodataset.org's maskApi: five bits a letter, the least first, a sixth where more follow;
from the third length on what is packed is the difference to the one but one before.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from app.base.arrays import Ints

# A mask of a photo of 10,000 px with a hundred holes has fewer; others would hold up the start.
_MAX_PIECES: Final = 2**17
_FIRST_LETTER: Final = 48
_NUM_BITS, _MORE, _NEGATIVE, _VALUE = 5, 32, 16, 31
_MAX_BITS: Final = 60


def mask_to_polygons(mask: Mapping[str, Any], size_px: tuple[int, int]) -> BaseGeometry:
    """The ground of a mask, to the pixel; x and y count from the corner of the first one.

    Args:
        mask: With `size`, rows and columns, and `counts`, numbers or a text.
        size_px: Columns and rows of the photo; (0, 0) where that is not known.

    Raises:
        ValueError: If it is none, or of a photo of another size; says what it is.
    """
    height, width = _read_size(mask.get("size"))
    if size_px not in ((0, 0), (width, height)):
        raise ValueError(f"a mask of {width} x {height} pixels on a photo of {_show(size_px)}")
    counts = mask.get("counts")
    lengths = _unpack(counts) if isinstance(counts, str) else counts
    num_px = height * width
    if not isinstance(lengths, list) or not all(_is_count(each, num_px) for each in lengths):
        raise ValueError("a mask whose run lengths are no counts of pixels")
    if sum(lengths) != num_px:
        raise ValueError(f"a mask of {sum(lengths)} pixels, expected {width} x {height}")
    ends = np.cumsum(lengths, dtype=np.int64)
    return _outline(ends[:-1:2], ends[1::2], height)


def _read_size(size: object) -> tuple[int, int]:
    if not isinstance(size, list) or [type(side) for side in size] != [int, int]:
        raise ValueError("a mask without its size")
    height, width = size
    # Far below where their product would not fit into 64 bits.
    if not (0 < height < 2**24 and 0 < width < 2**24):
        raise ValueError(f"a mask of {_show((width, height))} pixels")
    return height, width


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _unpack(text: str) -> list[int]:
    """Run lengths from a text of pycocotools."""
    lengths: list[int] = []
    value = num_bits = 0
    for letter in text:
        code = ord(letter) - _FIRST_LETTER
        if not 0 <= code < 2 * _MORE or num_bits > _MAX_BITS:
            raise ValueError("a mask whose run lengths cannot be unpacked")
        value |= (code & _VALUE) << num_bits
        num_bits += _NUM_BITS
        if code & _MORE:
            continue
        if code & _NEGATIVE:
            value -= 1 << num_bits
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = num_bits = 0
    if num_bits:
        raise ValueError("a mask whose run lengths end in the middle")
    return lengths


def _outline(starts: Ints, stops: Ints, height: int) -> BaseGeometry:
    """The ground of runs in columns of that height.

    Args:
        starts: (R,) first pixel of each run.
        stops: (R,) the pixel after its last.
        height: Rows.
    """
    starts, stops = starts[stops > starts], stops[stops > starts]
    first, last = starts // height, (stops - 1) // height
    counts = last - first + 1
    if counts.sum() > _MAX_PIECES:
        raise ValueError(f"a mask of {counts.sum()} pieces, expected at most {_MAX_PIECES}")
    # A run that goes on in the next column is a piece in each.
    run = np.repeat(np.arange(len(starts)), counts)
    column = np.arange(len(run)) - np.repeat(np.cumsum(counts) - counts, counts) + first[run]
    top = np.maximum(starts[run] - column * height, 0)
    bottom = np.minimum(stops[run] - column * height, height)
    ground = shapely.union_all(shapely.box(column, top, column + 1, bottom))
    return shapely.simplify(ground, 0)  # corners alone


def _show(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]} x {size_px[1]}"
