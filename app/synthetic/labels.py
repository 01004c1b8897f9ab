"""Exact labels of a scene, from its planes and not from its picture."""

import cv2
import numpy as np
import numpy.typing as npt

from app.base.azimuth import degrees_to_class
from app.base.tasks import BACKGROUND_CLASS, FLAT_CLASS, find_task
from app.synthetic.roofs import Roofs

# RID's superstructure codes that scenes have.
PV_MODULE, DORMER, WINDOW, CHIMNEY, NO_SUPERSTRUCTURE = 0, 1, 2, 4, 8

MIN_WALL_M = 0.05  # a lower step between two planes is seen as a crease
MAX_RIDGE_SLOPE = 0.09  # a convex crease that rises more steeply is a hip
_LINE_WIDTH_PX = 3


def segments_from(roofs: Roofs) -> npt.NDArray[np.uint8]:
    """The segments target: (H, W) uint8 in RID's classes."""
    azimuth_class = degrees_to_class([facet.plane.azimuth_deg for facet in roofs.facets])
    is_flat = [facet.plane.is_flat for facet in roofs.facets]
    # Background comes last, which is where facet_map's -1 points.
    table = np.append(np.where(is_flat, FLAT_CLASS, azimuth_class), BACKGROUND_CLASS)
    return table.astype(np.uint8)[roofs.facet_map]


def lines_from(roofs: Roofs) -> npt.NDArray[np.uint8]:
    """The lines target: (4, H, W) uint8, 1 on eaves, ridges, hips and valleys, 3 px wide.

    Where two neighbouring pixels are on different facets there is a line. An eave is all of a
    roof's outline and every wall between two heights of it.
    """
    names = find_task("lines").class_names
    one_px = np.zeros((len(names), *roofs.facet_map.shape), np.uint8)
    for step_south, step_east in ((0, 1), (1, 0)):
        row, column, kind = _crossings(roofs, step_south, step_east)
        one_px[kind, row, column] = 1
    for crease in one_px[1:]:
        # A crease of a single pixel is the point where others meet, such as a valley's upper end.
        crease[cv2.boxFilter(crease, -1, (3, 3), normalize=False) == 1] = 0
    brush = np.ones((_LINE_WIDTH_PX, _LINE_WIDTH_PX), np.uint8)
    return np.stack([np.asarray(cv2.dilate(line, brush), np.uint8) for line in one_px])


def _crossings(
    roofs: Roofs, step_south: int, step_east: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row, column and line kind of each pixel whose next neighbour is on another facet."""
    size_px = roofs.grid.size_px
    here = roofs.facet_map[: size_px - step_south, : size_px - step_east]
    there = roofs.facet_map[step_south:, step_east:]
    row, column = np.nonzero(here != there)
    first, second = here[row, column], there[row, column]

    planes = [facet.plane for facet in roofs.facets]
    # The last row is the ground, which is where -1 points.
    table = np.array(
        [(p.height_at_origin_m, p.east_slope, p.south_slope) for p in planes] + [(0.0, 0.0, 0.0)]
    )
    east_m = (column + (1 + step_east) / 2) * roofs.grid.gsd_m
    south_m = (row + (1 + step_south) / 2) * roofs.grid.gsd_m
    drop, east_bend, south_bend = (table[first] - table[second]).T
    gap_m = np.abs(drop + east_bend * east_m + south_bend * south_m)
    # The two planes are equally high along the crease, so it runs at right angles to the bend.
    _, east_slope, south_slope = table[first].T
    bend = np.hypot(east_bend, south_bend) + 1e-9
    crease_slope = np.abs(south_slope * east_bend - east_slope * south_bend) / bend

    # Where planes cross between two pixel centres, they are this far apart at most half way.
    turn = east_bend * step_east + south_bend * step_south
    is_crease = gap_m < np.abs(turn) * roofs.grid.gsd_m / 2 + MIN_WALL_M
    wall = (first < 0) | (second < 0) | ~is_crease
    building = roofs.building_map
    wall |= building[row, column] != building[row + step_south, column + step_east]
    eave, ridge, hip, valley = range(4)
    kind = np.where(turn > 0, np.where(crease_slope < MAX_RIDGE_SLOPE, ridge, hip), valley)
    return row, column, np.where(wall, eave, kind)
