"""Rectangles of photos, and how many of them make up a photo."""

import math
from typing import Final, NamedTuple

# Of a window's side: two windows share at least this much. At most a third, so that what a window
# shares with either neighbour does not meet.
_SHARED_PART: Final = 4
# How far a network shrinks a photo. It says the same of a pixel in two windows, but for what is
# near their borders, only where these begin a multiple of this apart.
STRIDE_PX: Final = 32


class Window(NamedTuple):
    """A rectangle of a photo, in its pixels.

    Attributes:
        top: First of its rows.
        left: First of its columns.
        height: Rows.
        width: Columns.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """Its rows of the photo."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Its columns of the photo."""
        return slice(self.left, self.left + self.width)


def find_shared_px(window_px: int) -> int:
    """How much two windows share at least, unless another number is given."""
    return max(1, window_px // _SHARED_PART)


def find_step_px(window_px: int, shared_px: int | None = None) -> int:
    """From one window to the next at most: a multiple of STRIDE_PX, unless windows are tiny.

    Args:
        window_px: Side of a window.
        shared_px: How much two windows share at least; find_shared_px by default.
    """
    most_px = window_px - (shared_px or find_shared_px(window_px))
    return most_px // STRIDE_PX * STRIDE_PX or most_px


def count_windows(length_px: int, window_px: int, shared_px: int | None = None) -> int:
    """How many overlapping windows of a side cover a length.

    Args:
        length_px: What is to be covered.
        window_px: Side of a window.
        shared_px: How much two windows share at least; find_shared_px by default.
    """
    if length_px <= window_px:
        return 1
    return 1 + math.ceil((length_px - window_px) / find_step_px(window_px, shared_px))
