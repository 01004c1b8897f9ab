"""How steep planes are, by a robust fit to heights.

A plane's heights are fitted by iteratively reweighted least squares, with Huber's weights first and
Tukey's biweight then (Holland and Welsch, Robust regression using iteratively reweighted
least-squares, 1977), so that chimneys, dormers and a neighbour's pixels do not count. Pixels near
its edges are left out. Errors of neighbouring pixels are alike, so four square metres count as one
measurement and not as hundreds.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats, Labels
from app.roofs.frame import Frame
from app.roofs.pieces import inner_pixels
from app.roofs.slope import Slope

_ERODE_M: Final = 0.3
_MIN_PIXELS: Final = 12
_MAX_PIXELS: Final = 600
_ROUNDS: Final = 6
_HUBER_ROUNDS: Final = 2
_HUBER: Final = 1.345
_TUKEY: Final = 4.685
_MAD_TO_SD: Final = 1.4826
_MIN_NOISE_M: Final = 0.02
_INDEPENDENT_M2: Final = 4.0
# Of the variances along and across: heights in one row are no plane.
_MAX_ELONGATION: Final = 1e4


def fit_slopes(
    height_m: npt.NDArray[np.floating], labels: Labels, frame: Frame, num_planes: int
) -> list[Slope | None]:
    """The slope of each plane; None where there are too few heights.

    Args:
        height_m: (h, w) metres above ground, NaN where not known.
        labels: (h, w) 1..num_planes, 0 outside.
        frame: From its columns and rows to metres.
        num_planes: N.
    """
    known = np.isfinite(height_m) & (labels > 0)
    inner = known & inner_pixels(labels, _ERODE_M, frame.pixel_m)
    num_inner = np.bincount(labels[inner], minlength=num_planes + 1)
    # Planes too narrow to be left anything keep their edges.
    used = np.flatnonzero(inner | (known & (num_inner[labels] < _MIN_PIXELS)))
    plane = labels.ravel()[used]
    order = np.argsort(plane, kind="stable")
    used, plane = used[order], plane[order]
    bounds = np.searchsorted(plane, np.arange(1, num_planes + 2))
    row, column = np.divmod(used, labels.shape[1])
    points = frame.metres(np.stack((column + 0.5, row + 0.5), axis=1))
    heights = height_m.ravel()[used].astype(np.float64)
    slopes: list[Slope | None] = []
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if stop - start < _MIN_PIXELS:
            slopes.append(None)
            continue
        step = -(-(stop - start) // _MAX_PIXELS)
        part = slice(start, stop, step)
        area_m2 = (stop - start) * frame.pixel_m2
        slopes.append(_fit(points[part], heights[part], area_m2))
    return slopes


def _fit(points: Floats, heights: Floats, area_m2: float) -> Slope | None:
    middle = points.mean(axis=0)
    if np.linalg.cond(np.cov(points.T)) > _MAX_ELONGATION:
        return None
    design = np.column_stack((np.ones(len(points)), points - middle))
    weights = np.ones(len(points))
    noise_m, half = _MIN_NOISE_M, len(points) // 2
    for number in range(_ROUNDS):
        weighted = design * weights[:, None]
        normal = weighted.T @ design
        try:
            fitted = np.linalg.solve(normal, weighted.T @ heights)
        except np.linalg.LinAlgError:
            return None
        off = np.abs(heights - design @ fitted)
        noise_m = max(_MAD_TO_SD * float(np.partition(off, half)[half]), _MIN_NOISE_M)
        ratio = off / noise_m
        if number < _HUBER_ROUNDS:
            weights = np.minimum(1.0, _HUBER / np.maximum(ratio, 1e-9))
        else:
            weights = np.square(1 - np.square(np.minimum(ratio / _TUKEY, 1.0)))
    # The scatter of the independent measurements that the pixels amount to.
    total = weights.sum()
    spread = (design[:, 1:] * weights[:, None]).T @ design[:, 1:] / total
    num_independent = max(area_m2 / _INDEPENDENT_M2, 1.0) * total / len(points)
    try:
        covariance = noise_m**2 / num_independent * np.linalg.inv(spread)
    except np.linalg.LinAlgError:
        return None
    height, east, north = (float(value) for value in fitted)
    return Slope(height - float(middle @ (east, north)), east, north, covariance)
