"""Which planes make a building, and which way most of it faces."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import shapely

from app.data.own.clusters import find_clusters
from app.roofs.model import Plane

MAX_GAP_M: Final = 0.3
# Planes of one side of a building, such as those of its dormers and wings.
_SAME_SIDE_DEG: Final = 22.5


def group_planes(polygons: npt.NDArray[np.object_], gap: float) -> npt.NDArray[np.int64]:
    """(N,) the building of each plane, from 1 in the order of their first planes.

    Args:
        polygons: (N,) all planes of a photo.
        gap: Planes that touch or stand closer than this are one building's; in the polygons' units.
    """
    if len(polygons) == 0:
        return np.zeros(0, np.int64)
    clusters = find_clusters(shapely.STRtree(polygons), gap)
    _, first, number = np.unique(clusters, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return rank[number]


def main_azimuth_degrees(planes: Sequence[Plane]) -> float | None:
    """The direction of most of the sloped area, or of the area in plan where no pitch is known.

    Planes within 22.5 degrees of one another count as one side, whose mean it is.
    """
    azimuths, areas = [], []
    for plane in planes:
        if plane.azimuth_degrees is not None:
            azimuths.append(math.radians(plane.azimuth_degrees))
            areas.append(plane.ground_area_m2 if plane.area_m2 is None else plane.area_m2)
    if not azimuths:
        return None
    angle, area = np.array(azimuths), np.array(areas)
    least_cos = math.cos(math.radians(_SAME_SIDE_DEG)) - 1e-9
    # One by one: all pairs of a photo's planes would not fit beside its rasters.
    areas_near = [area[np.cos(angle - one) >= least_cos].sum() for one in angle]
    side = np.cos(angle - angle[np.argmax(areas_near)]) >= least_cos
    mean = math.atan2((area * np.sin(angle))[side].sum(), (area * np.cos(angle))[side].sum())
    return math.degrees(mean) % 360.0
