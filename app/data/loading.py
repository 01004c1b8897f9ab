"""From readers to micro-batches: shares, a resumable order, random draws by key, bad files.

A training sample depends on (seed, epoch, its number in the epoch) alone. So it is the same with 0
or 8 workers, and a run that starts in the middle of an epoch sees exactly what it would have seen.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from app.base.dataset_names import DatasetName
from app.base.errors import SampleError
from app.base.logs import ignore_expected_warnings
from app.data.reader import Reader, TrainReader
from app.data.sample import PLANES, BadFile, Planes, Sample, make_planes
from app.data.transforms import EvalTransform, TrainTransform
from app.data.workers import START_METHOD, keep_heap_small, leave_with_parent

_MAX_REPLACEMENTS = 20


# What cannot be read, by the name of its dataset.
BadFiles = dict[DatasetName, list[BadFile]]


class SampleKey(NamedTuple):
    """What a training sample, with all its random draws, is made from.

    Attributes:
        epoch: From 0.
        draw: Which sample of the epoch.
        source: Which of the datasets trained on.
        indices: Samples of its reader: one, or a square number of small ones.
    """

    epoch: int
    draw: int
    source: int
    indices: tuple[int, ...]


class Batch(Planes):
    """Samples stacked: see Sample, with a batch dimension in front and lines at their width."""

    sample_id: list[str]
    bad_files: BadFiles


@dataclass(frozen=True)
class TrainSource:
    """One of the datasets trained on.

    Attributes:
        reader: Its training samples.
        share: Its part of every step, in (0, 1]; those of all sources add up to 1.
        per_side: How many of its photos lie side by side in a training sample.
        indices: (n,) of the samples to use, or None for all in the reader's own order.
    """

    reader: TrainReader
    share: float
    per_side: int
    indices: npt.NDArray[np.int64] | None

    @property
    def num_photos(self) -> int:
        """Photos, or parts of large ones, of one pass."""
        return len(self.reader) if self.indices is None else len(self.indices)

    @property
    def samples_per_pass(self) -> int:
        """Training samples of one pass."""
        return math.ceil(self.num_photos / self.per_side**2)

    def pass_keys(self, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """The indices of every training sample of one pass."""
        if self.indices is None:
            order = self.reader.pass_order(rng)
        else:
            order = rng.permutation(self.indices)
        # The last sample is filled up with photos that come again.
        rows = np.resize(order, (self.samples_per_pass, self.per_side**2))
        return [tuple(map(int, row)) for row in rows]


class TrainDataset(Dataset[tuple[Sample | None, BadFiles]]):
    """Transformed samples by key; a bad file's place is taken by another sample of its dataset.

    None where a number of others were bad as well.

    Args:
        sources: Where samples come from.
        transform: Applied to every sample.
        seed: First ingredient of every random draw.
    """

    def __init__(
        self, sources: Sequence[TrainSource], transform: TrainTransform, seed: int
    ) -> None:
        self.sources = list(sources)
        self.transform = transform
        self.seed = seed

    def __getitem__(self, key: SampleKey) -> tuple[Sample | None, BadFiles]:
        rng = np.random.default_rng((self.seed, key.epoch, key.draw))
        source = self.sources[key.source]
        bad_files: list[BadFile] = []
        windows = [self._cut(source, index, rng, bad_files) for index in key.indices]
        # An error raised in a worker would come out as a traceback: reasons are returned instead.
        found = [window for window in windows if window is not None]
        complete = len(found) == len(windows)
        sample = self.transform.compose(found, rng) if complete else None
        return sample, {source.reader.name: bad_files} if bad_files else {}

    def _cut(
        self, source: TrainSource, index: int, rng: np.random.Generator, bad_files: list[BadFile]
    ) -> Sample | None:
        for _ in range(_MAX_REPLACEMENTS):
            try:
                return self.transform.cut(source.reader, index, source.per_side, rng)
            except SampleError as error:
                bad_files.append(BadFile(error.sample_id, error.path, str(error)))
            replacement = int(rng.integers(source.num_photos))
            index = replacement if source.indices is None else int(source.indices[replacement])
        return None


class EvalDataset(Dataset[tuple[Sample | None, BadFiles]]):
    """Whole images at the common ground sampling distance; None for one that cannot be read.

    Args:
        reader: Where samples come from.
        transform: Applied to every sample.
        indices: Which samples; all by default.
    """

    def __init__(
        self, reader: Reader, transform: EvalTransform, indices: Sequence[int] | None = None
    ) -> None:
        self.reader = reader
        self.transform = transform
        self.indices = range(len(reader)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Sample | None, BadFiles]:
        try:
            return self.transform(self.reader[self.indices[index]]), {}
        except SampleError as error:
            return None, {self.reader.name: [BadFile(error.sample_id, error.path, str(error))]}


@dataclass(frozen=True)
class Epochs:
    """What an order is of.

    Attributes:
        num_samples: Samples of an epoch, of all sources and on all ranks.
        batch_size: Samples of a micro-batch; the last of an epoch may have fewer.
        seed: Of the order.
        num_epochs: One past the last epoch.
    """

    num_samples: int
    batch_size: int
    seed: int
    num_epochs: int = 1


@dataclass(frozen=True)
class Start:
    """Where an order starts.

    Attributes:
        epoch: The first one.
        micro_batch: Micro-batches of that epoch, of all ranks, to leave out.
    """

    epoch: int = 0
    micro_batch: int = 0


@dataclass(frozen=True)
class Shard:
    """Which part of an order a training process gets: every num_ranks-th micro-batch.

    Attributes:
        rank: Its number.
        num_ranks: Training processes, which take turns.
    """

    rank: int = 0
    num_ranks: int = 1


BEGINNING: Final = Start()
ALONE: Final = Shard()


class TrainOrder(Sampler[list[SampleKey]]):
    """Micro-batches of keys for all epochs in one stream, so workers never restart.

    Every step holds the sources in the proportion of their shares, to one sample. A source goes
    through its samples pass by pass, in an order drawn from (seed, source, pass), wherever epochs
    begin.

    Args:
        sources: Where samples come from.
        epochs: What the order is of.
        start: Where it starts.
        shard: Whose part of it this is.
    """

    def __init__(
        self,
        sources: Sequence[TrainSource],
        epochs: Epochs,
        start: Start = BEGINNING,
        shard: Shard = ALONE,
    ) -> None:
        self.sources = list(sources)
        self.epochs = epochs
        self.start = start
        self.shard = shard

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return itertools.islice(
            self._all_micro_batches(), self.shard.rank, None, self.shard.num_ranks
        )

    def _all_micro_batches(self) -> Iterator[list[SampleKey]]:
        num_samples, batch_size = self.epochs.num_samples, self.epochs.batch_size
        first = self.start.micro_batch * batch_size
        passes = [_Passes(i, source, self.epochs.seed) for i, source in enumerate(self.sources)]
        turns = _take_turns([source.share for source in self.sources])
        turns = itertools.islice(turns, self.start.epoch * num_samples, None)
        for epoch in range(self.start.epoch, self.epochs.num_epochs):
            drawn = list(itertools.islice(turns, num_samples))
            for begin in range(first, len(drawn), batch_size):
                yield [
                    SampleKey(epoch, begin + i, source, passes[source][place])
                    for i, (source, place) in enumerate(drawn[begin : begin + batch_size])
                ]
            first = 0


class _Passes:
    """The samples of a source, pass after pass without end; the last pass asked for is kept."""

    def __init__(self, source_index: int, source: TrainSource, seed: int) -> None:
        self.source_index = source_index
        self.source = source
        self.seed = seed
        self._number = -1
        self._keys: list[tuple[int, ...]] = []

    def __getitem__(self, place: int) -> tuple[int, ...]:
        number, place_in_pass = divmod(place, self.source.samples_per_pass)
        if number != self._number:
            rng = np.random.default_rng((self.seed, self.source_index, number))
            self._number, self._keys = number, self.source.pass_keys(rng)
        return self._keys[place_in_pass]


def _take_turns(shares: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Without end, which source each sample is from and how many it gave before.

    Always the one that is furthest behind its share, also across epochs: if each began at zero, a
    source with a small share would come in none of them.
    """
    counts = [0] * len(shares)
    while True:
        turn = min(range(len(shares)), key=lambda i: ((counts[i] + 0.5) / shares[i], i))
        yield turn, counts[turn]
        counts[turn] += 1


