"""What a pixel of each class weighs in the losses: more where the class is rare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from app.base.tasks import Task, TaskName

# Where nothing was counted: pixel shares of RID's masks, directions together, since flips and turns
# make them equally frequent; of superstructures as its paper gives them, kinds together; of lines
# 3 px wide on synthetic roofs.
_TYPICAL_PITCHED, _TYPICAL_FLAT = 0.21, 0.033
_TYPICAL_SUPERSTRUCTURES = 0.041
_TYPICAL_LINES = MappingProxyType({"eave": 0.034, "ridge": 0.008, "hip": 0.006, "valley": 0.002})

_LEAST, _MOST = 0.5, 2.0
_MOST_OF_LINES = 8.0


@dataclass(frozen=True)
class ClassWeights:
    """Weights of the tasks that weigh their pixels.

    Attributes:
        segments: One per class.
        lines: One per kind: a pixel on such a line; a pixel off it weighs 1.
        superstructures: One per class; empty where the network has no such task.
    """

    segments: tuple[float, ...]
    lines: tuple[float, ...]
    superstructures: tuple[float, ...] = ()

    def of(self, name: TaskName) -> tuple[float, ...]:
        """Those of a task; empty for heights."""
        return {
            "segments": self.segments,
            "lines": self.lines,
            "superstructures": self.superstructures,
            "depth": (),
        }[name]

    @classmethod
    def from_description(cls, described: Mapping[str, Sequence[float]]) -> "ClassWeights":
        """Those of model.json, which has the attributes as they are."""
        return cls(**{name: tuple(weights) for name, weights in described.items()})

    def to_json(self, tasks: Sequence[Task]) -> dict[str, dict[str, float]]:
        """By class name, for every task that weighs its pixels; for metrics.json."""
        return {
            task.name: {
                name: round(weight, 4)
                for name, weight in zip(task.class_names, self.of(task.name), strict=True)
            }
            for task in tasks
            if task.kind != "metres"
        }


def choose_class_weights(
    tasks: Sequence[Task], label_counts: Mapping[TaskName, npt.NDArray[np.int64]] | None = None
) -> ClassWeights:
    """Weights from how often each label occurs; typical ones for a task without any.

    Classes weigh 1 / sqrt(share of pixels), divided by its mean over the classes, clipped to
    [0.5, 2] and divided by their mean again: a plain 1 / sqrt(share) is above 2 for every class but
    background, so without the first division the clipping would leave nothing but "background or
    not". Directions all have the share of their mean: flips and turns make them nearly equally
    frequent, and what is left is the chance of which samples were counted. A class never seen
    weighs as much as the rarest seen. Line pixels weigh min(sqrt(off / on), 8), at least 1, and 8
    where none was seen. All classes weigh 1 where labels tell only "some roof" from background,
    since a weight for background alone would make roofs too large.

    Args:
        tasks: Tasks of the network.
        label_counts: Pixels after augmentation: of segments (num_labels,) and of superstructures
            (9,), by label; of lines (4, 2), off and on a line of each kind. A label that admits
            several classes counts in equal parts as each.
    """
    weights: dict[TaskName, tuple[float, ...]] = {}
    for task in tasks:
        counts = (label_counts or {}).get(task.name)
        if counts is None or not counts.any():
            counts = _typical_counts(task)
        if task.kind == "classes":
            silent = (task.background_class, *task.vague_labels)
            tells_classes = np.delete(counts, silent).any()
            weights[task.name] = (
                _weigh_classes(_count_classes(task, counts))
                if tells_classes
                else (1.0,) * task.num_classes
            )
        elif task.kind == "multilabel":
            weights[task.name] = _weigh_lines(counts)
    return ClassWeights(
        segments=weights.get("segments", ()),
        lines=weights.get("lines", ()),
        superstructures=weights.get("superstructures", ()),
    )


def _count_classes(task: Task, label_counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(num_classes,) pixels, the same for all directions."""
    counts = np.zeros(task.num_classes)
    for classes, count in zip(task.label_sets, label_counts, strict=True):
        counts[list(classes)] += count / len(classes)
    if task.azimuth_bins:
        directions = slice(task.azimuth_bins)
        counts[directions] = counts[directions].mean()
    return counts


def _weigh_classes(counts: npt.NDArray[np.float64]) -> tuple[float, ...]:
    is_seen = counts > 0
    inverse = 1 / np.sqrt(counts[is_seen] / counts.sum())
    clipped = np.clip(inverse / inverse.mean(), _LEAST, _MOST)
    scaled = clipped / clipped.mean()
    weights = np.full(len(counts), scaled.max())
    weights[is_seen] = scaled
    return tuple(weights.tolist())


def _weigh_lines(counts: npt.NDArray[np.int64]) -> tuple[float, ...]:
    off, on = counts.astype(np.float64).T
    ratios = np.sqrt(off / np.maximum(on, 1))
    weights = np.where(on > 0, np.clip(ratios, 1.0, _MOST_OF_LINES), _MOST_OF_LINES)
    return tuple(weights.tolist())


def _typical_counts(task: Task) -> npt.NDArray[np.int64]:
    """As `label_counts`, of a million pixels."""
    if task.kind == "metres":
        return np.zeros(0, np.int64)
    if task.kind == "multilabel":
        on = np.array([_TYPICAL_LINES[name] for name in task.class_names])
        return (1e6 * np.stack([1 - on, on], axis=1)).astype(np.int64)
    shares = np.zeros(task.num_labels)
    background = task.background_class
    if task.name == "superstructures":
        shares[:background] = _TYPICAL_SUPERSTRUCTURES / background
    elif task.azimuth_bins:
        shares[: task.azimuth_bins] = _TYPICAL_PITCHED / task.azimuth_bins
        shares[task.azimuth_bins] = _TYPICAL_FLAT
    else:
        shares[:background] = _TYPICAL_PITCHED + _TYPICAL_FLAT
    shares[background] = 1 - shares.sum()
    return (1e6 * shares).astype(np.int64)
