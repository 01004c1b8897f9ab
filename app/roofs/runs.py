"""Straight runs of a coverage's edges as arrays, and the lines that fit them."""

from typing import NamedTuple

import numpy as np

from app.base.arrays import Flags, Floats, Ints


class Runs(NamedTuple):
    """Straight runs, R of them.

    Attributes:
        start: (R,) number of the first point.
        end: (R,) of the last.
        left: (R,) plane to the left.
        right: (R,) plane to the right, -1 where there is none.
        moments: (R, 6).
        is_kept: (R,) whether its points stay where they are.
    """

    start: Ints
    end: Ints
    left: Ints
    right: Ints
    moments: Floats
    is_kept: Flags


class Lines(NamedTuple):
    """The lines of R runs.

    Attributes:
        middle: (R, 2) a point of each.
        angle: (R,) its direction, counter-clockwise from east.
        length: (R,) of its run.
    """

    middle: Floats
    angle: Floats
    length: Floats


def fit_lines(moments: Floats, step: Floats) -> Lines:
    """The lines of least squared distances, directed as their runs."""
    length = np.maximum(moments[:, 0], 1e-12)
    x, y, xx, xy, yy = (moments[:, 1:] / length[:, None]).T
    angle = np.arctan2(2 * (xy - x * y), (xx - x * x) - (yy - y * y)) / 2
    backward = np.cos(angle) * step[:, 0] + np.sin(angle) * step[:, 1] < 0
    angle = np.where(backward, angle + np.pi, angle)
    return Lines(np.stack((x, y), axis=1), angle, np.hypot(*step.T))
