"""How often each class comes in training: measured on samples as the losses will see them.

And what colours these have before training changes their light.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.base.dataset_names import DatasetName
from app.base.tasks import IGNORE_INDEX, Task, TaskName
from app.data.colours import KnownColours, measure_colours
from app.data.loading import add_bad_files
from app.data.order import ALONE, BEGINNING, Epochs, Shard, TrainOrder
from app.data.sample import BadFile, BadFiles, Sample
from app.data.train_samples import TrainDataset

# Of all ranks together; two or three seconds of reading for one of them.
_NUM_SAMPLES = 128

LabelCounts = dict[TaskName, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Distribution:
    """Pixels of each label after augmentation.

    Attributes:
        counts: Per task: segments (num_labels,), superstructures (9,), lines (4, 2) with columns
            off and on.
        num_samples: Training samples they were counted in.
        bad_files: Files that could not be read meanwhile.
        colours: By dataset, of each window of its photos what measure_colours gives.
    """

    counts: LabelCounts
    num_samples: int
    bad_files: BadFiles
    colours: Mapping[DatasetName, list[list[float]]] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """In plain types, for other processes."""
        return {
            "counts": {name: counts.tolist() for name, counts in self.counts.items()},
            "num_samples": self.num_samples,
            "bad_files": {
                name: [(bad.sample_id, str(bad.path), bad.reason) for bad in files]
                for name, files in self.bad_files.items()
            },
            "colours": self.colours,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Distribution":
        """That of another process."""
        return cls(
            {name: np.array(counts, np.int64) for name, counts in plain["counts"].items()},
            plain["num_samples"],
            {
                name: [BadFile(sample_id, Path(path), reason) for sample_id, path, reason in files]
                for name, files in plain["bad_files"].items()
            },
            plain["colours"],
        )

    def describe_colours(self) -> dict[str, Any]:
        """What the photos of each dataset look like, in plain types, for model.json."""
        return {name: KnownColours.of(samples).to_json() for name, samples in self.colours.items()}

    def to_json(self, tasks: Sequence[Task]) -> dict[str, dict[str, float | int]]:
        """Share of the known pixels of each class, per task; for metrics.json."""
        described: dict[str, dict[str, float | int]] = {}
        for task in tasks:
            if task.name not in self.counts:
                continue
            counts = self.counts[task.name]
            if task.kind == "multilabel":
                shares = counts[:, 1] / np.maximum(counts.sum(axis=1), 1)
            else:
                shares = counts / max(int(counts.sum()), 1)
            names = [*task.class_names, *_names_of_sets(task)]
            described[task.name] = {
                name: round(float(share), 6)
                for i, (name, share) in enumerate(zip(names, shares, strict=True))
                if i < task.num_classes or share > 0
            }
        return described


def measure_distribution(
    dataset: TrainDataset, tasks: Sequence[Task], seed: int, shard: Shard = ALONE
) -> Distribution:
    """Counts of the labels in the first samples that training will draw.

    Args:
        dataset: Where samples come from.
        tasks: Tasks of the network.
        seed: Seed of the order of the samples.
        shard: The part of these samples that this process counts.
    """
    order = TrainOrder(dataset.sources, Epochs(_NUM_SAMPLES, 1, seed), BEGINNING, shard)
    counts: LabelCounts = {}
    bad_files: BadFiles = {}
    colours: dict[DatasetName, list[list[float]]] = {}
    num_samples = 0
    for key in itertools.chain.from_iterable(order):
        sample, windows, bad = dataset.look_at(key)
        add_bad_files(bad_files, bad)
        for window in windows:
            if (measured := measure_colours(window["image"].numpy())) is not None:
                colours.setdefault(window["dataset"], []).append(measured)
        if sample is None:
            continue
        num_samples += 1
        _add_counts(counts, count_labels(sample, tasks))
    return Distribution(counts, num_samples, bad_files, colours)


def merge_distributions(parts: Sequence[Distribution]) -> Distribution:
    """The sum of what several processes have counted."""
    counts: LabelCounts = {}
    bad_files: BadFiles = {}
    colours: dict[DatasetName, list[list[float]]] = {}
    for part in parts:
        _add_counts(counts, part.counts)
        add_bad_files(bad_files, part.bad_files)
        for name, samples in part.colours.items():
            colours.setdefault(name, []).extend(samples)
    num_samples = sum(part.num_samples for part in parts)
    return Distribution(counts, num_samples, bad_files, colours)


def _add_counts(counts: LabelCounts, found: LabelCounts) -> None:
    for name, values in found.items():
        counts[name] = counts.get(name, np.zeros_like(values)) + values


def count_labels(sample: Sample, tasks: Sequence[Task]) -> LabelCounts:
    """Pixels of each label in a sample, as in Distribution."""
    counts: LabelCounts = {}
    for task in tasks:
        if task.kind == "multilabel":
            lines = sample["lines"].numpy()
            counts[task.name] = np.stack(
                [(lines == value).sum(axis=(1, 2)) for value in (0, 1)], axis=1
            )
        elif task.kind == "classes":
            labels = sample[task.name].numpy()
            known = labels[labels != IGNORE_INDEX]
            counts[task.name] = np.bincount(known, minlength=task.num_labels).astype(np.int64)
    return counts


def _names_of_sets(task: Task) -> list[str]:
    """Names of the labels that stand for one of several classes."""
    names = []
    for classes in task.label_sets[task.num_classes :]:
        is_pair = len(classes) == 2
        names.append(" or ".join(task.class_names[c] for c in classes) if is_pair else "some roof")
    return names


def lines_of_shares(shares: Mapping[str, Mapping[str, float | int]]) -> list[str]:
    """The distribution in one line per task, most frequent first."""
    return [
        f"{name}: "
        + ", ".join(
            f"{label} {100 * share:.1f} %"
            for label, share in sorted(labels.items(), key=lambda item: -item[1])
        )
        for name, labels in shares.items()
    ]
