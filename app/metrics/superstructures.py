"""Metrics of what stands on roofs: overlap per class and of all classes as one."""

import numpy as np
import torch
from torch import Tensor

from app.base.tasks import Task
from app.base.window import Window
from app.metrics.confusion import ImageIous, class_values, count_labels
from app.metrics.definitions import MetricValue, attach_definitions
from app.metrics.sums import Counts, ratio


class SuperstructuresMetrics:
    """Counts of the superstructures task over any number of batches.

    Args:
        task: The superstructures task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._counts: Counts = np.zeros((task.num_classes, task.num_classes), np.int64)
        self._image_ious = ImageIous(task)

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            logits: (N, num_classes, H, W), any float dtype.
            target: (N, H, W) uint8, classes, 255 unknown.
        """
        self._image_ious.add(self._count(logits, target))

    def open_photo(self, height_px: int, width_px: int) -> "SuperstructuresOfPhoto":  # noqa: ARG002
        """To count a photo in parts: see SuperstructuresOfPhoto."""
        return SuperstructuresOfPhoto(self)

    def _count(self, logits: Tensor, target: Tensor) -> Counts:
        target = target.to(logits.device).long()
        counts = count_labels(self._task, logits.max(dim=1).indices, target)
        self._counts += counts.sum(axis=0)
        return counts

    def state(self) -> Tensor:
        """All sums, one-dimensional float64; states may be added."""
        return torch.from_numpy(np.concatenate([self._counts.ravel(), self._image_ious.state()]))

    def load_state(self, state: Tensor) -> None:
        """Replace all sums by those of a state."""
        counts, image_ious = np.split(state.cpu().numpy(), [self._counts.size])
        self._counts = counts.astype(np.int64).reshape(self._counts.shape)
        self._image_ious.load_state(image_ious)

    def confusion_matrix(self) -> Counts:
        """(num_classes, num_classes) pixels, rows the target class, columns the predicted."""
        return self._counts.copy()

    def compute(self) -> dict[str, MetricValue]:
        """Every metric of the task by its name in the table."""
        background = self._task.background_class
        num_target = int(self._counts[:background].sum())
        num_hits = int(self._counts[:background, :background].sum())
        num_false = int(self._counts[background, :background].sum())
        iou = ratio(num_hits, num_target + num_false) if num_target else None
        values = class_values(self._task, self._counts) | self._image_ious.values()
        return attach_definitions(
            self._task, values | {"any_superstructure_iou": (iou, num_target)}
        )


class SuperstructuresOfPhoto:
    """Counts a photo by rectangles: the sums are those of the whole photo.

    Args:
        metrics: Where the photo counts.
    """

    def __init__(self, metrics: SuperstructuresMetrics) -> None:
        self._metrics = metrics
        self._counts: Counts | None = None

    @torch.no_grad()
    def add(self, window: Window, logits: Tensor, target: Tensor) -> None:  # noqa: ARG002
        """Count a rectangle, (num_classes, h, w) and (h, w) uint8, wherever it lies."""
        counts = self._metrics._count(logits[None], target[None])
        self._counts = counts if self._counts is None else self._counts + counts

    def close(self) -> None:
        """Count what only the whole photo tells."""
        if self._counts is not None:
            self._metrics._image_ious.add(self._counts)
