"""Which way planes run down, in degrees.

A plane falls at right angles to its eave and to its ridge, so the normals of its edges are the
candidates, with what the network and the heights say as the last resort. Each is scored as a log
likelihood: by the network's mean vote (von Mises, flat over the width of a class), by the outline
(a plane falls towards its free edges and away from what it shares, valleys excepted; see
`data/own/facing.py`), by ridges and eaves at right angles to it, and by the gradient of the
heights. Then planes that meet settle it with one another: the crease of two planes of slopes g and
h runs at right angles to g - h (`data/lines.py`), by iterated conditional modes (Besag, On the
statistical analysis of dirty pictures, 1986). The winner's own edges, and the heights, say the
degrees; what the others are worth says how sure it is.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats
from app.roofs.coverage import NO_PLANE
from app.roofs.sides import Sides
from app.roofs.slope import Slope
from app.roofs.votes import Votes

# Log likelihoods of the evidence at its best.
_VOTE_KAPPA: Final = 40.0
_OUTLINE: Final = 6.0
_SUPPORT: Final = 4.0
_CREASE: Final = 4.0
_MAX_HEIGHT: Final = 12.0
# Without lines, how much an edge that is shared counts as a ridge, and any edge as a lower one.
_RIDGE_SHARE: Final = 0.5
_UPPER_EDGE: Final = 0.3

_MIN_EDGE_M: Final = 0.8
_EDGE_ENDS_M: Final = 0.2
_MIN_VOTE: Final = 0.2
_SWEEPS: Final = 3
_MIN_DIFFERENCE: Final = 0.4
# Of a roof of 35 degrees.
_USUAL_STEEPNESS: Final = 0.7

_SAME_RAD: Final = math.radians(6.0)
_SUPPORT_RAD: Final = math.radians(8.0)
_SURE_RAD: Final = math.radians(22.5)
_HEIGHT_RAD: Final = math.radians(5.0)
# What an edge's direction, the heights' and the votes' are worth at best.
_EDGE_SD_RAD: Final = math.radians(1.8)
_HEIGHT_SD_RAD: Final = math.radians(1.0)
_VOTE_SD_RAD: Final = math.radians(5.0)


class Direction(NamedTuple):
    """Which way a plane runs down.

    Attributes:
        azimuth_rad: Compass direction from true north.
        sd_rad: Its standard deviation.
        confidence: Probability that it is right within 22.5 degrees.
    """

    azimuth_rad: float
    sd_rad: float
    confidence: float


class PlaneEvidence(NamedTuple):
    """What directions are found from.

    Attributes:
        sides: Of P planes.
        line_shares: (E, 4) probability of eave, ridge, hip, valley along each edge; or None.
        votes: Of the planes.
        up_rad: Compass direction of the votes' upward axis.
        slopes: P, of the heights.
        is_pitched: (P,) which planes have a direction.
    """

    sides: Sides
    line_shares: npt.NDArray[np.float32] | None
    votes: Votes
    up_rad: float
    slopes: list[Slope | None]
    is_pitched: npt.NDArray[np.bool_]


class _Candidates(NamedTuple):
    """The directions a plane may have, C of them.

    Attributes:
        angle: (C,) compass.
        score: (C,) log likelihoods without the neighbours.
        outward: (S, 2) of its sides.
        share: (S,) of its perimeter.
        towards: (S, 2) how much each side speaks for running down towards it, and away from it.
    """

    angle: Floats
    score: Floats
    outward: Floats
    share: Floats
    towards: Floats


def find_directions(evidence: PlaneEvidence) -> list[Direction | None]:
    """The direction of each plane; None where it has none, or nothing tells."""
    planes = [
        _candidates(evidence, plane) if is_pitched else None
        for plane, is_pitched in enumerate(evidence.is_pitched.tolist())
    ]
    scores = _settle(evidence, planes)
    return [
        None if found is None else _decide(evidence, plane, found, scores[plane])
        for plane, found in enumerate(planes)
    ]


def unit(angle: npt.ArrayLike) -> Floats:
    """(..., 2) unit vectors east and north of compass directions."""
    return np.stack((np.sin(angle), np.cos(angle)), axis=-1)


def turn_between(angle: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """The turn from one direction to another, in -pi..pi."""
    return np.asarray((np.subtract(other, angle) + np.pi) % (2 * np.pi) - np.pi, np.float64)


def _vote(evidence: PlaneEvidence, plane: int) -> tuple[float, float]:
    """Compass direction of a plane's votes, and how much they agree."""
    right, up = evidence.votes.mean[plane].tolist()
    return math.atan2(right, up) + evidence.up_rad, math.hypot(right, up)


