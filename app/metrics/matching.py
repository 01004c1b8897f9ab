"""Which found polygon is which true one, and how far their outlines stand apart."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from app.base.arrays import Flags, Floats, Ints

Polygons = npt.NDArray[np.object_]

# Of polygons that do not overlap each other, a true one has at most one partner above this.
LEAST_IOU: Final = 0.5
# A found polygon says nothing that could be wrong where more of it lies on what is not known.
_MOST_UNKNOWN: Final = 0.5


class Matches(NamedTuple):
    """Pairs of polygons, and how many count that found no partner.

    Attributes:
        true: (M,) numbers of the true ones.
        found: (M,) numbers of the found ones.
        iou: (M,) above 0.5.
        num_true: True ones that count, the M among them.
        num_found: Found ones that count, the M among them.
    """

    true: Ints
    found: Ints
    iou: Floats
    num_true: int
    num_found: int


def match_polygons(
    true: Polygons,
    found: Polygons,
    is_left_out: Flags,
    known: BaseGeometry | None,
    least_area: float,
) -> Matches:
    """Pair polygons one to one.

    Where more than half of a found polygon lies on ground of which nothing is known, or on true
    polygons that are left out, it counts only if it has a partner. So does one that is too small.

    Args:
        true: (N,) valid polygons that do not overlap.
        found: (K,) valid polygons; where some overlap, the better partner is taken.
        is_left_out: (N,) true ones that count neither as found nor as missed.
        known: Polygon of all ground of which something is known; None where that is everything.
        least_area: Smaller polygons are left out.
    """
    true_area, found_area = shapely.area(true), shapely.area(found)
    left_out = is_left_out | (true_area < least_area)
    first, second = shapely.STRtree(found).query(true, predicate="intersects")
    shared = shapely.area(shapely.intersection(true[first], found[second]))
    iou = shared / (true_area[first] + found_area[second] - shared)
    pairs = _pair_off(first, second, iou)
    # Of nothing it counts whole numbers.
    unknown = np.bincount(second, shared * left_out[first], len(found)).astype(np.float64)
    if known is not None:
        unknown += found_area - shapely.area(shapely.intersection(found, known))
    counts = (unknown <= _MOST_UNKNOWN * found_area) & (found_area >= least_area)
    counts[second[pairs]] = ~left_out[first[pairs]]
    kept = pairs[~left_out[first[pairs]]]
    return Matches(first[kept], second[kept], iou[kept], int((~left_out).sum()), int(counts.sum()))


def _pair_off(first: Ints, second: Ints, iou: Floats) -> Ints:
    """The pairs to keep: each polygon once, those that overlap most first."""
    order = np.lexsort((second, first, -iou))
    taken: tuple[set[int], set[int]] = (set(), set())
    kept = []
    for pair in order[iou[order] > LEAST_IOU].tolist():
        one, other = int(first[pair]), int(second[pair])
        if one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            kept.append(pair)
    return np.array(sorted(kept), np.int64)


def outline_distances(one: Polygons, other: Polygons) -> Floats:
    """(M,) how far the outlines of polygons stand apart: PoLiS.

    The mean distance of the corners of one from the outline of the other, and of the other's from
    the one's; half of the sum of both. Holes have corners and outlines too.

    Args:
        one: (M,) polygons.
        other: (M,) their partners.

    Source:
        Avbelj, Mueller and Bamler, A metric for polygon comparison and building extraction
        evaluation, IEEE Geoscience and Remote Sensing Letters 12, 2015.
    """
    return (_corners_off(one, other) + _corners_off(other, one)) / 2


def _corners_off(one: Polygons, other: Polygons) -> Floats:
    """(M,) mean distance of the corners of one from the outline of the other."""
    parts, part_owners = shapely.get_parts(one, return_index=True)
    rings, ring_owners = shapely.get_rings(parts, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    # A ring's last corner is its first again.
    is_corner = np.append(ring[1:] == ring[:-1], False)[: len(ring)]
    owners = part_owners[ring_owners[ring[is_corner]]]
    distances = shapely.distance(shapely.points(points[is_corner]), shapely.boundary(other)[owners])
    counts = np.bincount(owners, minlength=len(one))
    means: Floats = np.bincount(owners, distances, len(one)) / np.maximum(counts, 1)
    return means
