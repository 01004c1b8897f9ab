"""Lines of a building turned into its main directions."""

import math
from typing import Final

import numpy as np

from app.base.arrays import Flags, Floats, Ints
from app.roofs.coverage import NO_PLANE
from app.roofs.runs import Lines, Runs
from app.roofs.settings import RoofSettings

_MAX_MAIN_DIRECTIONS: Final = 3
# Of the length of all edges: what one direction and those at right angles to it must hold.
_MIN_MAIN_SHARE: Final = 0.2
_MAIN_SPREAD_RAD: Final = math.radians(2.0)
_QUARTER: Final = math.pi / 2
_HALF_WAY_SHARE: Final = 0.25


def snap_lines(lines: Lines, runs: Runs, groups: Ints, settings: RoofSettings) -> Lines:
    """Lines turned about their middles into their buildings' main directions."""
    angle = lines.angle.copy()
    group = groups[runs.left]
    inner = runs.right != NO_PLANE
    max_turn = np.arcsin(np.minimum(1.0, 2 * settings.snap_m / np.maximum(lines.length, 1e-9)))
    max_turn = np.minimum(max_turn, math.radians(settings.snap_deg))
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        mains = _main_directions(lines.angle[members], lines.length[members], ~inner[members])
        best = np.zeros(len(members))
        least = np.full(len(members), np.inf)
        for main in mains:
            turn = _off(main - lines.angle[members])
            half_way = _off(main + _QUARTER / 2 - lines.angle[members])
            # Hips of planes of two pitches run nearly half way, and are not to be bent.
            for candidate, share in ((turn, 1.0), (half_way, _HALF_WAY_SHARE * inner[members])):
                size = np.abs(candidate)
                closer = (size < least) & (size <= share * max_turn[members])
                best, least = np.where(closer, candidate, best), np.where(closer, size, least)
        angle[members] += best
    return lines._replace(angle=angle)


def _main_directions(angle: Floats, length: Floats, is_outer: Flags) -> list[float]:
    """The directions in which, or at right angles to which, most of the outline lies; at most 3.

    Hips run where they do because of the pitches of two planes, and are no direction to turn to.
    """
    mains: list[float] = []
    left = np.ones(len(angle), np.bool_)
    outline = length * is_outer
    total = outline.sum()
    while left.any() and len(mains) < _MAX_MAIN_DIRECTIONS:
        angles, lengths = angle[left], length[left]
        apart = _off(angles[:, None] - angles[None])
        votes = np.exp(-0.5 * (apart / _MAIN_SPREAD_RAD) ** 2) @ outline[left]
        peak = angles[np.argmax(votes)]
        off = _off(angles - peak)
        near = np.abs(off) <= 2 * _MAIN_SPREAD_RAD
        if outline[left][near].sum() < _MIN_MAIN_SHARE * total:
            break
        # Long edges tell directions better, as the cube of their length.
        weights = lengths[near] ** 3 + 1e-9
        main = peak + (off[near] * weights).sum() / weights.sum()
        mains.append(float(main))
        left &= np.abs(_off(angle - main)) > 4 * _MAIN_SPREAD_RAD
    return mains


def _off(angle: Floats) -> Floats:
    """Angles less the nearest multiple of a right one."""
    return np.asarray(angle - _QUARTER * np.round(angle / _QUARTER), np.float64)
