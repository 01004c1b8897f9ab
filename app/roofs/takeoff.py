"""What a roofer orders by: areas by pitch, lengths by kind, for each building and for the photo.

The sums are those of EagleView's and Hover's reports: facets, areas on the slope, and the number
and length of ridges, hips, valleys, rakes and eaves. Pitches are classed as roofers name them, by
the rise in inches over a run of 12, to the nearest whole one.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.roofs.buildings import main_azimuth_degrees
from app.roofs.model import LineKind, Plane, RoofLine, Roofs, by_building

_RUN: Final = 12


@dataclass(frozen=True)
class PitchShare:
    """The planes of one pitch.

    Attributes:
        rise_per_12: The pitch as roofers name it: 6 is 6/12.
        degrees: The same as an angle.
        area_m2: On the slope.
        share: Of the area of all planes whose pitch is known.
    """

    rise_per_12: int
    degrees: float
    area_m2: float
    share: float


@dataclass(frozen=True)
class LineTotal:
    """The lines of one kind.

    Attributes:
        total: How many there are.
        length_m: Of all, on the slope.
    """

    total: int
    length_m: float


@dataclass(frozen=True)
class Sums:
    """Planes and lines, added up.

    Attributes:
        roof_facets: Number of planes.
        ground_area_m2: In plan.
        area_m2: On the slope, of the planes whose pitch is known; None where none is.
        unknown_pitch_ground_area_m2: In plan, of the planes whose pitch is not known.
        pitch: By pitch, lowest first; empty where none is known.
        eaves: Length of eaves, and so on.
        rakes: See eaves.
        ridges: See eaves.
        hips: See eaves.
        valleys: See eaves.
        main_azimuth_degrees: The direction of most of its area; None where all is flat.
    """

    roof_facets: int
    ground_area_m2: float
    area_m2: float | None
    unknown_pitch_ground_area_m2: float
    pitch: tuple[PitchShare, ...]
    eaves: LineTotal
    rakes: LineTotal
    ridges: LineTotal
    hips: LineTotal
    valleys: LineTotal
    main_azimuth_degrees: float | None


@dataclass(frozen=True)
class BuildingSums:
    """A building's.

    Attributes:
        building_id: As in `Roofs`.
        sums: Of its planes and lines.
    """

    building_id: int
    sums: Sums


@dataclass(frozen=True)
class TakeOff:
    """A photo's.

    Attributes:
        photo: Its name, without ending.
        total: Of all planes and lines.
        buildings: In the order of their ids.
    """

    photo: str
    total: Sums
    buildings: tuple[BuildingSums, ...]


def take_off(roofs: Roofs) -> TakeOff:
    """The sums of a photo's roofs."""
    planes, lines = by_building(roofs.planes), by_building(roofs.lines)
    buildings = tuple(
        BuildingSums(number, _add_up(planes[number], lines[number]))
        for number in (building.building_id for building in roofs.buildings)
    )
    return TakeOff(roofs.photo, _add_up(roofs.planes, roofs.lines), buildings)


def _add_up(planes: Sequence[Plane], lines: Sequence[RoofLine]) -> Sums:
    sloped = [plane.area_m2 for plane in planes if plane.area_m2 is not None]
    return Sums(
        roof_facets=len(planes),
        ground_area_m2=math.fsum(plane.ground_area_m2 for plane in planes),
        area_m2=math.fsum(sloped) if sloped else None,
        unknown_pitch_ground_area_m2=math.fsum(
            plane.ground_area_m2 for plane in planes if plane.area_m2 is None
        ),
        pitch=_by_pitch(planes),
        eaves=_of_kind(lines, "eave"),
        rakes=_of_kind(lines, "rake"),
        ridges=_of_kind(lines, "ridge"),
        hips=_of_kind(lines, "hip"),
        valleys=_of_kind(lines, "valley"),
        main_azimuth_degrees=main_azimuth_degrees(planes),
    )


def _by_pitch(planes: Iterable[Plane]) -> tuple[PitchShare, ...]:
    areas_m2: dict[int, float] = defaultdict(float)
    for plane in planes:
        if plane.pitch_degrees is not None and plane.area_m2 is not None:
            rise = round(_RUN * math.tan(math.radians(plane.pitch_degrees)))
            areas_m2[rise] += plane.area_m2
    total_m2 = math.fsum(areas_m2.values())
    return tuple(
        PitchShare(rise, math.degrees(math.atan2(rise, _RUN)), area_m2, area_m2 / total_m2)
        for rise, area_m2 in sorted(areas_m2.items())
    )


def _of_kind(lines: Iterable[RoofLine], kind: LineKind) -> LineTotal:
    lengths_m = [line.length_m for line in lines if line.kind == kind]
    return LineTotal(len(lengths_m), math.fsum(lengths_m))
