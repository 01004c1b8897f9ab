"""What classes have in common: how the probability of each old class is shared among new ones.

Directions are sorted into 16, 8, 4 or 1 bins, whose borders need not meet: half of NNE belongs to
N of 8 bins. Both lists of classes are compared on sectors of 11.25 degrees, of which every bin is
made.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from app.base.azimuth import NUM_BINS
from app.base.tasks import Task, find_task
from app.model.network import class_priors

Shares = npt.NDArray[np.float64]

_NUM_SECTORS: Final = 2 * NUM_BINS


def share_classes(old: Task, new: Task) -> Shares:
    """The part of each old class's probability that each new class gets.

    Fewer directions add up those that they cover; a direction on the border of two goes to each by
    half. More directions split those that they lie in; where labels told only roof, in the shares
    of any roof photo. Other classes go by name. With 16 old directions this is exact; fewer are
    taken to be spread evenly over the degrees that they cover.

    Args:
        old: A task of kind "classes" or "multilabel".
        new: The task of the same name, perhaps with other classes.

    Returns:
        (new classes, old classes). The columns of segments add up to 1. The row of a class that
        the old task knows nothing of is 0.
    """
    if old.name == "segments":
        old_parts, new_parts = _parts(old), _parts(new)
        *directions, flat, background = class_priors(find_task("segments"))
        weighted = old_parts * [*np.repeat(directions, 2) / 2, flat, background]
        shares: Shares = new_parts @ (weighted / weighted.sum(axis=1, keepdims=True)).T
        return shares
    names = np.array(old.class_names)
    return np.array([names == name for name in new.class_names], np.float64)


def _parts(task: Task) -> Shares:
    """(num_classes, 34): 1 where a class covers a sector, flat or background."""
    parts = np.zeros((task.num_classes, _NUM_SECTORS + 2))
    background = task.background_class
    parts[background, -1] = 1
    if not task.azimuth_bins:
        parts[0, :-1] = 1
        return parts
    parts[background - 1, -2] = 1
    size = _NUM_SECTORS // task.azimuth_bins
    for direction in range(task.azimuth_bins):
        first = direction * size - size // 2  # a bin lies around its direction
        parts[direction, np.arange(first, first + size) % _NUM_SECTORS] = 1
    return parts
