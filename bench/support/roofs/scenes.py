"""Synthetic roofs with the shapes that they have exactly, and what a perfect network would say."""

import itertools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from rasterio import Affine
from shapely.geometry.base import BaseGeometry

from app.roofs.evidence import PROBABILITY_SCALE, RoofEvidence
from app.roofs.model import LineKind
from app.synthetic.geometry import Plane, Rectangle, Wing, draw_building
from app.synthetic.labels import lines_from, segments_from
from app.synthetic.roofs import Grid, Roofs, add_building

_MIN_GAP_M: Final = 1.5
_MIN_PART_M2: Final = 0.05
_TOUCH_M: Final = 0.01
_HAIR_M: Final = 1e-3
_MIN_LINE_M: Final = 0.05
# As in app/synthetic/labels.py.
_MIN_WALL_M: Final = 0.05
_MAX_RIDGE_SLOPE: Final = 0.09
_FAR_M: Final = 1e4
# UTM, near Munich; its north is 1.9 degrees clockwise of true north there.
CRS: Final = "EPSG:25832"
CORNER: Final = (690_000.0, 5_334_000.0)


class TrueLine(NamedTuple):
    """An edge of a facet.

    Attributes:
        kind: What it is.
        length_m: On the slope.
    """

    kind: LineKind
    length_m: float


class TrueFacet(NamedTuple):
    """A roof plane, or one of the parts that others leave of it.

    Attributes:
        plane: Its heights.
        polygon: In metres east and south.
    """

    plane: Plane
    polygon: shapely.Polygon


class TrueBuilding(NamedTuple):
    """A building as it was drawn.

    Attributes:
        facets: All that is seen of its planes.
        lines: All their edges.
    """

    facets: list[TrueFacet]
    lines: list[TrueLine]


class Village(NamedTuple):
    """Buildings that stand apart.

    Attributes:
        roofs: As pixels.
        buildings: As shapes.
    """

    roofs: Roofs
    buildings: list[TrueBuilding]

    def evidence(self, name: str = "village") -> RoofEvidence:
        """What a network without a fault says of it, in UTM."""
        gsd_m = self.roofs.grid.gsd_m
        return RoofEvidence(
            photo=name,
            classes=segments_from(self.roofs),
            gsd_m=gsd_m,
            lines=lines_from(self.roofs) * np.uint8(PROBABILITY_SCALE),
            height_m=self.roofs.height_m,
            transform=Affine(gsd_m, 0, CORNER[0], 0, -gsd_m, CORNER[1]),
            crs=CRS,
        )

    def to_crs(self, polygon: BaseGeometry) -> BaseGeometry:
        """A shape in the reference system of the evidence."""
        return shapely.transform(polygon, lambda xy: np.array(CORNER) + xy * (1, -1))


def draw_village(seed: int, num_buildings: int, size_px: int = 1000, gsd_m: float = 0.1) -> Village:
    """Buildings of every kind, each turned as it likes.

    Args:
        seed: Of all choices.
        num_buildings: At most so many; fewer where no more have room.
        size_px: Rows and columns.
        gsd_m: Metres per pixel.
    """
    rng = np.random.default_rng(seed)
    grid = Grid.square(size_px, gsd_m)
    roofs, buildings = Roofs.none(grid), []
    taken: list[BaseGeometry] = []
    whole = shapely.box(0, 0, grid.extent_m, grid.extent_m).buffer(-1.0)
    for _ in range(20 * num_buildings):
        centre_m = rng.uniform(0, grid.extent_m, 2)
        wings = draw_building(rng, centre_m, rng.uniform(0, 2 * math.pi))
        ground = shapely.union_all([_rectangle(wing.footprint) for wing in wings])
        free = not taken or shapely.distance(np.array(taken), ground).min() >= _MIN_GAP_M
        if free and whole.contains(ground):
            taken.append(ground)
            add_building(roofs, wings)
            buildings.append(true_building(wings))
        if len(buildings) == num_buildings:
            break
    return Village(roofs, buildings)


