"""From a reader to micro-batches: a resumable order, random draws by key, bad files set aside.

A training sample depends on (seed, epoch, position in the dataset) alone. So it is the same with 0
or 8 workers, and a run that starts in the middle of an epoch sees exactly what it would have seen.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from app.data.sample import BadFile, Sample
from app.data.transforms import TrainTransform
from app.data.workers import START_METHOD, keep_heap_small, leave_with_parent
from app.errors import DataError, join_problems

logger = logging.getLogger(__name__)

_MAX_REPLACEMENTS = 20


class Reader(Protocol):
    """What a dataset's reader offers: its samples, and where they lie."""

    @property
    def sample_ids(self) -> Sequence[str]:
        """Names of the samples, by index."""

    def __getitem__(self, index: int) -> Sample:
        """The sample; DataError if one of its files cannot be used."""

    def paths(self, index: int) -> tuple[Path, Path]:
        """Image and mask of the sample."""


class SampleKey(NamedTuple):
    """What a training sample, with all its random draws, is made from."""

    epoch: int
    position: int


class Batch(TypedDict):
    """Samples stacked: see Sample, with a batch dimension in front."""

    image: Tensor
    segments: Tensor
    lines: Tensor
    depth: Tensor
    sample_id: list[str]
    bad_files: list[BadFile]


class TrainDataset(Dataset[tuple[Sample | None, list[BadFile]]]):
    """Transformed samples by key; a bad file's place is taken by another sample of the dataset.

    None where a number of others were bad as well.

    Args:
        reader: Where samples come from.
        indices: The reader's indices to train on.
        transform: Applied to every sample.
        seed: First ingredient of every random draw.
    """

    def __init__(
        self, reader: Reader, indices: Sequence[int], transform: TrainTransform, seed: int
    ) -> None:
        self.reader = reader
        self.indices = list(indices)
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: SampleKey) -> tuple[Sample | None, list[BadFile]]:
        rng = np.random.default_rng((self.seed, key.epoch, key.position))
        bad_files: list[BadFile] = []
        position = key.position
        for _ in range(_MAX_REPLACEMENTS):
            sample = read_or_set_aside(self.reader, self.indices[position], bad_files)
            if sample is not None:
                return self.transform(sample, rng), bad_files
            position = int(rng.integers(len(self.indices)))
        # An error raised in a worker would come out as a traceback: the reasons go on instead.
        return None, bad_files


class EvalDataset(Dataset[tuple[Sample | None, list[BadFile]]]):
    """Whole images as they are; None in place of one that cannot be read."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader.sample_ids)

    def __getitem__(self, index: int) -> tuple[Sample | None, list[BadFile]]:
        bad_files: list[BadFile] = []
        return read_or_set_aside(self.reader, index, bad_files), bad_files


def read_or_set_aside(reader: Reader, index: int, bad_files: list[BadFile]) -> Sample | None:
    """The sample, or None with the reason appended to `bad_files`."""
    try:
        return reader[index]
    except DataError as error:
        image_path, mask_path = reader.paths(index)
        path = mask_path if str(mask_path) in str(error) else image_path
        bad_files.append(BadFile(reader.sample_ids[index], path, str(error)))
        return None


class TrainOrder(Sampler[list[SampleKey]]):
    """Micro-batches of keys for all epochs in one stream, so workers never restart.

    Args:
        num_samples: Samples of an epoch; each comes once, in an order drawn from (seed, epoch).
        batch_size: Samples of a micro-batch; the last of an epoch may have fewer.
        seed: Of the order.
        epochs: One past the last epoch.
        first_epoch: Where the stream starts.
        first_micro_batch: Micro-batches of the first epoch to leave out.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        epochs: int,
        first_epoch: int = 0,
        first_micro_batch: int = 0,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.epochs = epochs
        self.first_epoch = first_epoch
        self.first_micro_batch = first_micro_batch

    def __iter__(self) -> Iterator[list[SampleKey]]:
        first = self.first_micro_batch * self.batch_size
        for epoch in range(self.first_epoch, self.epochs):
            order = np.random.default_rng((self.seed, epoch)).permutation(self.num_samples)
            keys = [SampleKey(epoch, int(position)) for position in order]
            for start in range(first, self.num_samples, self.batch_size):
                yield keys[start : start + self.batch_size]
            first = 0


