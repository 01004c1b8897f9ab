"""Metrics of all tasks: sums over pixels, added up over batches and ranks, divided once at the end.

So a metric is that of the whole split, never a mean of the metrics of batches.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from app.base.tasks import Task, TaskName, find_task
from app.base.window import Window
from app.metrics.definitions import MetricValue, describe_loss
from app.metrics.depth import DepthMetrics
from app.metrics.lines import LinesMetrics, LinesOfPhoto
from app.metrics.segments import SegmentsMetrics, SegmentsOfPhoto
from app.metrics.sums import ratio, round_for_exact_sum
from app.metrics.superstructures import SuperstructuresMetrics, SuperstructuresOfPhoto

_TaskMetrics = SegmentsMetrics | LinesMetrics | DepthMetrics | SuperstructuresMetrics
_TaskOfPhoto = SegmentsOfPhoto | LinesOfPhoto | SuperstructuresOfPhoto


class ConfusionMatrix(TypedDict):
    """An entry of `confusion_matrix` in metrics.json.

    Attributes:
        class_names: C names.
        counts: (C, C) pixels, rows the target class, columns the predicted.
    """

    class_names: list[str]
    counts: list[list[int]]


class RoofMetrics:
    """Sums of all tasks over any number of batches.

    Over ranks: `metrics.load_state(all_reduce_sum(metrics.state()))`. Over datasets, the same with
    the sum of the states of metrics of the same tasks.

    Args:
        tasks: Tasks of the network.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._parts = {task.name: _build_part(task) for task in tasks}
        self._is_roof = _find_roof_labels(find_task("segments", tasks))
        # Summed losses, and how many known values they are of.
        self._losses = {task.name: np.zeros(2, np.float64) for task in tasks}

    def add_losses(self, sums: Mapping[TaskName, Tensor], counts: Mapping[TaskName, int]) -> None:
        """Count losses of training, of images without augmentation.

        Args:
            sums: Summed loss by task, () each.
            counts: Known values by task, which the sums are over.
        """
        for name, value in sums.items():
            self._losses[name] += [float(round_for_exact_sum(value)), counts[name]]

    def open_photo(self, height_px: int, width_px: int) -> "MetricsOfPhoto":
        """To count a photo in parts: see MetricsOfPhoto."""
        return MetricsOfPhoto(self, height_px, width_px)

    def update(self, logits: Mapping[TaskName, Tensor], batch: Mapping[str, Any]) -> None:
        """Count a batch; a task without logits is untrained and counts nothing.

        Args:
            logits: Per task (N, num_classes, H, W), any float dtype and device.
            batch: Targets as in Sample, with a batch dimension in front; segments in the labels of
                the task.
        """
        for name, values in logits.items():
            part = self._parts[name]
            if isinstance(part, DepthMetrics):
                part.update(values, batch["depth"], self.find_roof(batch["segments"]))
            else:
                part.update(values, batch[name])

    def state(self) -> Tensor:
        """All sums, one-dimensional float64 on the CPU; states of the same tasks may be added."""
        losses = torch.from_numpy(np.concatenate(list(self._losses.values())))
        return torch.cat([*(part.state() for part in self._parts.values()), losses])

    def load_state(self, state: Tensor) -> None:
        """Replace all sums by those of a state, from any device."""
        start = 0
        for part in self._parts.values():
            end = start + len(part.state())
            part.load_state(state[start:end].cpu())
            start = end
        end = start + 2 * len(self._losses)
        assert end == len(state), f"state has {len(state)} sums, expected {end}"
        rows = state[start:].cpu().numpy().reshape(-1, 2)
        self._losses = {name: row.copy() for name, row in zip(self._losses, rows, strict=True)}

    def compute(self, split: str, dataset: str) -> dict[str, MetricValue]:
        """Every metric as `<split>/<task>/<metric>`; `dataset` names the dataset of the samples."""
        return {
            f"{split}/{task}/{name}": dataclasses.replace(value, split=split, dataset=dataset)
            for task, part in self._parts.items()
            for name, value in (part.compute() | self._loss(task)).items()
        }

    def find_roof(self, segments: Tensor) -> Tensor:
        """Where the labels say roof, of whatever class: bool, shaped like the target."""
        return self._is_roof[segments.cpu().long()]

    def _loss(self, task: TaskName) -> dict[str, MetricValue]:
        total, count = self._losses[task]
        return describe_loss(self._tasks[task], ratio(total, count), int(count))

    def confusion_matrices(self, split: str) -> dict[str, ConfusionMatrix]:
        """As `confusion_matrix` of metrics.json, by `<split>/<task>`."""
        return {
            f"{split}/{name}": ConfusionMatrix(
                class_names=list(self._tasks[name].class_names),
                counts=part.confusion_matrix().tolist(),
            )
            for name, part in self._parts.items()
            if isinstance(part, SegmentsMetrics | SuperstructuresMetrics)
        }


class MetricsOfPhoto:
    """Counts a photo by rectangles, in memory that does not grow with its height.

    The sums are those of the whole photo: exactly, but for lines, see LinesOfPhoto.

    Args:
        metrics: Where the photo counts.
        height_px: Rows of the photo.
        width_px: Columns of the photo.
    """

    def __init__(self, metrics: RoofMetrics, height_px: int, width_px: int) -> None:
        self._metrics = metrics
        self._size = (height_px, width_px)
        self._parts: dict[TaskName, _TaskOfPhoto] = {}

    def add(
        self, window: Window, logits: Mapping[TaskName, Tensor], targets: Mapping[TaskName, Tensor]
    ) -> None:
        """Count a rectangle; they come row by row and leave no gap.

        Args:
            window: Where it lies.
            logits: Per task (num_classes, h, w), any float dtype and device.
            targets: Per task as in Sample; segments in the labels of the task.
        """
        for name, values in logits.items():
            part = self._metrics._parts[name]
            if isinstance(part, DepthMetrics):
                is_roof = self._metrics.find_roof(targets["segments"])[None]
                part.update(values[None], targets["depth"][None], is_roof)
                continue
            if name not in self._parts:
                self._parts[name] = part.open_photo(*self._size)
            self._parts[name].add(window, values, targets[name])

    def close(self) -> None:
        """Count what only the whole photo tells."""
        for part in self._parts.values():
            part.close()


def _build_part(task: Task) -> _TaskMetrics:
    build: Mapping[TaskName, Callable[[Task], _TaskMetrics]] = {
        "segments": SegmentsMetrics,
        "lines": LinesMetrics,
        "depth": DepthMetrics,
        "superstructures": SuperstructuresMetrics,
    }
    return build[task.name](task)


def _find_roof_labels(segments: Task) -> Tensor:
    """(256,) bool: the labels that say roof, of whatever class."""
    is_roof = torch.zeros(256, dtype=torch.bool)
    for label, classes in enumerate(segments.label_sets):
        is_roof[label] = segments.background_class not in classes
    return is_roof
