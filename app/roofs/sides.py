"""The edges of planes as each plane sees them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats, Ints
from app.roofs.coverage import NO_PLANE, Coverage, Edges


class Sides(NamedTuple):
    """The edges of P planes, each once for every plane that it borders; S sides, by plane.

    Where a plane is cut, by the end of the photo, it has no side.

    Attributes:
        plane: (S,) the plane.
        other: (S,) the plane across, -1 where there is none.
        edge: (S,) number of the edge.
        outward: (S, 2) unit vector east and north that points out of the plane.
        length: (S,) metres.
        bounds: (P + 1,) where the sides of each plane begin.
    """

    plane: Ints
    other: Ints
    edge: Ints
    outward: Floats
    length: Floats
    bounds: Ints


def find_sides(coverage: Coverage, edges: Edges, is_cut: npt.NDArray[np.bool_]) -> Sides:
    """The sides of all planes of a coverage.

    Args:
        coverage: P planes.
        edges: Its edges, E of them.
        is_cut: (E,) where the photo ends, and not the roof.
    """
    step = coverage.points[edges.end] - coverage.points[edges.start]
    length = np.hypot(*step.T)
    # The plane is to the left, so what points out is to the right.
    right = np.stack((step[:, 1], -step[:, 0]), axis=1) / np.maximum(length, 1e-9)[:, None]
    whole = np.flatnonzero(~is_cut)
    inner = np.flatnonzero((edges.right != NO_PLANE) & ~is_cut)
    plane = np.concatenate((edges.left[whole], edges.right[inner]))
    other = np.concatenate((edges.right[whole], edges.left[inner]))
    edge = np.concatenate((whole, inner))
    outward = np.concatenate((right[whole], -right[inner]))
    order = np.argsort(plane, kind="stable")
    bounds = np.searchsorted(plane[order], np.arange(coverage.num_planes + 1))
    return Sides(
        plane[order], other[order], edge[order], outward[order], length[edge[order]], bounds
    )
