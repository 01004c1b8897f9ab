"""Polygons and lines in numbers alone, and their pixels.

A pixel is a polygon's if its middle is. So polygons that share an edge share no pixel, and leave
none between them, at any turn and scale.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from app.base.arrays import Flags, Floats, Ints, Mask8

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

    @functools.cached_property
    def spans(self) -> Ints:
        """(N + 1,) where among the points each shape begins, and the last one ends."""
        spans: Ints = self.starts[np.searchsorted(self.owners, np.arange(len(self) + 1))]
        return spans

    @functools.cached_property
    def begins_edge(self) -> Flags:
        """(P,) whether an edge leads from a point to the next."""
        begins = np.ones(len(self.points), np.bool_)
        begins[self.starts[1:] - 1] = False
        return begins

    def corners(self, numbers: Ints) -> Ints:
        """Which points are some shapes' corners: those of the first, then of the second."""
        lengths = np.diff(self.spans)[numbers]
        shifts = self.spans[numbers] - (np.cumsum(lengths) - lengths)
        corners: Ints = np.arange(lengths.sum()) + np.repeat(shifts, lengths)
        return corners

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
    begins = np.concatenate([ring[:-1] for ring in rings])
    ends = np.concatenate([ring[1:] for ring in rings])
    stamps = dict(_fill(begins, ends, np.zeros(len(begins), np.int64), size))
    return stamps.get(0)


def fill_some(
    shapes: Shapes, numbers: Ints, move: Callable[[Floats], Floats], size: tuple[int, int]
) -> list[tuple[int, Stamp]]:
    """The pixels of polygons, as of `fill`; those that have none in the window are left out.

    All at once, since arrays of a few corners take as long as arrays of a thousand.

    Args:
        shapes: Polygons.
        numbers: Which of them.
        move: From their corners to the window's.
        size: Rows and columns of the window.

    Returns:
        Their numbers, in the order given, and their pixels.
    """
    corners = shapes.corners(numbers)
    owners = np.repeat(np.arange(len(numbers)), np.diff(shapes.spans)[numbers])
    moved = move(shapes.points[corners])
    begins = np.flatnonzero(shapes.begins_edge[corners])
    stamps = _fill(moved[begins], moved[begins + 1], owners[begins], size)
    return [(int(numbers[owner]), stamp) for owner, stamp in stamps]


def _fill(
    begins: Floats, ends: Floats, owners: Ints, size: tuple[int, int]
) -> list[tuple[int, Stamp]]:
    """The pixels of polygons from both ends of their edges, (E, 2), and whose edge each is."""
    height, width = size
    # Both polygons that share an edge compute its pixels from the same end.
    swap = (begins[:, 1] > ends[:, 1])[:, None]
    low, high = np.where(swap, ends, begins), np.where(swap, begins, ends)
    first = np.clip(np.ceil(low[:, 1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(high[:, 1] - 0.5), 0, height).astype(np.int64)
    counts = last - first
    if not counts.any():
        return []
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (high[edge, 0] - low[edge, 0]) / (high[edge, 1] - low[edge, 1])
    x = low[edge, 0] + (row + 0.5 - low[edge, 1]) * slope
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    crossed, starts = np.unique(owners[edge], return_index=True)
    tops, lefts = (np.minimum.reduceat(places, starts) for places in (row, column))
    bottoms, rights = (np.maximum.reduceat(places, starts) for places in (row, column))
    stops = np.append(starts[1:], len(edge))
    bounds = np.stack((crossed, starts, stops, tops, bottoms + 1, lefts, rights), axis=1)
    stamps = []
    for owner, start, stop, top, bottom, left, right in bounds.tolist():
        if left == right:
            continue
        crossings = np.zeros((bottom - top, right - left + 1), np.uint8)
        places = (row[start:stop] - top) * crossings.shape[1] + (column[start:stop] - left)
        np.bitwise_xor.at(crossings.ravel(), places, 1)
        inside = np.bitwise_xor.accumulate(crossings, axis=1)[:, :-1].view(np.bool_)
        stamps.append((owner, Stamp(slice(top, bottom), slice(left, right), inside)))
    return stamps


def trace_some(
    target: Mask8, shapes: Shapes, numbers: Ints, move: Callable[[Floats], Floats], value: int
) -> None:
    """Draw lines one pixel thick into (H, W), all at once as `fill_some`.

    Args:
        target: Changed.
        shapes: Lines.
        numbers: Which of them.
        move: From their corners to the window's, x and y from the corner of its first pixel.
        value: What their pixels become.
    """
    corners = shapes.corners(numbers)
    if not len(corners):
        return
    # OpenCV counts from the middles of pixels.
    fixed = (move(shapes.points[corners]) - 0.5) * (1 << _SHIFT)
    fixed = np.round(np.clip(fixed, -_FAR_PX, _FAR_PX)).astype(np.int32)
    lines = np.split(fixed, np.flatnonzero(~shapes.begins_edge[corners])[:-1] + 1)
    cv2.polylines(target, lines, isClosed=False, color=value, shift=_SHIFT)
