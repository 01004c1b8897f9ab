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
