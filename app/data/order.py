"""Which samples a training run draws, in which order: shares, passes, epochs and ranks.

Made of numbers alone, so a run that starts in the middle of an epoch draws exactly what it would
have drawn.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from app.data.reader import TrainReader


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


@dataclass(frozen=True)
class Epochs:
    """Size and seed of an order of samples.

    Attributes:
        num_samples: Samples of an epoch, of all sources and on all ranks.
        batch_size: Samples of a micro-batch; the last of an epoch may have fewer.
        seed: Seed of the order.
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
        shard: The part of it that this process gets.
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
    """Without end, the source of each sample and how many samples it gave before.

    The source is always the one furthest behind its share, counted across epochs: if every epoch
    began at zero, a source with a small share would come in none of them.
    """
    counts = [0] * len(shares)
    while True:
        turn = min(range(len(shares)), key=lambda i: ((counts[i] + 0.5) / shares[i], i))
        yield turn, counts[turn]
        counts[turn] += 1


def samples_of_one_pass(sources: Sequence[TrainSource]) -> int:
    """Samples, over all sources by their shares, until the first source has been seen once."""
    return min(math.ceil(source.samples_per_pass / source.share) for source in sources)


def choose_indices(
    reader: TrainReader, max_samples: int | None, seed: int
) -> npt.NDArray[np.int64] | None:
    """Samples to train on: None for all, or max_samples drawn by seed; more include fewer."""
    if max_samples is None or max_samples >= len(reader):
        return None
    rng = np.random.default_rng(seed)
    # An order may visit some samples often and others never: those come last.
    order = np.concatenate((reader.pass_order(rng), rng.permutation(len(reader))))
    first_visits = np.sort(np.unique(order, return_index=True)[1])
    return np.sort(order[first_visits[:max_samples]])
