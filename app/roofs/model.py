"""Roofs as people use them: planes, lines and buildings of one photo."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

import shapely

LineKind = Literal["eave", "rake", "ridge", "hip", "valley"]


@dataclass(frozen=True)
class Plane:
    """A roof plane.

    Attributes:
        plane_id: From 1, unique in a photo.
        building_id: Its building.
        polygon: In the photo's reference system, or in pixels (x is the column, y the row) where
            the photo has none.
        azimuth_degrees: Compass direction, from true north, in which it runs down; None where flat.
        azimuth_sd_degrees: Standard deviation of the azimuth; None where that is.
        pitch_degrees: Tilt against the horizontal; None where heights say nothing.
        pitch_sd_degrees: Standard deviation of the pitch; None where that is.
        area_m2: On the slope; None without a pitch.
        ground_area_m2: In plan.
        height_m: Above ground, at its centre; None where heights say nothing.
        confidence: Probability in [0, 1] that it is a plane of that direction.
    """

    plane_id: int
    building_id: int
    polygon: shapely.Polygon
    azimuth_degrees: float | None
    azimuth_sd_degrees: float | None
    pitch_degrees: float | None
    pitch_sd_degrees: float | None
    area_m2: float | None
    ground_area_m2: float
    height_m: float | None
    confidence: float


@dataclass(frozen=True)
class RoofLine:
    """An edge of planes.

    Attributes:
        line_id: From 1, unique in a photo.
        kind: What it is.
        line: In the photo's reference system, or in pixels, as Plane.polygon.
        length_m: On the slope.
        ground_length_m: In plan.
        left_plane_id: The plane to its left, by the order of its points; None where there is none.
        right_plane_id: The plane to its right.
        building_id: Their building.
        confidence: Probability in [0, 1] that a line is there.
        kind_confidence: Probability in [0, 1] that it is of its kind.
    """

    line_id: int
    kind: LineKind
    line: shapely.LineString
    length_m: float
    ground_length_m: float
    left_plane_id: int | None
    right_plane_id: int | None
    building_id: int
    confidence: float
    kind_confidence: float


Part = TypeVar("Part", Plane, RoofLine)


def by_building(parts: Iterable[Part]) -> defaultdict[int, list[Part]]:
    """Planes or lines by the id of their building, in their order; none where it has none."""
    found: defaultdict[int, list[Part]] = defaultdict(list)
    for part in parts:
        found[part.building_id].append(part)
    return found


@dataclass(frozen=True)
class Building:
    """Planes that belong together.

    Attributes:
        building_id: From 1, unique in a photo.
        polygon: All its planes, as Plane.polygon.
        ground_area_m2: In plan.
        main_azimuth_degrees: The direction of most of its sloped area; None where all is flat.
        is_cut: Whether it goes on where the photo ends: its areas and lengths are of what is seen,
            and where it is cut there is no line.
    """

    building_id: int
    polygon: shapely.Polygon | shapely.MultiPolygon
    ground_area_m2: float
    main_azimuth_degrees: float | None
    is_cut: bool = False


@dataclass(frozen=True)
class Roofs:
    """The roofs of a photo.

    Attributes:
        photo: Its name, without ending.
        crs: Reference system of all geometries, as text; None where they are pixels.
        gsd_m: Metres per pixel of the rasters that they were found in.
        planes: In the order of their ids.
        lines: In the order of their ids.
        buildings: In the order of their ids.
    """

    photo: str
    crs: str | None
    gsd_m: float
    planes: tuple[Plane, ...]
    lines: tuple[RoofLine, ...]
    buildings: tuple[Building, ...]
