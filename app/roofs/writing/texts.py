"""Sums, planes and lines as people read them: rows of tables, with None for what is not known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.roofs.model import LineKind, Plane
from app.roofs.takeoff import PitchShare, Sums
from app.roofs.writing.colours import name_direction
from app.roofs.writing.lengths import LINE_KINDS, KindLength, Lengths

PLURALS: Final[dict[LineKind, str]] = {
    "eave": "Eaves",
    "rake": "Rakes",
    "ridge": "Ridges",
    "hip": "Hips",
    "valley": "Valleys",
}
_WHOLE_FROM: Final = 1000.0  # of metres or square metres: no digits behind the point

PLANE_HEADERS: Final = (
    "Plane", "Direction", "Pitch", "Area, m²", "In\u00a0plan, m²", "Height, m", "Confidence",
)  # fmt: skip
LINE_HEADERS: Final = ("Lines", "Number", "Length, m", "In\u00a0plan, m")
PITCH_HEADERS: Final = ("Pitch", "Area, m²", "Share")
BUILDING_HEADERS: Final = (
    "Building", "Planes", "Main direction", "Area, m²", "In\u00a0plan, m²",
    *(f"{PLURALS[kind]}, m" for kind in LINE_KINDS),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        head: Its first cell.
        cells: The others; None is not known.
        css_class: Of the swatch before its head; empty without one.
        href: Where its head leads; empty without a link.
    """

    head: str
    cells: Sequence[str | None]
    css_class: str = ""
    href: str = ""


def number(value: float | None) -> str | None:
    """A length or an area, without its unit."""
    if value is None:
        return None
    if value == 0:
        return "0"
    return f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:.1f}"


def direction(azimuth_deg: float | None, sd_deg: float | None = None) -> str:
    """As "SSW 203° ± 4°"; "flat" without an azimuth."""
    name = name_direction(azimuth_deg)
    if azimuth_deg is None:
        return name
    return f"{name} {round(azimuth_deg) % 360}°{_plus_minus(sd_deg)}"


def describe_plane(plane: Plane) -> str:
    """A plane in one line."""
    parts = [f"Plane {plane.plane_id}: {direction(plane.azimuth_degrees)}"]
    if plane.pitch_degrees is not None:
        parts.append(f"pitch {plane.pitch_degrees:.0f}°")
    if plane.area_m2 is not None:
        parts.append(f"{number(plane.area_m2)} m²")
    parts.append(f"{number(plane.ground_area_m2)} m² in plan")
    return ", ".join(parts)


def plane_row(plane: Plane) -> Row:
    """A plane under PLANE_HEADERS."""
    pitch_deg = plane.pitch_degrees
    return Row(
        str(plane.plane_id),
        (
            direction(plane.azimuth_degrees, plane.azimuth_sd_degrees),
            None if pitch_deg is None else f"{pitch_deg:.0f}°{_plus_minus(plane.pitch_sd_degrees)}",
            number(plane.area_m2),
            number(plane.ground_area_m2),
            number(plane.height_m),
            percent(plane.confidence),
        ),
    )


def line_rows(lengths: Lengths) -> list[Row]:
    """Kinds of lines under LINE_HEADERS; those of which there is a line."""
    return [
        Row(
            PLURALS[kind],
            (f"{lines.total:,}", _length(lines), number(lines.ground_length_m)),
            css_class=kind,
        )
        for kind, lines in lengths.items()
        if lines.total
    ]


def pitch_rows(sums: Sums) -> list[Row]:
    """Pitches under PITCH_HEADERS."""
    return [
        Row(describe_pitch(one), (number(one.area_m2), percent(one.share))) for one in sums.pitch
    ]


def building_row(building_id: int, sums: Sums, lengths: Lengths) -> Row:
    """A building under BUILDING_HEADERS."""
    return Row(
        str(building_id),
        (
            str(sums.roof_facets),
            direction(sums.main_azimuth_degrees),
            area(sums),
            number(sums.ground_area_m2),
            *(_length(lines) for lines in lengths.values()),
        ),
        href=f"#building-{building_id}",
    )


def area(sums: Sums) -> str | None:
    """Area on the slope, and how much in plan is without a pitch beside it."""
    unknown = sums.unknown_pitch_ground_area_m2
    if sums.area_m2 is None or not unknown:
        return number(sums.area_m2)
    return f"{number(sums.area_m2)} + {number(unknown)} in plan"


def describe_pitch(one: PitchShare) -> str:
    """As "8 in 12 (34°)"."""
    return f"{one.rise_per_12} in 12 ({one.degrees:.0f}°)"


def count(number: int, noun: str) -> str:
    """As "1 plane", "1,200 planes"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """As "46 %"."""
    return "under 1 %" if 0.0 < share < 0.005 else f"{100 * share:.0f} %"


def _length(lines: KindLength) -> str | None:
    text = number(lines.length_m)
    return text if text is None or not lines.in_plan else f"{text} ({lines.in_plan:,} in plan)"


def _plus_minus(sd_deg: float | None) -> str:
    # Never "± 0": that would say exact.
    return "" if sd_deg is None else f" ± {max(1, round(sd_deg))}°"
