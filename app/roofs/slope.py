"""A plane fitted to heights."""

import math
from typing import NamedTuple

import numpy as np

from app.base.arrays import Floats


class Slope(NamedTuple):
    """A plane fitted to heights.

    Attributes:
        height_m: At (0, 0) of the frame.
        east: Metres up per metre east.
        north: Metres up per metre north.
        covariance: (2, 2) of east and north.
    """

    height_m: float
    east: float
    north: float
    covariance: Floats

    @property
    def downhill_rad(self) -> float:
        """Compass direction in which it runs down."""
        return math.atan2(-self.east, -self.north)

    @property
    def steepness(self) -> float:
        """Metres down per metre in that direction."""
        return math.hypot(self.east, self.north)

    def height_at(self, points: Floats) -> Floats:
        """(N,) metres above ground at (N, 2) metres east and north."""
        return np.asarray(self.height_m + points @ (self.east, self.north), np.float64)

    def down(self, azimuth_rad: float) -> tuple[float, float]:
        """Metres down per metre in a compass direction, and its standard deviation."""
        direction = np.array([math.sin(azimuth_rad), math.cos(azimuth_rad)])
        variance = float(direction @ self.covariance @ direction)
        return -float(direction @ (self.east, self.north)), math.sqrt(max(variance, 0.0))

    @property
    def downhill_sd_rad(self) -> float:
        """Standard deviation of the direction: of the slope across it, seen from its steepness."""
        across = np.array([math.cos(self.downhill_rad), -math.sin(self.downhill_rad)])
        variance = float(across @ self.covariance @ across)
        return math.atan2(math.sqrt(max(variance, 0.0)), self.steepness)
