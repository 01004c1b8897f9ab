"""Which values of a target may teach or score: the same for every loss and metric."""

from torch import Tensor

from app.base.tasks import DEPTH_RANGE_M, IGNORE_INDEX, TaskName


def known_mask(task: TaskName, target: Tensor) -> Tensor:
    """Bool, shaped like the target: which of its values are known, and possible."""
    if task == "depth":
        low_m, high_m = DEPTH_RANGE_M
        return (target >= low_m) & (target <= high_m)  # False for NaN
    return target != IGNORE_INDEX
