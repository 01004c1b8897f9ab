"""What azimuths can count from, and how well each agrees with outlines."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from app.base.arrays import Floats
from app.base.units import AzimuthConvention, AzimuthNorth

# Compass azimuth = sign * azimuth + degrees. In the order of preference.
CONVENTIONS: Final[Mapping[AzimuthConvention, tuple[int, int]]] = {
    "compass": (1, 0),
    "south0": (1, 180),
    "east0": (1, 90),
    "west0": (1, 270),
    "compass_ccw": (-1, 0),
    "south0_ccw": (-1, 180),
    "east0_ccw": (-1, 90),
    "west0_ccw": (-1, 270),
}
# Half of a bin and half of the next: the right convention is nearer, but for outlines misread.
AGREES_DEG: Final = 22.5


class Convention(NamedTuple):
    """What azimuths count from.

    Attributes:
        name: The convention.
        north: Which north they count from.
        why: How it is known, for the log.
        doubt: Why it may be wrong; empty where nothing speaks against it.
    """

    name: AzimuthConvention
    north: AzimuthNorth
    why: str
    doubt: str = ""

    def to_true(self, azimuth_deg: Floats, grid_north_deg: Floats) -> Floats:
        """(N,) degrees clockwise from true north.

        Args:
            azimuth_deg: (N,) as stored.
            grid_north_deg: (N,) where the grid of the file's reference system points there.
        """
        sign, offset = CONVENTIONS[self.name]
        compass = sign * azimuth_deg + offset
        return np.asarray(compass + (grid_north_deg if self.north == "grid" else 0.0), np.float64)


@dataclass(frozen=True)
class Evidence:
    """What is known of N planes whose outlines tell a direction.

    Attributes:
        stored_deg: (N,) azimuths as stored.
        facing_deg: (N,) directions by the outlines, clockwise from true north.
        grid_north_deg: (N,) where the grid of the file's reference system points there.
    """

    stored_deg: Floats
    facing_deg: Floats
    grid_north_deg: Floats

    @functools.cached_property
    def rates(self) -> dict[AzimuthConvention, float]:
        """Share of the planes on which each convention agrees with the outlines."""
        return {
            name: float((np.abs(self.off_deg(name)) <= AGREES_DEG).mean()) for name in CONVENTIONS
        }

    def off_deg(self, name: AzimuthConvention) -> Floats:
        """(N,) by how much a convention's directions differ from the outlines'."""
        compass = Convention(name, "true", "").to_true(self.stored_deg, self.grid_north_deg)
        return turn_between(compass, self.facing_deg)


def turn_between(first: Floats, second: Floats) -> Floats:
    """Degrees from the second to the first, in [-180, 180)."""
    return np.asarray((first - second + 180) % 360 - 180, np.float64)
