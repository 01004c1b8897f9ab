"""The fields of buildings, planes and lines: their names, and values rounded to what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import shapely

from app.roofs.model import Plane, RoofLine, Roofs
from app.roofs.takeoff import Sums, take_off
from app.roofs.writing.lengths import (
    LINE_KINDS,
    KindLength,
    add_lengths_of_buildings,
    find_pitched,
    is_on_slope,
)

Value = bool | int | float | str | None
LayerName = Literal["buildings", "planes", "lines"]

# Digits behind the point, by the last word of a name: a tenth of a degree, a centimetre, a
# thousandth. What follows is noise of the pixels.
DIGITS: Final = {"degrees": 1, "m2": 2, "m": 2, "confidence": 3, "share": 4}
_UNITS: Final = {"m2": "Meters2", "m": "Meters"}


class Column(NamedTuple):
    """A field.

    Attributes:
        name: In snake_case; the last word is its unit where it has one.
        kind: What its values are, beside None.
        values: One for each feature.
    """

    name: str
    kind: type[bool] | type[int] | type[float] | type[str]
    values: Sequence[Value]


@dataclass(frozen=True)
class Layer:
    """Features of one kind.

    Attributes:
        name: Its name in files.
        title: What it holds, in words.
        geometries: Shapes, as in Roofs.
        columns: Fields, each with a value for each shape; the first is the id.
    """

    name: LayerName
    title: str
    geometries: Sequence[shapely.Geometry]
    columns: tuple[Column, ...]


def build_layers(roofs: Roofs) -> tuple[Layer, Layer, Layer]:
    """Buildings, planes and lines, in the order in which they are drawn."""
    return _buildings(roofs), _planes(roofs.planes), _lines(roofs)


def round_value(name: str, value: float | None) -> float | None:
    """A value as files have it.

    Args:
        name: Of its field; the last word tells the unit.
        value: Exact.
    """
    if value is None:
        return None
    rounded = round(float(value), DIGITS[name.rpartition("_")[2]])
    # 359.97 is north.
    return rounded % 360.0 if name.endswith("azimuth_degrees") else rounded


def camel_case(name: str) -> str:
    """A name as Google's Solar API would write it: area_m2 is areaMeters2."""
    first, *others = name.split("_")
    return first + "".join(_UNITS.get(word, word.capitalize()) for word in others)


def _buildings(roofs: Roofs) -> Layer:
    buildings = roofs.buildings
    sums = [one.sums for one in take_off(roofs).buildings]
    by_building = add_lengths_of_buildings(roofs)
    in_order = [by_building[building.building_id] for building in buildings]
    lengths = [
        _floats(f"{kind}_length_m", [_whole_length(one[kind]) for one in in_order])
        for kind in LINE_KINDS
    ]
    columns = (
        Column("building_id", int, [building.building_id for building in buildings]),
        Column("num_planes", int, [one.roof_facets for one in sums]),
        _floats("main_azimuth_degrees", [each.main_azimuth_degrees for each in buildings]),
        _floats("area_m2", [_whole_area(one) for one in sums]),
        _floats("ground_area_m2", [each.ground_area_m2 for each in buildings]),
        *lengths,
        Column("cut", bool, [each.is_cut for each in buildings]),
    )
    shapes = [building.polygon for building in buildings]
    return Layer("buildings", "Buildings with the sums of their roofs", shapes, columns)


def _planes(planes: Sequence[Plane]) -> Layer:
    columns = (
        Column("plane_id", int, [plane.plane_id for plane in planes]),
        Column("building_id", int, [plane.building_id for plane in planes]),
        _floats("azimuth_degrees", [plane.azimuth_degrees for plane in planes]),
        _floats("azimuth_sd_degrees", [plane.azimuth_sd_degrees for plane in planes]),
        _floats("pitch_degrees", [plane.pitch_degrees for plane in planes]),
        _floats("pitch_sd_degrees", [plane.pitch_sd_degrees for plane in planes]),
        _floats("area_m2", [plane.area_m2 for plane in planes]),
        _floats("ground_area_m2", [plane.ground_area_m2 for plane in planes]),
        _floats("height_m", [plane.height_m for plane in planes]),
        _floats("confidence", [plane.confidence for plane in planes]),
    )
    shapes = [plane.polygon for plane in planes]
    return Layer("planes", "Roof planes with direction, pitch and area", shapes, columns)


def _lines(roofs: Roofs) -> Layer:
    lines, pitched = roofs.lines, find_pitched(roofs.planes)
    columns = (
        Column("line_id", int, [line.line_id for line in lines]),
        Column("kind", str, [line.kind for line in lines]),
        _floats("length_m", [_length(line, pitched) for line in lines]),
        _floats("ground_length_m", [line.ground_length_m for line in lines]),
        Column("left_plane_id", int, [line.left_plane_id for line in lines]),
        Column("right_plane_id", int, [line.right_plane_id for line in lines]),
        Column("building_id", int, [line.building_id for line in lines]),
        _floats("confidence", [line.confidence for line in lines]),
        _floats("kind_confidence", [line.kind_confidence for line in lines]),
    )
    shapes = [line.line for line in lines]
    return Layer("lines", "Eaves, rakes, ridges, hips and valleys with lengths", shapes, columns)


def _floats(name: str, values: Sequence[float | None]) -> Column:
    return Column(name, float, [round_value(name, value) for value in values])


def _length(line: RoofLine, pitched: frozenset[int]) -> float | None:
    return line.length_m if is_on_slope(line, pitched) else None


def _whole_length(lines: KindLength) -> float | None:
    """A table has no place to say that some are in plan."""
    return None if lines.in_plan else lines.length_m


def _whole_area(sums: Sums) -> float | None:
    return None if sums.unknown_pitch_ground_area_m2 else sums.area_m2