def samples_of_one_pass(sources: Sequence[TrainSource]) -> int:
    """Samples, of all sources by their shares, after which the first one has been seen once."""
    return min(math.ceil(source.samples_per_pass / source.share) for source in sources)


def choose_indices(
    reader: TrainReader, max_samples: int | None, seed: int
) -> npt.NDArray[np.int64] | None:
    """Samples to train on: None for all, or max_samples drawn by seed; more include the fewer."""
    if max_samples is None or max_samples >= len(reader):
        return None
    rng = np.random.default_rng(seed)
    # An order may visit some samples often and others never: those come last.
    order = np.concatenate((reader.pass_order(rng), rng.permutation(len(reader))))
    first_visits = np.sort(np.unique(order, return_index=True)[1])
    return np.sort(order[first_visits[:max_samples]])


def build_train_loader(
    dataset: TrainDataset,
    order: Iterable[list[SampleKey]],
    num_workers: int,
    prefetch_factor: int,
) -> DataLoader[Any]:
    """Loader of `Batch`es in the order given."""
    return DataLoader(
        dataset,
        batch_sampler=order,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        **_worker_settings(num_workers, prefetch_factor),
    )


def build_eval_loader(
    dataset: EvalDataset, num_workers: int, rank: int = 0, num_ranks: int = 1
) -> DataLoader[Any]:
    """Loader of `Batch`es of one whole image each, or of none where the file is bad.

    Of several ranks, each gets every num_ranks-th image, and none comes twice.
    """
    return DataLoader(
        dataset,
        batch_size=1,
        sampler=range(rank, len(dataset), num_ranks),
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        **_worker_settings(num_workers, prefetch_factor=2),
    )


