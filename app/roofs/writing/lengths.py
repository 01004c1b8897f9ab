"""Lengths of lines by kind, and how much of them is on the slope and not only in plan."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from app.roofs.model import LineKind, Plane, RoofLine, Roofs, by_building

LINE_KINDS: Final[tuple[LineKind, ...]] = get_args(LineKind)
# They are level, so that their length in plan is that on the slope.
_LEVEL_KINDS: Final = ("eave", "ridge")

Lengths = Mapping[LineKind, "KindLength"]


@dataclass(frozen=True)
class KindLength:
    """The lines of one kind.

    Attributes:
        total: How many there are.
        in_plan: How many of them are known in plan only, as no plane beside them has a pitch.
        length_m: On the slope, in plan for those of `in_plan`; None where that is all of them.
        ground_length_m: In plan.
    """

    total: int
    in_plan: int
    length_m: float | None
    ground_length_m: float


def add_lengths(lines: Sequence[RoofLine], pitched: frozenset[int]) -> Lengths:
    """Every kind, also one of which there is no line.

    Args:
        lines: Some lines.
        pitched: As `find_pitched`, of the planes beside the lines.
    """
    return {
        kind: _add([each for each in lines if each.kind == kind], pitched) for kind in LINE_KINDS
    }


def add_lengths_of_buildings(roofs: Roofs) -> dict[int, Lengths]:
    """The lengths of each building, by its id."""
    lines = by_building(roofs.lines)
    pitched = find_pitched(roofs.planes)
    return {
        building.building_id: add_lengths(lines[building.building_id], pitched)
        for building in roofs.buildings
    }


def find_pitched(planes: Iterable[Plane]) -> frozenset[int]:
    """Ids of the planes that have a pitch."""
    return frozenset(plane.plane_id for plane in planes if plane.pitch_degrees is not None)


def is_on_slope(line: RoofLine, pitched: frozenset[int]) -> bool:
    """Whether a line's length is known on the slope, and not only in plan."""
    if line.kind in _LEVEL_KINDS:
        return True
    return line.left_plane_id in pitched or line.right_plane_id in pitched


def _add(lines: Sequence[RoofLine], pitched: frozenset[int]) -> KindLength:
    in_plan = sum(not is_on_slope(line, pitched) for line in lines)
    is_known = in_plan < len(lines) or not lines
    return KindLength(
        len(lines),
        in_plan,
        math.fsum(line.length_m for line in lines) if is_known else None,
        math.fsum(line.ground_length_m for line in lines),
    )
