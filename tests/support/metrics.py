"""What tests of metrics share."""

import torch
from torch import Tensor

from app.base.tasks import find_task
from app.metrics.segments import SegmentsMetrics

# Six images: at once, one by one, and in uneven batches, in other orders.
_BATCHINGS = (
    ([0, 1, 2, 3, 4, 5],),
    ([4], [2], [0], [3], [5], [1]),
    ([3, 1], [0, 4, 2, 5]),
)


def assert_sums_are_exact(logits: Tensor, target: Tensor) -> None:
    """The same to the last bit however the images are batched.

    Args:
        logits: (6, 18, H, W).
        target: (6, H, W) uint8, labels of segments.
    """
    states = []
    for batches in _BATCHINGS:
        metrics = SegmentsMetrics(find_task("segments"))
        for batch in batches:
            metrics.update(logits[batch], target[batch])
        states.append(metrics.state())
    assert states[0].any()
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