@dataclass
class Quarantine:
    """The files set aside so far: named once each, counted against a limit.

    One bad file is survived, however small the dataset, unless none may be bad.

    Attributes:
        dataset: Its name, for messages.
        num_samples: Samples the dataset lists.
        max_bad_fraction: Share of them that may be bad.
    """

    dataset: str
    num_samples: int
    max_bad_fraction: float
    bad_files: dict[str, BadFile] = field(default_factory=dict)

    def add(self, bad_files: Sequence[BadFile]) -> None:
        """Set files aside.

        Raises:
            DataError: If more than the allowed share of the dataset is bad.
        """
        for bad_file in bad_files:
            if bad_file.sample_id not in self.bad_files:
                self.bad_files[bad_file.sample_id] = bad_file
                logger.warning("set aside %s: %s", bad_file.sample_id, bad_file.reason)
        self._check()

    def to_json(self) -> list[dict[str, str]]:
        """The files set aside, in plain types, for metrics.json and checkpoints."""
        return [
            {"sample_id": bad.sample_id, "path": str(bad.path), "reason": bad.reason}
            for bad in self.bad_files.values()
        ]

    def _check(self) -> None:
        num_allowed = int(self.max_bad_fraction * self.num_samples)
        if self.max_bad_fraction > 0:
            num_allowed = max(1, num_allowed)
        if len(self.bad_files) > num_allowed or len(self.bad_files) >= self.num_samples:
            reasons = join_problems([bad_file.reason for bad_file in self.bad_files.values()])
            raise DataError(
                f"{self.dataset}: {len(self.bad_files)} of {self.num_samples} samples cannot be "
                f"used, at most {num_allowed} may be bad (max_bad_fraction="
                f"{self.max_bad_fraction}): {reasons}; repair or remove these files"
            )


def choose_indices(num_samples: int, max_samples: int | None, seed: int) -> list[int]:
    """Indices to train on: all, or max_samples drawn by seed; more samples include the fewer."""
    if max_samples is None or max_samples >= num_samples:
        return list(range(num_samples))
    order = np.random.default_rng(seed).permutation(num_samples)
    return sorted(int(index) for index in order[:max_samples])


def build_train_loader(
    dataset: TrainDataset, order: TrainOrder, num_workers: int, prefetch_factor: int
) -> DataLoader[Any]:
    """Loader of `Batch`es in the order given."""
    return DataLoader(
        dataset,
        batch_sampler=order,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        **_worker_settings(num_workers, prefetch_factor),
    )


def build_eval_loader(reader: Reader, num_workers: int) -> DataLoader[Any]:
    """Loader of `Batch`es of one whole image each, or of none where the file is bad."""
    return DataLoader(
        EvalDataset(reader),
        batch_size=1,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        **_worker_settings(num_workers, prefetch_factor=2),
    )


def collate(items: Sequence[tuple[Sample | None, list[BadFile]]]) -> Batch:
    """Samples stacked along a new first dimension; (0, ...) tensors where none could be read."""
    samples = [sample for sample, _ in items if sample is not None]
    bad_files = [bad_file for _, item_bad_files in items for bad_file in item_bad_files]
    stacked: dict[str, Any]
    if samples:
        stacked = default_collate(samples)
    else:
        stacked = {
            "image": torch.empty(0, 3, 32, 32, dtype=torch.uint8),
            "segments": torch.empty(0, 32, 32, dtype=torch.uint8),
            "lines": torch.empty(0, 4, 32, 32, dtype=torch.uint8),
            "depth": torch.empty(0, 32, 32),
            "sample_id": [],
        }
    return Batch(
        image=stacked["image"],
        segments=stacked["segments"],
        lines=stacked["lines"],
        depth=stacked["depth"],
        sample_id=list(stacked["sample_id"]),
        bad_files=bad_files,
    )


def _worker_settings(num_workers: int, prefetch_factor: int) -> dict[str, Any]:
    if num_workers == 0:
        return {"num_workers": 0}
    return {
        "num_workers": num_workers,
        "prefetch_factor": prefetch_factor,
        "multiprocessing_context": START_METHOD,
        "worker_init_fn": _start_worker,
    }


def _start_worker(worker_id: int) -> None:  # noqa: ARG001 - the DataLoader passes it
    # Each worker is one thread: the cores belong to the training step.
    cv2.setNumThreads(0)
    leave_with_parent()
    keep_heap_small()
