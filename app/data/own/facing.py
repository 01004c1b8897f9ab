"""Which way planes run down, by their outlines alone.

A plane falls away from the edges that it shares with other planes, towards its free ones. So the
free edges' outward normals, weighted by length, point downhill; where they cancel, as of a shed
roof alone, nothing is said. Of roofs whose directions are known it answers for 69 % of RID's planes
and is within 22.5 degrees for 97 % of these.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from app.base.arrays import Floats, Ints

# An edge is shared where another plane lies so close to it.
_MAX_GAP_M: Final = 0.3
_PLACES_ALONG_EDGE: Final = (0.15, 0.5, 0.85)
# Of the perimeter: how much longer the free edges of one side must be than those of the other.
_MIN_SURPLUS: Final = 0.25
_MIN_EDGE_M: Final = 1.0
_MAX_OFF_EDGE_DEG: Final = 30.0


class _Edges(NamedTuple):
    """The outer edges of N planes, E of them.

    Attributes:
        owners: (E,) the plane.
        middles: (E, 3, 2) places along the edge.
        normals: (E, 2) unit vectors that point out of the plane, x right and y down.
        lengths: (E,) in pixels.
    """

    owners: Ints
    middles: Floats
    normals: Floats
    lengths: Floats


def facing_deg(planes: npt.NDArray[np.object_], gsd_m: float) -> Floats:
    """The direction in which each plane runs down, as its outline has it.

    Args:
        planes: (N,) valid polygons, in pixels with y down, all planes of a place among them.
        gsd_m: Metres per pixel.

    Returns:
        (N,) degrees clockwise from up; NaN where the outline does not tell.
    """
    answer = np.full(len(planes), np.nan)
    if len(planes) < 2:
        return answer
    edges = _find_edges(planes)
    free = edges.lengths * (1 - _shared_shares(planes, edges, _MAX_GAP_M / gsd_m))
    surplus = np.stack(
        [np.bincount(edges.owners, free * edges.normals[:, i], len(planes)) for i in (0, 1)], axis=1
    )
    perimeter = np.bincount(edges.owners, edges.lengths, len(planes))
    length = np.hypot(*surplus.T)
    clear = length > _MIN_SURPLUS * perimeter
    candidates = clear[edges.owners] & (free > edges.lengths / 2)
    candidates &= edges.lengths * gsd_m >= _MIN_EDGE_M
    owners, normals = edges.owners[candidates], edges.normals[candidates]
    along = (normals * surplus[owners]).sum(axis=1) / length[owners]
    # The last of each plane's candidates by this order is its best.
    order = np.lexsort((along, owners))
    best = order[np.append(owners[order][1:] != owners[order][:-1], True)[: len(order)]]
    best = best[along[best] >= np.cos(np.radians(_MAX_OFF_EDGE_DEG))]
    x, y = normals[best].T
    answer[owners[best]] = np.degrees(np.arctan2(x, -y)) % 360
    return answer


def _find_edges(planes: npt.NDArray[np.object_]) -> _Edges:
    parts, part_owners = shapely.get_parts(planes, return_index=True)
    # Counter-clockwise where y points up, so clockwise as seen with y down.
    rings = shapely.get_exterior_ring(shapely.orient_polygons(parts, exterior_cw=False))
    points, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    begins, steps = points[:-1][same], np.diff(points, axis=0)[same]
    lengths = np.hypot(*steps.T)
    long = lengths > 0
    begins, steps, lengths = begins[long], steps[long], lengths[long]
    normals = np.stack((steps[:, 1], -steps[:, 0]), axis=1) / lengths[:, None]
    places = np.array(_PLACES_ALONG_EDGE)[None, :, None]
    middles = begins[:, None] + places * steps[:, None]
    return _Edges(part_owners[ring[:-1][same][long]], middles, normals, lengths)


def _shared_shares(planes: npt.NDArray[Any], edges: _Edges, gap_px: float) -> Floats:
    """(E,) share of each edge beside which another plane lies."""
    outside = edges.middles + edges.normals[:, None] * gap_px
    points = shapely.points(outside.reshape(-1, 2))
    point, plane = shapely.STRtree(planes).query(points, predicate="intersects")
    edge = point // len(_PLACES_ALONG_EDGE)
    others = plane != edges.owners[edge]
    hit = np.zeros(len(points), np.bool_)
    hit[point[others]] = True
    return np.asarray(hit.reshape(-1, len(_PLACES_ALONG_EDGE)).mean(axis=1), np.float64)
