"""Metrics of all tasks: sums over pixels, added up over batches and ranks, divided once at the end.

So a metric is that of the whole split, never a mean of the metrics of batches.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from app.base.tasks import Task, TaskName, find_task
from app.metrics.definitions import MetricValue
from app.metrics.depth import DepthMetrics
from app.metrics.lines import LinesMetrics
from app.metrics.segments import SegmentsMetrics
from app.metrics.superstructures import SuperstructuresMetrics

_TaskMetrics = SegmentsMetrics | LinesMetrics | DepthMetrics | SuperstructuresMetrics


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
                is_roof = self._is_roof[batch["segments"].cpu().long()]
                part.update(values, batch["depth"], is_roof)
            else:
                part.update(values, batch[name])

    def state(self) -> Tensor:
        """All sums, one-dimensional float64 on the CPU; states of the same tasks may be added."""
        return torch.cat([part.state() for part in self._parts.values()])

    def load_state(self, state: Tensor) -> None:
        """Replace all sums by those of a state, from any device."""
        start = 0
        for part in self._parts.values():
            end = start + len(part.state())
            part.load_state(state[start:end].cpu())
            start = end
        assert start == len(state), f"state has {len(state)} sums, expected {start}"

    def compute(self, split: str, dataset: str) -> dict[str, MetricValue]:
        """Every metric as `<split>/<task>/<metric>`; `dataset` names the dataset of the samples."""
        return {
            f"{split}/{task}/{name}": dataclasses.replace(value, split=split, dataset=dataset)
            for task, part in self._parts.items()
            for name, value in part.compute().items()
        }

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