def true_building(wings: Sequence[Wing]) -> TrueBuilding:
    """What is seen of a building's planes from above, and the edges of that."""
    parts = [
        (number, plane, _lowest_part(wing, plane))
        for number, wing in enumerate(wings)
        for plane in wing.planes
    ]
    seen: dict[tuple[float, ...], tuple[Plane, list[BaseGeometry]]] = {}
    for number, plane, part in parts:
        for other_number, other, hider in parts:
            if other_number != number and shapely.intersects(part, hider):
                part = part - (hider & _where_higher(other, plane))
        key = tuple(round(value, 5) for value in vars(plane).values())
        seen.setdefault(key, (plane, []))[1].append(part)
    facets = []
    for plane, shapes in seen.values():
        # Parts of one plane that overlap or touch are one; hairs that rounding leaves go.
        whole = shapely.union_all(shapes)
        for step_m in (_HAIR_M, -2 * _HAIR_M, _HAIR_M):
            whole = whole.buffer(step_m, join_style="mitre")
        for polygon in shapely.get_parts(whole):
            if polygon.area >= _MIN_PART_M2:
                facets.append(TrueFacet(plane, shapely.simplify(polygon, 1e-3)))
    return TrueBuilding(facets, list(_find_lines(facets)))


def _rectangle(footprint: Rectangle) -> shapely.Polygon:
    along = footprint.along * footprint.length_m / 2
    across = footprint.across * footprint.width_m / 2
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return shapely.Polygon([footprint.centre_m + a * along + b * across for a, b in corners])


def _where_higher(one: Plane, other: Plane) -> BaseGeometry:
    """Where one plane is above another: a half of the world, all of it, or nothing."""
    gradient = np.array([one.east_slope - other.east_slope, one.south_slope - other.south_slope])
    rise_m = one.height_at_origin_m - other.height_at_origin_m
    steepness = float(np.hypot(*gradient))
    if steepness < 1e-7:
        return shapely.box(-_FAR_M, -_FAR_M, _FAR_M, _FAR_M) if rise_m > 1e-4 else shapely.Polygon()
    unit = gradient / steepness
    along = np.array([-unit[1], unit[0]])
    start = -rise_m / steepness * unit
    corners = [(0, -1), (1, -1), (1, 1), (0, 1)]
    return shapely.Polygon([start + _FAR_M * (a * unit + b * along) for a, b in corners])


def _lowest_part(wing: Wing, plane: Plane) -> BaseGeometry:
    part: BaseGeometry = _rectangle(wing.footprint)
    for other in wing.planes:
        if other is not plane:
            part = part - _where_higher(plane, other)
    return part


def _height_m(plane: Plane, place: npt.NDArray[np.float64]) -> float:
    return plane.height_at_origin_m + plane.east_slope * place[0] + plane.south_slope * place[1]


def _find_lines(facets: list[TrueFacet]) -> list[TrueLine]:
    lines = []
    for number, facet in enumerate(facets):
        others = [other for other in facets if other is not facet]
        around = shapely.union_all([other.polygon for other in others]).buffer(_TOUCH_M)
        lines += _describe(facet, None, facet.polygon.boundary - around)
        for other in facets[number + 1 :]:
            shared = facet.polygon.boundary & other.polygon.buffer(_TOUCH_M)
            lines += _describe(facet, other, shared)
    return lines


def _describe(facet: TrueFacet, other: TrueFacet | None, shared: BaseGeometry) -> list[TrueLine]:
    lines = []
    for part in shapely.get_parts(shared):
        if shapely.get_dimensions(part) != 1:
            continue
        points = shapely.get_coordinates(part)
        for start, end in itertools.pairwise(points):
            length_m = math.dist(start, end)
            if length_m >= _MIN_LINE_M:
                lines.append(_name(facet, other, (start, end), length_m))
    return lines


def _name(
    facet: TrueFacet,
    other: TrueFacet | None,
    ends: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    length_m: float,
) -> TrueLine:
    along = (ends[1] - ends[0]) / length_m
    middle = (ends[0] + ends[1]) / 2
    plane = facet.plane
    slope = np.array([plane.east_slope, plane.south_slope])
    if other is not None:
        beyond = np.array([other.plane.east_slope, other.plane.south_slope])
        gap_m = _height_m(plane, middle) - _height_m(other.plane, middle)
        if abs(gap_m) < _MIN_WALL_M + _TOUCH_M * 2:
            rise = float((slope + beyond) @ along) / 2
            across = np.array([-along[1], along[0]])
            # Into the other one.
            step = middle + 0.02 * across
            if shapely.distance(other.polygon, shapely.Point(step)) > 0.015:
                across = -across
            bend = float((beyond - slope) @ across)
            kind: LineKind = "valley"
            if bend < 0:
                kind = "ridge" if abs(rise) < _MAX_RIDGE_SLOPE else "hip"
            return TrueLine(kind, length_m * math.hypot(1.0, rise))
        slope = slope if gap_m > 0 else beyond
    rise = float(slope @ along)
    steepness = float(np.hypot(*slope))
    is_along = steepness > 0 and abs(rise) / steepness > math.sqrt(0.5)
    return TrueLine("rake" if is_along else "eave", length_m * math.hypot(1.0, rise))
