"""Colours of planes and lines, the same in QGIS and on the page."""

from collections.abc import Mapping
from typing import Final

from app.base.azimuth import BIN_NAMES, degrees_to_class
from app.base.tasks import LINE_KINDS, Colour, find_task
from app.roofs.model import LineKind

FLAT_NAME: Final = "flat"
# Eaves and rakes are one kind to the network.
_RAKE_COLOUR: Final[Colour] = (255, 150, 225)


def name_direction(azimuth_degrees: float | None) -> str:
    """One of 16 points of the compass; "flat" for None."""
    return (
        FLAT_NAME if azimuth_degrees is None else BIN_NAMES[int(degrees_to_class(azimuth_degrees))]
    )


def direction_colours() -> dict[str, Colour]:
    """By name of direction, clockwise from north, and of flat."""
    segments = find_task("segments")
    colours = dict(zip(segments.class_names, segments.colours, strict=True))
    return {name: colours[name] for name in (*BIN_NAMES, FLAT_NAME)}


def line_colours() -> Mapping[LineKind, Colour]:
    """By kind of line."""
    by_name = dict(zip(LINE_KINDS, find_task("lines").colours, strict=True))
    return {
        "eave": by_name["eave"],
        "rake": _RAKE_COLOUR,
        "ridge": by_name["ridge"],
        "hip": by_name["hip"],
        "valley": by_name["valley"],
    }
