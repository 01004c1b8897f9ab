"""Shapes that stand close together."""

import numpy as np
import shapely

from app.base.arrays import Ints


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
