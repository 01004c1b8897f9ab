"""What the edges of planes are: eaves, rakes, ridges, hips or valleys.

Between two planes an edge is their crease if it runs at right angles to the difference of their
slopes (`data/lines.py`): a valley where the planes rise from it, else a ridge if it is level and a
hip if it is not. Any other edge is the end of one of the planes, seen from above: an eave where it
runs across the way down, a rake where it runs along it. The network's lines are the second witness.
"""

import math
from typing import Final, NamedTuple, get_args

import numpy as np

from app.base.arrays import Floats
from app.roofs.model import LineKind

KINDS: Final[tuple[LineKind, ...]] = get_args(LineKind)
# The channel of the network's lines that shows each kind.
_CHANNELS: Final = (0, 0, 1, 2, 3)
_EAVE, _RAKE, _RIDGE, _HIP, _VALLEY = range(5)


class _Limit(NamedTuple):
    """A limit with a soft edge.

    Attributes:
        middle: Where it is.
        width: What the logistic function divides the distance from it by.
    """

    middle: float
    width: float

    def share_above(self, value: float) -> float:
        """How far a value is above it: 0.5 in the middle."""
        return _logistic((value - self.middle) / self.width)

    def share_below(self, value: float) -> float:
        """How far a value is below it."""
        return _logistic((self.middle - value) / self.width)


class Neighbour(NamedTuple):
    """A plane beside an edge.

    Attributes:
        downhill: (2,) metres down per metre east and north; (0, 0) where it is flat, None where
            its direction is not known.
        height_m: At the edge; None where heights say nothing.
    """

    downhill: Floats | None
    height_m: float | None


_OFF_CREASE: Final = _Limit(math.radians(25.0), math.radians(5.0))
_GAP_M: Final = _Limit(0.35, 0.1)
# Where both planes run away from the edge, or both towards it: a step there is rare, and heights of
# a network are off by as much.
_OPPOSED_GAP_M: Final = _Limit(1.2, 0.3)
# Cosine between the way down and the edge's normal from which on a plane runs away from it.
_RUNS_AWAY: Final = 0.5
# A ridge that rises more steeply is a hip.
_RIDGE_SLOPE: Final = _Limit(0.12, 0.03)
# Of the square of the cosine between an edge's normal and the way down.
_ACROSS: Final = _Limit(0.5, 0.1)
_MIN_PROBABILITY: Final = 0.02
# What the lines say counts less where they are faint.
_LINE_FLOOR: Final = 0.15


def find_kind(
    outward: Floats, own: Neighbour, other: Neighbour | None, line_shares: Floats | None
) -> tuple[LineKind, float]:
    """What an edge is, and the probability that it is this.

    Args:
        outward: (2,) unit vector east and north, across the edge and out of the plane `own`.
        own: A plane beside it.
        other: The plane across; None where there is none.
        line_shares: (4,) probabilities of eave, ridge, hip and valley along it; or None.
    """
    weights = _end_of(own, outward) if other is None else _between(outward, own, other)
    weights = np.maximum(weights, _MIN_PROBABILITY)
    if other is None:
        weights[_RIDGE:] = 0.0
    if line_shares is not None:
        weights = weights * (line_shares[list(_CHANNELS)] + _LINE_FLOOR)
    weights /= weights.sum()
    best = int(np.argmax(weights))
    return KINDS[best], float(weights[best])


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, value))))


def _end_of(plane: Neighbour, outward: Floats) -> Floats:
    """(5,) what the edge of a plane is that ends there."""
    weights = np.zeros(len(KINDS))
    steepness = 0.0 if plane.downhill is None else float(np.hypot(*plane.downhill))
    if plane.downhill is None or steepness == 0.0:
        # All that surrounds a flat roof is eave; of an unknown one most is.
        weights[_EAVE] = 0.9 if plane.downhill is not None else 0.6
    else:
        across = float(plane.downhill @ outward) / steepness
        weights[_EAVE] = _ACROSS.share_above(across**2)
    weights[_RAKE] = 1.0 - weights[_EAVE]
    return weights


def _between(outward: Floats, own: Neighbour, other: Neighbour) -> Floats:
    """(5,) what the edge between two planes is."""
    if own.downhill is None or other.downhill is None:
        return np.full(len(KINDS), 1 / len(KINDS))
    difference = own.downhill - other.downhill
    size = float(np.hypot(*difference))
    steepest = max(float(np.hypot(*plane.downhill)) for plane in (own, other))  # type: ignore[misc]
    is_crease = 0.0
    if size > 0.2 * steepest > 0:
        across = float(difference @ outward) / size
        off = math.acos(min(1.0, abs(across)))
        is_crease = _OFF_CREASE.share_below(off)
        if own.height_m is not None and other.height_m is not None:
            gap_m = abs(own.height_m - other.height_m)
            limit = _OPPOSED_GAP_M if _are_opposed(outward, own, other) else _GAP_M
            is_crease *= limit.share_below(gap_m)
    weights = (1.0 - is_crease) * _end_of(own if is_upper(outward, own, other) else other, outward)
    if is_crease == 0.0:
        return weights
    if float(difference @ outward) < 0:
        along = np.array([-outward[1], outward[0]])
        rise = abs(float((own.downhill + other.downhill) @ along)) / 2
        is_level = _RIDGE_SLOPE.share_below(rise)
        weights[_RIDGE] = is_crease * is_level
        weights[_HIP] = is_crease * (1.0 - is_level)
    elif not own.downhill.any() or not other.downhill.any():
        # A roof that runs down to a flat one ends there.
        weights[_EAVE] += is_crease
    else:
        weights[_VALLEY] = is_crease
    return weights


def _are_opposed(outward: Floats, own: Neighbour, other: Neighbour) -> bool:
    """Whether both planes run down away from the edge between them, or both towards it."""
    cosines = []
    for plane, direction in ((own, outward), (other, -outward)):
        steepness = 0.0 if plane.downhill is None else float(np.hypot(*plane.downhill))
        if plane.downhill is None or steepness == 0.0:
            return False
        cosines.append(float(plane.downhill @ direction) / steepness)
    return max(cosines) < -_RUNS_AWAY or min(cosines) > _RUNS_AWAY


def is_upper(outward: Floats, own: Neighbour, other: Neighbour) -> bool:
    """Whether of two planes that do not meet in a crease the first ends there, and not the second.

    It is the higher one, or where heights do not say, the one that runs down to the edge.
    """
    if own.height_m is not None and other.height_m is not None:
        return own.height_m >= other.height_m
    towards = [
        0.0 if plane.downhill is None else float(plane.downhill @ direction)
        for plane, direction in ((own, outward), (other, -outward))
    ]
    return towards[0] >= towards[1]
