"""Where photos lie on the ground, and which of them overlap."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.data.files.header import RasterHeader

# Less than this, and the numbers in the files are too coarse to say that two images overlap.
_TOLERANCE_PX: Final = 1.0
_ROWS_AT_ONCE: Final = 1024


class Place(NamedTuple):
    """The ground an image shows, in units of its coordinate reference system.

    Attributes:
        crs: Coordinate reference system as text.
        west: Lowest x.
        south: Lowest y.
        east: Highest x.
        north: Highest y.
        tolerance_x: How much in x two images may share.
        tolerance_y: How much in y two images may share.
    """

    crs: str
    west: float
    south: float
    east: float
    north: float
    tolerance_x: float
    tolerance_y: float

    @classmethod
    def from_header(cls, header: RasterHeader) -> "Place | None":
        """Where an image lies; None if its header does not say, or says nonsense."""
        if header.bounds is None or header.crs is None or not np.isfinite(header.bounds).all():
            return None
        west, south, east, north = header.bounds
        tolerance_x = _TOLERANCE_PX * (east - west) / header.width_px
        tolerance_y = _TOLERANCE_PX * (north - south) / header.height_px
        return cls(header.crs, west, south, east, north, tolerance_x, tolerance_y)


def overlap_any(own: Sequence[Place], rivals: Sequence[Place]) -> npt.NDArray[np.bool_]:
    """For each of own, whether it shares more than the tolerance with any rival. (len(own),)."""
    hit = np.zeros(len(own), np.bool_)
    if not own or not rivals:
        return hit
    west, south, east, north, tolerance_x, tolerance_y = _columns(own)
    rival_west, rival_south, rival_east, rival_north, _, _ = _columns(rivals)
    # 1880 images are one step; the steps bound the memory for datasets that are far larger.
    for start in range(0, len(own), _ROWS_AT_ONCE):
        rows = np.s_[start : start + _ROWS_AT_ONCE, None]
        shared_x = np.minimum(east[rows], rival_east) - np.maximum(west[rows], rival_west)
        shared_y = np.minimum(north[rows], rival_north) - np.maximum(south[rows], rival_south)
        both = (shared_x > tolerance_x[rows]) & (shared_y > tolerance_y[rows])
        hit[start : start + _ROWS_AT_ONCE] = both.any(axis=1)
    return hit


def _columns(places: Sequence[Place]) -> npt.NDArray[np.float64]:
    """(6, N): west, south, east, north and both tolerances of N places."""
    return np.array([place[1:] for place in places]).T
