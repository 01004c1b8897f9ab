"""How far outlines of pixels may leave the straight lines that stand for them."""

import math
from typing import Final

import numpy as np

from app.roofs.arcs import Limits
from app.roofs.runs import Runs
from app.roofs.settings import RoofSettings

# Ragged outlines leave their lines by so many times what they do on average; more is a corner.
_RAGGED: Final = 10.0
# A staircase of pixels leaves its line by so much on average, and at most.
_STAIRS_PX: Final = 0.4
_MIN_OFF_PX: Final = 1.3
# So many pixels of an exact outline, as far off a line as stairs are at most, are a bend.
_BEND_PX: Final = 14.0


def first_limits(settings: RoofSettings, pixel_m: float) -> Limits:
    """Those of outlines of which nothing is known yet."""
    short_m = _MIN_OFF_PX * pixel_m
    return Limits(short_m, max(settings.straight_m, short_m), math.inf)


def fit_limits(limits: Limits, runs: Runs, ragged_m: float, pixel_m: float) -> Limits:
    """Wider limits where outlines are ragged; where they are exact, also one for bends.

    Args:
        limits: The first ones.
        runs: What is straight by them.
        ragged_m: The most that they are widened to.
        pixel_m: Metres per pixel.
    """
    roughness_m = _roughness_m(runs)
    stairs_m = _STAIRS_PX * pixel_m
    if roughness_m <= stairs_m:
        return limits._replace(bend_m3=_BEND_PX * stairs_m**2 * pixel_m)
    long_m = min(limits.long_m + _RAGGED * (roughness_m - stairs_m), ragged_m)
    return limits._replace(long_m=max(limits.long_m, long_m))


def _roughness_m(runs: Runs) -> float:
    """How far the pixels' outline is off its lines: the root mean square of half of all length."""
    length = np.maximum(runs.moments[:, 0], 1e-12)
    x, y, xx, xy, yy = (runs.moments[:, 1:] / length[:, None]).T
    a, b, c = xx - x * x, xy - x * y, yy - y * y
    across = (a + c - np.hypot(a - c, 2 * b)) / 2  # the smaller eigenvalue
    order = np.argsort(across)
    half = np.searchsorted(np.cumsum(length[order]), length.sum() / 2)
    return math.sqrt(max(float(across[order][half]), 0.0))
