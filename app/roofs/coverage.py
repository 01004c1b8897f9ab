"""Pieces of a label image as polygons that share their edges.

The outlines of all pieces come in one pass (GDAL's polygonizer, by `rasterio.features.shapes`), and
are simplified together, so that what was shared stays shared: `shapely.coverage_simplify`, GEOS's
form of Visvalingam and Whyatt's line generalisation (1993), which takes away the corner with the
smallest triangle first. From then on a coverage is a table of points and rings of their numbers:
whatever moves a point moves it for all planes that meet in it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from rasterio import features

from app.base.arrays import Floats, Geometries, Ints
from app.roofs.frame import Frame

NO_PLANE = -1
# Sums over a line: its length, x, y, xx, xy, yy.
NUM_MOMENTS = 6


class Edges(NamedTuple):
    """The edges of a coverage, E of them, each once.

    Attributes:
        start: (E,) its first point.
        end: (E,) its last.
        left: (E,) the plane to its left with north up; -1 where there is none.
        right: (E,) the plane to its right.
    """

    start: Ints
    end: Ints
    left: Ints
    right: Ints


@dataclass(frozen=True)
class Coverage:
    """Planes that share their edges.

    Attributes:
        points: (V, 2) metres east and north.
        rings: Numbers of points, the first not repeated: each plane's outer ring, counter-clockwise
            with north up, and then its holes.
        owners: The plane of each ring, ascending.
    """

    points: Floats
    rings: tuple[Ints, ...]
    owners: Ints

    @property
    def num_planes(self) -> int:
        """How many."""
        return int(self.owners[-1]) + 1

    def polygons(self, points: Floats | None = None) -> Geometries:
        """(P,) the planes; with other points in place of its own if some are given.

        Raises:
            ValueError: If a ring has fewer than three points.
        """
        if min(map(len, self.rings)) < 3:
            raise ValueError("a ring of fewer than three points")
        closed = np.concatenate([np.append(ring, ring[0]) for ring in self.rings])
        sizes = [len(ring) + 1 for ring in self.rings]
        ring_of_point = np.repeat(np.arange(len(sizes)), sizes)
        source = self.points if points is None else points
        rings = shapely.linearrings(source[closed], indices=ring_of_point)
        return np.asarray(shapely.polygons(rings, indices=self.owners), np.object_)

    def edges(self) -> Edges:
        """The edges, each once."""
        start, end, owner = _half_edges(self.rings, self.owners)
        code = np.minimum(start, end) * len(self.points) + np.maximum(start, end)
        pairs, edge = np.unique(code, return_inverse=True)
        sides = np.full((2, len(pairs)), NO_PLANE, np.int64)
        is_forward = start < end
        sides[0, edge[is_forward]] = owner[is_forward]
        sides[1, edge[~is_forward]] = owner[~is_forward]
        first, last = np.divmod(pairs, len(self.points))
        # Where there is one plane only, it is to the left.
        is_outer = sides[0] == NO_PLANE
        return Edges(
            np.where(is_outer, last, first),
            np.where(is_outer, first, last),
            np.where(is_outer, sides[1], sides[0]),
            np.where(is_outer, NO_PLANE, sides[1]),
        )


class RoughCoverage(NamedTuple):
    """A simplified coverage, and what of the pixels' outline lies along each of its edges.

    Attributes:
        coverage: The planes.
        edges: Its edges, E of them.
        moments: (E, 6) length of the outline, and its integrals of x, y, xx, xy, yy in metres.
        labels: (P,) the piece of each plane.
    """

    coverage: Coverage
    edges: Edges
    moments: Floats
    labels: Ints


def trace_pieces(labels: npt.NDArray[np.int32], frame: Frame, simplify_m: float) -> RoughCoverage:
    """The pieces of a label image as a simplified coverage.

    Args:
        labels: (h, w) pieces from 1, each of which hangs together; 0 outside. One at least.
        frame: From its columns and rows to metres.
        simplify_m: See `RoofSettings`.
    """
    outlines, names = _polygonize(labels)
    simple = shapely.coverage_simplify(outlines, simplify_m / frame.pixel_m)
    # Pixels' y points down: what is clockwise by it is counter-clockwise with north up.
    outlines, simple = (
        shapely.orient_polygons(shapes, exterior_cw=True) for shapes in (outlines, simple)
    )
    width = labels.shape[1] + 1
    raw_rings, raw_owners = _rings(outlines, width)
    rings, owners = _rings(simple, width)
    codes, numbers = np.unique(np.concatenate(rings), return_inverse=True)
    row, column = np.divmod(codes, width)
    points = frame.metres(np.stack((column, row), axis=1))
    sizes = np.cumsum([len(ring) for ring in rings])[:-1]
    coverage = Coverage(points, tuple(np.split(numbers.astype(np.int64), sizes)), owners)
    edges = coverage.edges()
    moments = _outline_moments((raw_rings, raw_owners), codes, coverage, edges, (width, frame))
    return RoughCoverage(coverage, edges, moments, names)


def _polygonize(labels: npt.NDArray[np.int32]) -> tuple[Geometries, Ints]:
    """The outlines of pieces in columns and rows, with a point wherever three pieces meet."""
    coordinates: list[Ints] = []
    sizes: list[int] = []
    owners: list[int] = []
    names: list[int] = []
    for shape, name in features.shapes(labels, mask=labels > 0, connectivity=4):
        for ring in shape["coordinates"]:
            coordinates.append(np.array(ring, np.int64))
            sizes.append(len(ring))
            owners.append(len(names))
        names.append(int(name))
    points, ring = _add_nodes(
        np.concatenate(coordinates), np.repeat(np.arange(len(sizes)), sizes), labels
    )
    rings = shapely.linearrings(points, indices=ring)
    return np.asarray(shapely.polygons(rings, indices=owners), np.object_), np.array(names)


def _add_nodes(points: Ints, ring: Ints, labels: npt.NDArray[np.int32]) -> tuple[Ints, Ints]:
    """Closed rings with all corners of pixels that lie on them and at which three pieces meet.

    The polygonizer leaves these out where a ring goes straight on, but its neighbours' rings turn.
    """
    # Of the four sides of pixels that meet in a corner, those between two pieces.
    padded = np.pad(labels, 1)
    across, down = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
    meeting = across[1:].astype(np.uint8) + across[:-1] + down[:, 1:] + down[:, :-1]
    is_node = meeting > 2

    step = np.diff(points, axis=0)
    length = np.where(ring[1:] == ring[:-1], np.abs(step).sum(axis=1), 1)
    segment = np.repeat(np.arange(len(length)), length)
    along = np.arange(len(segment)) - np.repeat(np.cumsum(length) - length, length)
    x, y = (points[segment] + along[:, None] * np.sign(step)[segment]).T
    kept = (along == 0) | is_node[y, x]
    every = np.concatenate((np.stack((x, y), axis=1)[kept], points[-1:]))
    return every, np.append(ring[segment[kept]], ring[-1])


def _rings(polygons: Geometries, width: int) -> tuple[list[Ints], Ints]:
    """Rings as codes of their pixel corners, open, outer ones first, and their owners."""
    rings, owners = shapely.get_rings(polygons, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    x, y = np.rint(points).astype(np.int64).T
    ends = np.flatnonzero(np.diff(ring)) + 1
    return [part[:-1] for part in np.split(y * width + x, ends)], np.asarray(owners, np.int64)


def _half_edges(rings: tuple[Ints, ...], owners: Ints) -> tuple[Ints, Ints, Ints]:
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1) for ring in rings])
    return start, end, np.repeat(owners, [len(ring) for ring in rings])


def _outline_moments(
    raw: tuple[list[Ints], Ints],
    codes: Ints,
    coverage: Coverage,
    edges: Edges,
    grid: tuple[int, Frame],
) -> Floats:
    """(E, 6) the moments of the pixels' outline between the ends of each edge.

    A corner that is kept is a corner of the outline, so a plane's outline from one kept corner to
    the next is what the edge between them stands for.
    """
    width, frame = grid
    num_points = len(coverage.points)
    start, _, owner = _half_edges(coverage.rings, coverage.owners)
    kept = np.unique(owner * num_points + start)
    found_keys, found_moments = [], []
    for ring, plane in zip(raw[0], raw[1].tolist(), strict=True):
        number = np.searchsorted(codes, ring)
        number[number == len(codes)] = 0
        is_point = codes[number] == ring
        is_kept = is_point & np.isin(plane * num_points + number, kept)
        begins = np.flatnonzero(is_kept)
        if len(begins) < 2:
            continue
        order = np.roll(np.arange(len(ring)), -begins[0])
        row, column = np.divmod(ring[order], width)
        points = frame.metres(np.stack((column, row), axis=1))
        moments = np.add.reduceat(
            line_moments(points, np.roll(points, -1, axis=0)), begins - begins[0], axis=0
        )
        corners = number[begins]
        found_keys.append((plane * num_points + corners) * num_points + np.roll(corners, -1))
        found_moments.append(moments)
    of_edges = line_moments(coverage.points[edges.start], coverage.points[edges.end])
    if not found_keys:
        return of_edges
    keys, moments = np.concatenate(found_keys), np.concatenate(found_moments)
    order = np.argsort(keys)
    keys, moments = keys[order], moments[order]
    wanted = (edges.left * num_points + edges.start) * num_points + edges.end
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((keys[place] == wanted)[:, None], moments[place], of_edges)


def line_moments(starts: Floats, ends: Floats) -> Floats:
    """(N, 6) length, and integrals of x, y, xx, xy, yy, of N straight lines."""
    step, middle = ends - starts, (starts + ends) / 2
    length = np.hypot(*step.T)
    squares = [
        length * (middle[:, i] * middle[:, j] + step[:, i] * step[:, j] / 12)
        for i, j in ((0, 0), (0, 1), (1, 1))
    ]
    return np.stack((length, *(length * middle.T), *squares), axis=1)
