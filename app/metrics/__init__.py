"""Metrics of all tasks: sums over pixels, added up over batches and ranks, divided once at the end.

So a metric is that of the whole split, never a mean of the metrics of batches.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from app.metrics.definitions import (
    METRIC_DEFINITIONS,
    MetricDefinition,
    MetricValue,
    render_metrics_table,
)
from app.metrics.depth import DepthMetrics
from app.metrics.lines import LinesMetrics
from app.metrics.segments import SegmentsMetrics
from app.tasks import TaskName

__all__ = [
    "METRIC_DEFINITIONS",
    "DepthMetrics",
    "LinesMetrics",
    "MetricDefinition",
    "MetricValue",
    "RoofMetrics",
    "SegmentsMetrics",
    "render_metrics_table",
]


class RoofMetrics:
    """Sums of all tasks over any number of batches.

    Over ranks: `metrics.load_state(all_reduce_sum(metrics.state()))`.
    """

    def __init__(self) -> None:
        self._segments = SegmentsMetrics()
        self._lines = LinesMetrics()
        self._depth = DepthMetrics()

    def update(self, logits: Mapping[TaskName, Tensor], batch: Mapping[str, Any]) -> None:
        """Count a batch; a task without logits is untrained and counts nothing.

        Args:
            logits: Per task (N, num_classes, H, W), any float dtype and device.
            batch: segments, lines and depth as in Sample, with a batch dimension in front.
        """
        if "segments" in logits:
            self._segments.update(logits["segments"], batch["segments"])
        if "lines" in logits:
            self._lines.update(logits["lines"], batch["lines"])
        if "depth" in logits:
            self._depth.update(logits["depth"], batch["depth"], batch["segments"])

    def state(self) -> Tensor:
        """All sums, one-dimensional float64 on the CPU; states of ranks may be added."""
        return torch.cat([part.state() for part in self._parts()])

    def load_state(self, state: Tensor) -> None:
        """Replace all sums by those of a state, from any device."""
        start = 0
        for part in self._parts():
            end = start + len(part.state())
            part.load_state(state[start:end].cpu())
            start = end
        assert start == len(state), f"state has {len(state)} sums, expected {start}"

    def compute(self, split: str, dataset: str) -> dict[str, MetricValue]:
        """Every metric as `<split>/<task>/<metric>`, of whose samples `dataset` says."""
        values: dict[TaskName, dict[str, MetricValue]] = {
            "segments": self._segments.compute(),
            "lines": self._lines.compute(),
            "depth": self._depth.compute(),
        }
        return {
            f"{split}/{task}/{name}": dataclasses.replace(value, split=split, dataset=dataset)
            for task, task_values in values.items()
            for name, value in task_values.items()
        }

    def confusion_matrix(self) -> Tensor:
        """Of segments: (18, 18) int64 pixels, rows the target class, columns the predicted."""
        return self._segments.confusion_matrix()

    def _parts(self) -> tuple[SegmentsMetrics | LinesMetrics | DepthMetrics, ...]:
        return self._segments, self._lines, self._depth