def _candidates(evidence: PlaneEvidence, plane: int) -> _Candidates | None:
    sides = evidence.sides
    own = slice(sides.bounds[plane], sides.bounds[plane + 1])
    outward, length = sides.outward[own], sides.length[own]
    share = length / length.sum()
    is_free = sides.other[own] == NO_PLANE
    convex, valley = np.full(len(share), _RIDGE_SHARE), np.zeros(len(share))
    ridge = convex
    if evidence.line_shares is not None:
        shares = evidence.line_shares[sides.edge[own]].astype(np.float64)
        ridge, convex, valley = shares[:, 1], shares[:, 1:3].max(axis=1), shares[:, 3]
    inner = (~is_free).astype(np.float64)
    # How much each side speaks for falling at right angles to it: towards it, or away from it.
    towards = np.stack(
        (np.where(is_free, 1.0, _UPPER_EDGE), np.where(is_free, _UPPER_EDGE, ridge)), axis=1
    )
    pull = (share * (is_free + inner * (valley - convex))) @ outward

    bearing = np.arctan2(outward[:, 0], outward[:, 1])
    long = length >= _MIN_EDGE_M
    angles = [bearing[long], bearing[long] + np.pi]
    vote, agreement = _vote(evidence, plane)
    slope = evidence.slopes[plane]
    if agreement >= _MIN_VOTE:
        angles.append(np.array([vote]))
    if slope is not None:
        angles.append(np.array([slope.downhill_rad]))
    angle = np.concatenate(angles)
    if not len(angle):
        return None
    score = _OUTLINE * unit(angle) @ pull + _SUPPORT * _support(
        angle, bearing, share[:, None] * towards
    )
    if agreement >= _MIN_VOTE:
        off = np.abs(turn_between(vote, angle))
        beyond = np.maximum(0.0, off - evidence.votes.half_width_rad)
        score -= _VOTE_KAPPA * agreement * (1 - np.cos(beyond))
    if slope is not None:
        sd = math.hypot(slope.downhill_sd_rad, _HEIGHT_RAD)
        off = turn_between(slope.downhill_rad, angle) / sd
        score -= np.minimum(off**2 / 2, _MAX_HEIGHT)
    return _Candidates(angle, score, outward, share, towards)


def _support(angle: Floats, bearing: Floats, weight: Floats) -> Floats:
    """(C,) the share of the perimeter at right angles to each direction."""
    off = turn_between(angle[:, None], bearing[None]) / _SUPPORT_RAD
    back = turn_between(angle[:, None] + np.pi, bearing[None]) / _SUPPORT_RAD
    return np.asarray(
        np.exp(-(off**2) / 2) @ weight[:, 0] + np.exp(-(back**2) / 2) @ weight[:, 1], np.float64
    )


