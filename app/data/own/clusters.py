"""Shapes that stand close together, and the roofs that they make."""

from typing import Final

import numpy as np
import shapely

from app.base.arrays import Flags, Geometries, Ints

# Planes so close are one roof; lines so close belong to it.
_ROOF_GAP_M: Final = 0.3
LINE_REACH_M: Final = 0.5


def find_clusters(tree: shapely.STRtree, distance: float) -> Ints:
    """(N,) a number for each shape of a tree: the same where a chain of close ones leads.

    Args:
        tree: The shapes.
        distance: How close.
    """
    # Late: a run without own roofs need not hold it in memory.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    num_shapes = len(tree.geometries)
    first, second = tree.query(tree.geometries, predicate="dwithin", distance=distance)
    close = coo_array((np.ones(len(first)), (first, second)), shape=(num_shapes, num_shapes))
    return np.asarray(connected_components(close, directed=False)[1], np.int64)


def find_lined(polygons: Geometries, lines: Geometries, gsd_m: float) -> Flags:
    """(N,) whether a plane is of a roof of which somebody drew a line."""
    lined = np.zeros(len(polygons), np.bool_)
    if not len(polygons) or not len(lines):
        return lined
    tree = shapely.STRtree(polygons)
    roof = find_clusters(tree, _ROOF_GAP_M / gsd_m)
    _, plane = tree.query(lines, predicate="dwithin", distance=LINE_REACH_M / gsd_m)
    return np.isin(roof, roof[plane])