def add_bad_files(bad_files: BadFiles, found: BadFiles) -> None:
    """Add those of a sample to those of others."""
    for name, files in found.items():
        bad_files.setdefault(name, []).extend(files)


def collate(items: Sequence[tuple[Sample | None, BadFiles]]) -> Batch:
    """Samples stacked along a new first dimension; (0, ...) tensors where none could be read."""
    samples = [sample for sample, _ in items if sample is not None]
    bad_files: BadFiles = {}
    for _, found in items:
        add_bad_files(bad_files, found)
    if samples:
        planes = make_planes(lambda name: default_collate([sample[name] for sample in samples]))
    else:
        planes = make_planes(lambda name: PLANES[name].filled(0, 32, 32, num_samples=0))
    return {
        **planes,
        "sample_id": [sample["sample_id"] for sample in samples],
        "bad_files": bad_files,
    }


def split_batch(batch: Batch, max_samples: int | None) -> list[Batch]:
    """The batch in parts of at most so many samples; whole where there is no limit."""
    num_samples = len(batch["sample_id"])
    if max_samples is None or num_samples <= max_samples:
        return [batch]
    starts = range(0, num_samples, max_samples)
    return [_take_samples(batch, slice(start, start + max_samples)) for start in starts]


def _take_samples(batch: Batch, samples: slice) -> Batch:
    return {
        **make_planes(lambda name: batch[name][samples]),
        "sample_id": batch["sample_id"][samples],
        "bad_files": {},
    }


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
    ignore_expected_warnings()
    leave_with_parent()
    keep_heap_small()
