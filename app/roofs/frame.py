"""Metres east and north around a place of a photo, whatever its reference system.

Lengths and directions come from geodesics on the ellipsoid (Karney, Algorithms for geodesics, 2013,
as PROJ has them) around the place itself, so they are right in degrees, in UTM and in Web Mercator,
and north is true north. Within the few hundred metres of a group of roofs the ground is a plane.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats
from app.data.files.ground import METRES, find_system
from app.roofs.evidence import RoofEvidence

_REACH_PX = 500


class Frame(NamedTuple):
    """From pixels to metres and back.

    Attributes:
        origin: (2,) column and row of the place.
        to_metres: (2, 2) from steps of columns and rows to metres east and north.
        to_pixels: (2, 2) its inverse.
    """

    origin: Floats
    to_metres: Floats
    to_pixels: Floats

    @property
    def pixel_m2(self) -> float:
        """Area of a pixel on the ground."""
        return abs(float(np.linalg.det(self.to_metres)))

    @property
    def pixel_m(self) -> float:
        """Side of a pixel on the ground."""
        return math.sqrt(self.pixel_m2)

    @property
    def up_rad(self) -> float:
        """Compass direction in which rows run up, clockwise from true north."""
        east, north = -self.to_metres[:, 1]
        return math.atan2(east, north)

    def metres(self, points: npt.ArrayLike) -> Floats:
        """(N, 2) metres east and north of columns and rows."""
        return np.asarray((np.asarray(points) - self.origin) @ self.to_metres.T, np.float64)

    def pixels(self, points: Floats) -> Floats:
        """(N, 2) columns and rows of metres east and north."""
        return np.asarray(points @ self.to_pixels.T + self.origin, np.float64)


def frame_at(evidence: RoofEvidence, column: float, row: float) -> Frame:
    """The frame around a place of a photo.

    Args:
        evidence: The photo; without a transform its rows are taken to run due south.
        column: The place.
        row: The place.

    Raises:
        app.data.files.ground.GroundError: If the place is none of its reference system.
    """
    gsd_m, transform = evidence.gsd_m, evidence.transform
    if transform is None:
        matrix = np.array([[gsd_m, 0.0], [0.0, -gsd_m]])
    else:
        x, y = transform @ (column, row)
        system = METRES if evidence.crs is None else find_system(evidence.crs)
        reach = _REACH_PX * math.hypot(transform.a, transform.d)
        axes, _ = system.axes(x, y, reach, reach)
        steps = axes.of_step(transform.a, transform.d), axes.of_step(transform.b, transform.e)
        matrix = np.array(steps).T
    return Frame(np.array([column, row], np.float64), matrix, np.linalg.inv(matrix))
