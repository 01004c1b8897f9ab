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
