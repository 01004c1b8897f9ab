"""Where the lines that end in a point cross."""

from typing import Final

import numpy as np

from app.base.arrays import Floats, Ints
from app.roofs.runs import Lines

_MAX_SHIFT_M: Final = 0.5
_MAX_LINE_WEIGHT_M: Final = 5.0
# What a point's old place weighs against its lines: it decides only along parallel ones.
_OLD_PLACE_SHARE: Final = 0.01
_PLACE_ROUNDS: Final = 3


def cross_lines(points: Floats, lines: Lines, ends: tuple[Ints, Ints], is_line: Floats) -> Floats:
    """(V, 2) for each point the place nearest to all lines that end in it, in least squares.

    Where lines are nearly parallel it stays near its old place along them: each round moves it to
    where it is nearest to the lines and, by a hundredth, to where it was before the round.
    """
    normal = np.stack((-np.sin(lines.angle), np.cos(lines.angle)), axis=1)
    weight = np.minimum(lines.length, _MAX_LINE_WEIGHT_M) * is_line
    outer = weight[:, None, None] * normal[:, :, None] * normal[:, None]
    matrix = np.zeros((len(points), 2, 2))
    for number in ends:
        np.add.at(matrix, number, outer)
    old = _OLD_PLACE_SHARE * np.trace(matrix, axis1=1, axis2=2) + 1e-9
    matrix[:, 0, 0] += old
    matrix[:, 1, 1] += old
    placed = points
    for _ in range(_PLACE_ROUNDS):
        pull = np.zeros((len(points), 2))
        for number in ends:
            offset = ((lines.middle - placed[number]) * normal).sum(axis=1)
            np.add.at(pull, number, (weight * offset)[:, None] * normal)
        placed = placed + np.linalg.solve(matrix, pull[..., None])[..., 0]
    shift = placed - points
    length = np.hypot(*shift.T)
    shift *= np.minimum(1.0, _MAX_SHIFT_M / np.maximum(length, 1e-12))[:, None]
    return np.asarray(points + shift, np.float64)
