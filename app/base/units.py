"""Sizes that many modules count in."""

from collections.abc import Mapping
from typing import Final, Literal

GIB: Final = 2**30  # bytes
MPX: Final = 2**20  # pixels

HeightUnit = Literal["metres", "feet", "decimetres", "centimetres", "millimetres"]
METRES_PER_UNIT: Final[Mapping[HeightUnit, float]] = {
    "metres": 1.0,
    "feet": 0.3048,
    "decimetres": 0.1,
    "centimetres": 0.01,
    "millimetres": 0.001,
}

# What azimuths in a file may count from: 0 is what the name says; clockwise, or counter-clockwise.
AzimuthConvention = Literal[
    "compass",
    "south0",
    "east0",
    "west0",
    "compass_ccw",
    "south0_ccw",
    "east0_ccw",
    "west0_ccw",
]
AzimuthNorth = Literal["true", "grid"]


def describe_duration(seconds: float) -> str:
    """A duration as people say it: "45 s", "3 min 5 s", "12 min", "1 h 40 min"."""
    whole_s = round(seconds)
    if whole_s < 60:
        return f"{whole_s} s"
    if whole_s < 600:
        return f"{whole_s // 60} min {whole_s % 60} s"
    minutes = round(whole_s / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
