"""Polygons and lines in numbers alone, and their pixels.

A pixel is a polygon's if its middle is. So polygons that share an edge share no pixel, and leave
none between them, at any turn and scale.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from app.base.arrays import Floats, Ints, Mask8

# OpenCV takes fractions of a pixel as whole numbers of 1/16.
_SHIFT = 4
# Beyond this OpenCV's whole numbers end; lines so far off are cut by the window anyway.
_FAR_PX = 1e6


@dataclass(frozen=True)
class Shapes:
    """N polygons, with their holes, or N lines.

    Attributes:
        points: (P, 2) x and y of all corners; a ring's first corner is also its last.
        starts: (R + 1,) where among the points each ring or part begins, and the last one ends.
        owners: (R,) the shape of each ring or part, ascending.
        boxes: (N, 4) lowest x and y, highest x and y.
    """

    points: Floats
    starts: Ints
    owners: Ints
    boxes: Floats

    @classmethod
    def of(cls, geometries: Sequence[Any] | npt.NDArray[np.object_]) -> Self:
        """The shapes of valid polygons and lines of shapely, each of one part or of several."""
        array = np.asarray(geometries, dtype=object)
        parts, part_owners = shapely.get_parts(array, return_index=True)
        if len(parts) and shapely.get_dimensions(parts[0]) == 2:
            parts, index = shapely.get_rings(parts, return_index=True)
            part_owners = part_owners[index]
        points, index = shapely.get_coordinates(parts, return_index=True)
        starts = np.searchsorted(index, np.arange(len(parts) + 1))
        boxes = shapely.bounds(array).reshape(-1, 4)
        return cls(points, starts.astype(np.int64), part_owners.astype(np.int64), boxes)

    def __len__(self) -> int:
        return len(self.boxes)

    def parts(self, shape: int) -> list[Floats]:
        """(K, 2) corners of each ring or part of a shape."""
        first, last = np.searchsorted(self.owners, [shape, shape + 1]).tolist()
        return [self.points[self.starts[i] : self.starts[i + 1]] for i in range(first, last)]

    def polygon(self, shape: int, move: Callable[[Floats], Floats]) -> BaseGeometry:
        """A polygon as one of shapely, with its corners moved; of one part or of several."""
        rings = [shapely.linestrings(move(part)) for part in self.parts(shape)]
        return shapely.build_area(shapely.multilinestrings(rings))

    def touching(self, box: tuple[float, float, float, float]) -> Ints:
        """The shapes whose boxes touch a box, ascending."""
        west, south, east, north = box
        low_x, low_y, high_x, high_y = self.boxes.T
        hit = (high_x >= west) & (low_x <= east) & (high_y >= south) & (low_y <= north)
        return np.flatnonzero(hit)


class Stamp(NamedTuple):
    """The pixels of a polygon, in the part of a window that it touches."""

    rows: slice
    columns: slice
    inside: npt.NDArray[np.bool_]

    def put(self, target: Mask8, value: int) -> None:
        """Set its pixels of (H, W)."""
        target[self.rows, self.columns][self.inside] = value


def fill(rings: Sequence[Floats], size: tuple[int, int]) -> Stamp | None:
    """The pixels whose middles lie in a polygon; None where it has none in the window.

    Args:
        rings: (K, 2) corners, x and y from the corner of the first pixel; holes among them.
        size: Rows and columns of the window.
    """
    height, width = size
    begins = np.concatenate([ring[:-1] for ring in rings])
    ends = np.concatenate([ring[1:] for ring in rings])
    # Both polygons that share an edge compute its pixels from the same end.
    swap = (begins[:, 1] > ends[:, 1])[:, None]
    low, high = np.where(swap, ends, begins), np.where(swap, begins, ends)
    first = np.clip(np.ceil(low[:, 1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(high[:, 1] - 0.5), 0, height).astype(np.int64)
    counts = last - first
    if not counts.any():
        return None
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (high[edge, 0] - low[edge, 0]) / (high[edge, 1] - low[edge, 1])
    x = low[edge, 0] + (row + 0.5 - low[edge, 1]) * slope
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    top, bottom, left, right = row.min(), row.max() + 1, column.min(), column.max()
    if left == right:
        return None
    crossings = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.bitwise_xor.at(crossings, (row - top, column - left), 1)
    inside = np.bitwise_xor.accumulate(crossings, axis=1)[:, :-1].view(np.bool_)
    return Stamp(slice(top, bottom), slice(left, right), inside)


def trace(target: Mask8, parts: Sequence[Floats], value: int) -> None:
    """Draw lines one pixel thick into (H, W).

    Args:
        target: Changed.
        parts: (K, 2) corners, x and y from the corner of the first pixel.
        value: What its pixels become.
    """
    # OpenCV counts from the middles of pixels.
    fixed = [np.clip((part - 0.5) * (1 << _SHIFT), -_FAR_PX, _FAR_PX) for part in parts]
    corners = [np.round(part).astype(np.int32) for part in fixed]
    cv2.polylines(target, corners, isClosed=False, color=value, shift=_SHIFT)
