"""The one number that decides which weights of a run are kept."""

import statistics
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from app.base.tasks import TASK_NAMES, TaskName
from app.metrics.definitions import MetricValue

# In a row of metrics.jsonl.
SCORE_NAME: Final = "val/score"
# An error of so much halves the score of heights, which is 1 without an error.
_HALF_SCORE_M: Final = 1.0
_METRICS: Final[Mapping[TaskName, tuple[str, ...]]] = {
    "segments": ("roof_iou", "miou_no_background"),
    "lines": ("f1_3px",),
    "depth": ("mae_m",),
    "superstructures": ("miou_no_background",),
}
SCORE_DEFINITION: Final = (
    "Mean over the trained tasks of the mean over the datasets trained on, on their validation "
    "photos, of: segments (roof_iou + miou_no_background) / 2, or roof_iou alone where labels tell "
    "no directions; lines f1_3px; depth 1 / (1 + mae_m); superstructures miou_no_background. A "
    "dataset without labels of a task does not count for it. From 0 to 1."
)


def compute_score(
    values: Mapping[str, MetricValue],
    tasks: Collection[TaskName],
    datasets: Collection[str],
    all_datasets: Collection[str],
) -> float | None:
    """The score of a validation, as SCORE_DEFINITION says; None where nothing can be scored.

    Args:
        values: Metrics by name, as Scores.compute("val") has them.
        tasks: The trained ones.
        datasets: The ones trained on.
        all_datasets: The ones validated on. A single one has no metrics with its name.
    """
    by_task = []
    for task in TASK_NAMES:
        if task not in tasks:
            continue
        prefixes = [
            f"val/{name}/{task}/" if len(all_datasets) > 1 else f"val/{task}/" for name in datasets
        ]
        if scores := _known(_score_task(values, prefix, task) for prefix in prefixes):
            by_task.append(statistics.fmean(scores))
    return statistics.fmean(by_task) if by_task else None


def _score_task(values: Mapping[str, MetricValue], prefix: str, task: TaskName) -> float | None:
    """Of one dataset, from 0 to 1; None where it labels nothing of the task."""
    found = _known(_read(values.get(f"{prefix}{name}")) for name in _METRICS[task])
    if not found:
        return None
    mean = statistics.fmean(found)
    return _HALF_SCORE_M / (_HALF_SCORE_M + mean) if task == "depth" else mean


def _read(metric: MetricValue | None) -> float | None:
    """A metric's value; 0 where it is undefined although there was something to find."""
    if metric is None or metric.support == 0:
        return None
    return 0.0 if metric.value is None else metric.value


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