def _settle(evidence: PlaneEvidence, planes: list[_Candidates | None]) -> list[Floats]:
    """The scores of each plane's candidates beside its neighbours' best."""
    sides = evidence.sides
    scores = [np.zeros(0) if found is None else found.score for found in planes]
    steepness = [
        _USUAL_STEEPNESS if slope is None else max(slope.steepness, 0.1)
        for slope in evidence.slopes
    ]
    best = [
        None if found is None else steepness[plane] * unit(found.angle[np.argmax(found.score)])
        for plane, found in enumerate(planes)
    ]
    bend = np.zeros(len(sides.plane))
    if evidence.line_shares is not None:
        shares = evidence.line_shares[sides.edge].astype(np.float64)
        bend = shares[:, 1:3].max(axis=1) - shares[:, 3]
    for _ in range(_SWEEPS):
        before = list(best)
        for plane, found in enumerate(planes):
            if found is None:
                continue
            own = range(sides.bounds[plane], sides.bounds[plane + 1])
            downhill = steepness[plane] * unit(found.angle)
            total = found.score.copy()
            for place, side in enumerate(own):
                other = int(sides.other[side])
                across = None if other == NO_PLANE else best[other]
                if across is not None:
                    total += (
                        _CREASE
                        * found.share[place]
                        * _crease(
                            (downhill - across) / steepness[plane], found.outward[place], bend[side]
                        )
                    )
            scores[plane] = total
            best[plane] = downhill[np.argmax(total)]
        if all(a is None or (a == b).all() for a, b in zip(best, before, strict=True)):
            break
    return scores


def _crease(difference: Floats, outward: Floats, bend: float) -> Floats:
    """(C,) in -1..1: how well an edge is the crease of two planes, from their slopes' difference.

    Args:
        difference: (C, 2) downhill vectors of the one less that of the other, where the one is 1
            long.
        outward: (2,) out of the one.
        bend: How sure it is that the roof falls away on both sides, less that it rises.
    """
    size = np.hypot(*difference.T)
    across = difference @ outward / np.maximum(size, 1e-9)
    fit = 2 * across**2 - 1 - bend * across
    return np.where(size < _MIN_DIFFERENCE, 0.0, fit.clip(-1, 1))


def _decide(evidence: PlaneEvidence, plane: int, found: _Candidates, score: Floats) -> Direction:
    winner = found.angle[np.argmax(score)]
    # Candidates of one direction are one: each counts by its best.
    worth = np.exp(score - score.max())
    near = np.abs(turn_between(winner, found.angle)) <= _SURE_RAD
    others = worth[~near]
    # Opposite candidates of two parallel edges are one alternative, not two.
    bins = np.round(found.angle[~near] / _SURE_RAD).astype(int) % 16
    rest = sum(others[bins == number].max() for number in np.unique(bins))
    confidence = float(1.0 / (1.0 + rest))

    sources: list[tuple[float, float]] = []  # turns from the winner, and standard deviations
    bearing = np.arctan2(found.outward[:, 0], found.outward[:, 1])
    sides = evidence.sides
    length = sides.length[sides.bounds[plane] : sides.bounds[plane + 1]]
    for column, turned in ((0, 0.0), (1, np.pi)):
        off = turn_between(winner, bearing + turned)
        same = (np.abs(off) <= _SAME_RAD) & (length >= _MIN_EDGE_M)
        for turn, metres, weight in zip(
            off[same], length[same], found.towards[same, column], strict=True
        ):
            sd = math.hypot(_EDGE_SD_RAD, _EDGE_ENDS_M / metres) / math.sqrt(max(weight, 0.1))
            sources.append((float(turn), sd))
    slope = evidence.slopes[plane]
    if slope is not None:
        turn = float(turn_between(winner, slope.downhill_rad))
        sd = math.hypot(slope.downhill_sd_rad, _HEIGHT_SD_RAD)
        if abs(turn) <= 3 * sd + _SAME_RAD:
            sources.append((turn, sd))
    vote, agreement = _vote(evidence, plane)
    if agreement >= _MIN_VOTE:
        turn = float(turn_between(winner, vote))
        half = evidence.votes.half_width_rad
        sd = math.hypot(half, _VOTE_SD_RAD)
        # Within a class's width a vote says nothing that an edge does not say better.
        if not sources or abs(turn) > half:
            sources.append((turn, sd))
    if not sources:
        return Direction(float(winner) % (2 * math.pi), _SURE_RAD, confidence)
    weights = [1 / sd**2 for _, sd in sources]
    turn = math.fsum(w * t for w, (t, _) in zip(weights, sources, strict=True)) / math.fsum(weights)
    # Edges of one plane are not independent of one another, so the best of them says how sure.
    sd = min(sd for _, sd in sources)
    return Direction((float(winner) + turn) % (2 * math.pi), sd, confidence)
