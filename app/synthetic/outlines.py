"""Roofs of a scene as polygons and lines, from its planes alone and not from its picture.

All edges that a building may show, which are its footprints and the places where two planes are
equally high, divide the ground into faces, and in a face one plane is seen. Faces of one plane are
joined. So planes share their edges, no ground lies between them, and lines are these edges.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import shapely

from app.base.arrays import Floats, Ints
from app.synthetic.geometry import Plane, Wing
from app.synthetic.labels import MAX_RIDGE_SLOPE, MIN_WALL_M
from app.synthetic.roofs import MIN_OVERLAP_RISE_M

LineKind = Literal["eave", "rake", "ridge", "hip", "valley"]

# Edges that meet in one point do so to the rounding of their numbers: corners lie on this grid.
_GRID_M: Final = 1e-6
# Of the triangle between a corner and its neighbours: below it the corner lies on a straight edge.
_STRAIGHT_M2: Final = 1e-4
# What rounding leaves between edges is smaller than this, and no plane is.
_MIN_AREA_M2: Final = 1e-4
_FAR_M: Final = 1000.0
_NO_PLANE: Final = -1

_Point = tuple[float, float]
_Geometry = Any  # of shapely, which has no types for mypy


class PlaneShape(NamedTuple):
    """A roof plane as it is seen from above.

    Attributes:
        polygon: Of shapely, east and south in metres.
        plane: Its heights.
    """

    polygon: _Geometry
    plane: Plane


class LineShape(NamedTuple):
    """A line of a roof.

    Attributes:
        line: Of shapely, east and south in metres.
        kind: What it is.
    """

    line: _Geometry
    kind: LineKind


class RoofShapes(NamedTuple):
    """The planes and lines of a building."""

    planes: tuple[PlaneShape, ...]
    lines: tuple[LineShape, ...]


class _Edge(NamedTuple):
    """A straight piece of an outline; its plane lies to its left where x runs right and y up."""

    start: _Point
    end: _Point
    owner: int


def find_shapes(wings: Sequence[Wing], extent_m: float) -> RoofShapes:
    """What is seen of a building in an image.

    Args:
        wings: The building.
        extent_m: Side of the image: what lies beyond is cut off, and has no line there.

    Returns:
        Polygons that share their edges, and lines along these; none where the building lies beyond
        the image.
    """
    planes = list({plane.key: plane for wing in wings for plane in wing.planes}.values())
    image = shapely.box(0.0, 0.0, extent_m, extent_m)
    outlines = [ground.exterior for ground in (image, *_grounds(wings))]
    noded = shapely.union_all([*outlines, *_find_creases(wings)], grid_size=_GRID_M)
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    inside = shapely.get_coordinates(shapely.point_on_surface(faces))
    seen = _find_seen(wings, planes, inside)
    seen[((inside <= 0) | (inside >= extent_m)).any(axis=1)] = _NO_PLANE
    shapes = []
    for number in np.unique(seen[seen != _NO_PLANE]).tolist():
        whole = shapely.coverage_union_all(faces[seen == number])
        parts = [part for part in shapely.get_parts(whole) if part.area > _MIN_AREA_M2]
        shapes += [PlaneShape(part, planes[number]) for part in parts]
    if not shapes:
        return RoofShapes((), ())
    polygons = [shape.polygon for shape in shapes]
    straight = shapely.coverage_simplify(polygons, _STRAIGHT_M2**0.5)
    shapes = [
        shape._replace(polygon=polygon)
        for shape, polygon in zip(shapes, shapely.orient_polygons(straight), strict=True)
    ]
    return RoofShapes(tuple(shapes), tuple(_find_lines(shapes, extent_m)))


def _grounds(wings: Sequence[Wing]) -> list[_Geometry]:
    return [shapely.Polygon(wing.footprint.corners_m()) for wing in wings]


def _find_creases(wings: Sequence[Wing]) -> Iterator[_Geometry]:
    """Where planes of one wing, or of two over the same ground, are equally high."""
    pairs = itertools.combinations_with_replacement(zip(wings, _grounds(wings), strict=True), 2)
    for (wing, ground), (other, other_ground) in pairs:
        shared = ground if wing is other else ground.intersection(other_ground)
        if shared.area == 0:
            continue
        middle = shapely.get_coordinates(shared.centroid)[0]
        for first, second in itertools.product(wing.planes, other.planes):
            crease = _find_crease(first, second, middle)
            if crease is not None:
                yield crease.intersection(shared)


def _find_crease(first: Plane, second: Plane, near: Floats) -> _Geometry | None:
    """The line on which two planes are equally high; None where they are parallel."""
    slopes = np.array([(p.east_slope, p.south_slope) for p in (first, second)])
    bend = slopes[0] - slopes[1]
    steepness = float(np.hypot(*bend))
    if first.key == second.key or steepness < 1e-6:
        return None
    gap_m = first.height_m(near[None]) - second.height_m(near[None])
    foot = near - bend * gap_m / steepness**2
    along = np.array([-bend[1], bend[0]]) / steepness
    return shapely.LineString([foot - _FAR_M * along, foot + _FAR_M * along])


def _find_seen(wings: Sequence[Wing], planes: Sequence[Plane], points_m: Floats) -> Ints:
    """(N,) index of the plane that is seen at each point, as `add_building` has it."""
    number_of = {plane.key: i for i, plane in enumerate(planes)}
    seen = np.full(len(points_m), _NO_PLANE, np.int64)
    top_m = np.zeros(len(points_m))
    for wing in wings:
        heights_m = np.stack([plane.height_m(points_m) for plane in wing.planes])
        numbers = np.array([number_of[plane.key] for plane in wing.planes])
        lowest_m = heights_m.min(axis=0)
        higher = wing.footprint.holds(points_m) & (lowest_m > top_m + MIN_OVERLAP_RISE_M)
        seen[higher] = numbers[heights_m.argmin(axis=0)][higher]
        top_m[higher] = lowest_m[higher]
    return seen


def _find_lines(shapes: Sequence[PlaneShape], extent_m: float) -> Iterator[LineShape]:
    """The edges of planes, those that go on as the same line joined."""
    sides: dict[tuple[_Point, _Point], list[_Edge]] = defaultdict(list)
    for owner, shape in enumerate(shapes):
        for ring in shapely.get_rings(shape.polygon):
            for start, end in itertools.pairwise(map(tuple, shapely.get_coordinates(ring))):
                sides[min(start, end), max(start, end)].append(_Edge(start, end, owner))
    pieces: dict[tuple[LineKind, tuple[int, ...]], list[tuple[_Point, _Point]]] = defaultdict(list)
    for place, (edge, *others) in sides.items():
        if others or not _is_cut(place, extent_m):
            owners = tuple(sorted(one.owner for one in (edge, *others)))
            beyond = shapes[others[0].owner].plane if others else None
            kind = _find_kind(edge, shapes[edge.owner].plane, beyond)
            pieces[kind, owners].append(place)
    for (kind, _), places in pieces.items():
        merged = shapely.line_merge(shapely.MultiLineString(places))
        for line in shapely.get_parts(merged):
            yield LineShape(line, kind)


def _is_cut(place: tuple[_Point, _Point], extent_m: float) -> bool:
    """Whether an edge lies on the border of the image, where roofs go on."""
    ends = np.array(place)
    off_m = np.stack((ends, ends - extent_m))  # of both borders, both ends, both axes
    return bool((np.abs(off_m) < 2 * _GRID_M).all(axis=1).any())


def _find_kind(edge: _Edge, own: Plane, beyond: Plane | None) -> LineKind:
    """What an edge is, by the planes on its left and on its right."""
    start, end = np.array(edge.start), np.array(edge.end)
    along = (end - start) / np.hypot(*(end - start))
    middle = (start + end)[None] / 2
    if beyond is not None:
        rise_m = float((own.height_m(middle) - beyond.height_m(middle))[0])
        if abs(rise_m) < MIN_WALL_M:
            return _find_crease_kind(along, own, beyond)
        own = own if rise_m > 0 else beyond
    slope = np.array([own.east_slope, own.south_slope])
    # Rakes run along the slope, eaves across it.
    return "rake" if abs(slope @ along) > np.hypot(*slope) * 0.5**0.5 else "eave"


def _find_crease_kind(along: Floats, own: Plane, beyond: Plane) -> LineKind:
    outward = np.array([along[1], -along[0]])
    slopes = np.array([(p.east_slope, p.south_slope) for p in (own, beyond)])
    if float((slopes[0] - slopes[1]) @ outward) < 0:
        return "valley"
    return "ridge" if abs(float(slopes[0] @ along)) < MAX_RIDGE_SLOPE else "hip"
