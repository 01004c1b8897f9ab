"""What it takes to read samples, in time and in memory."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple, cast

import cv2
import numpy as np
import torch

from app.base.units import GIB
from app.commands.probe.making import Making, measure_making
from app.commands.probe.peaks import forget_peaks
from app.data.datasets import Datasets, open_loader
from app.data.loading import collate
from app.data.order import Epochs, SampleKey, TrainOrder, TrainSource
from app.data.reader import TrainReader
from app.data.sample import Sample
from app.data.train_samples import TrainDataset
from app.data.whole_photos import WholePhotos
from app.data.workers import start_worker_server
from app.resources.measurements import Loading
from app.resources.process_memory import own_memory_gib, own_tree, sum_unfiled_gib
from app.resources.shared_memory import count_batch_bytes
from app.settings.hyperparameters import Hyperparameters

_NUM_TIMED_SAMPLES: Final = 6
_NUM_WORKERS: Final = 2
# Read by each worker beyond those that wait to be asked for.
_NUM_BATCHES: Final = 2


def measure_loading(
    hyperparameters: Hyperparameters,
    open_with: Callable[[Hyperparameters], Datasets],
    device: torch.device,
) -> Loading:
    """Read samples, first in this process to time them, then by two workers.

    Args:
        hyperparameters: Settings of the run.
        open_with: Opens its datasets.
        device: Where it trains.
    """
    hyperparameters = hyperparameters.model_copy(update={"num_workers": _NUM_WORKERS})
    datasets = open_with(hyperparameters)
    names = [source.reader.name for source in datasets.train.sources]
    times = [time_samples(datasets, number) for number in range(len(names))]
    made = [_measure_making(datasets, number, device) for number in range(len(names))]
    forget_peaks(device)
    alone_gib = sum_unfiled_gib(own_tree())
    start_worker_server()
    order = datasets.train_order(hyperparameters)
    batches = iter(open_loader(datasets.train, hyperparameters, order, device.type))
    batch = None
    for _ in range(_NUM_WORKERS * (hyperparameters.prefetch_factor + _NUM_BATCHES)):
        batch = next(batches, batch)
    del batch
    time.sleep(1.0)  # until what was asked for is ready
    batch_bytes = count_batch_bytes(hyperparameters, device.type)
    ready_gib = hyperparameters.prefetch_factor * batch_bytes / GIB
    worker_gib = max(0.0, statistics.mean(_read_worker_gib()) - ready_gib)
    together_gib = sum_unfiled_gib(own_tree()) - alone_gib
    return Loading(
        side_px=hyperparameters.crop_size_px,
        server_gib=max(0.0, together_gib - _NUM_WORKERS * (worker_gib + ready_gib)),
        worker_gib=worker_gib,
        sample_s={name: found.sample_s for name, found in zip(names, times, strict=True)},
        read_s={name: found.read_s for name, found in zip(names, times, strict=True)},
        first_s={name: found.first_s for name, found in zip(names, times, strict=True)},
        cut_s={name: found.cut_s for name, found in zip(names, made, strict=True)},
        make_s={name: found.make_s for name, found in zip(names, made, strict=True)},
        made_bytes={name: found.made_bytes for name, found in zip(names, made, strict=True)},
        made_kernels={name: found.made_kernels for name, found in zip(names, made, strict=True)},
    )


class SampleTimes(NamedTuple):
    """CPU seconds of a dataset's samples; see Loading."""

    sample_s: float
    read_s: float
    first_s: float


def time_samples(datasets: Datasets, number: int) -> SampleTimes:
    """What a sample of one of the sources takes, made by one thread as a worker does.

    All are made twice: the first time opens files, and keeps what is kept.
    """
    train = datasets.train
    watched = _WatchedReader(train.sources[number].reader)
    alone = replace(train.sources[number], reader=cast("TrainReader", watched), share=1.0)
    keys = _timed_keys(alone)
    dataset = TrainDataset([alone], train.transform, train.seed)
    with _as_worker():
        for _ in range(2):
            watched.read_s, begun_s = 0.0, time.process_time()
            for key in keys:
                collate([dataset[key]])
            took_s = time.process_time() - begun_s
        first_s = _time_first(watched.reader, min(len(watched.reader), _NUM_TIMED_SAMPLES))
    return SampleTimes(took_s / len(keys), watched.read_s / len(keys), first_s)


def _measure_making(datasets: Datasets, number: int, device: torch.device) -> Making:
    """What a sample of one of the sources takes where a device makes it."""
    train = datasets.train
    alone = replace(train.sources[number], share=1.0)
    with _as_worker():
        return measure_making(alone, train.transform, train.seed, _timed_keys(alone), device)


def _timed_keys(alone: TrainSource) -> list[SampleKey]:
    order = TrainOrder([alone], Epochs(_NUM_TIMED_SAMPLES, batch_size=1, seed=0))
    return [key for [key] in order]


@contextlib.contextmanager
def _as_worker() -> Iterator[None]:
    """One thread for all that is done within."""
    cv2.setNumThreads(0)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # others would wait in a loop, whose time counts: three to six times
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _time_first(reader: TrainReader, num_photos: int) -> float:
    """CPU seconds that a photo takes more when it is not kept."""
    if not isinstance(reader, WholePhotos):
        return 0.0
    times_s = []
    for read in (reader.read, reader.__getitem__):
        for index in range(num_photos):
            read(index)  # into the page cache, or kept
        begun_s = time.process_time()
        for index in range(num_photos):
            read(index)
        times_s.append(time.process_time() - begun_s)
    return max(0.0, times_s[0] - times_s[1]) / num_photos


class _WatchedReader:
    """A reader, and the CPU seconds that it has taken to draw samples."""

    def __init__(self, reader: TrainReader) -> None:
        self.reader = reader
        self.read_s = 0.0

    def __len__(self) -> int:
        return len(self.reader)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the reader has
        return getattr(self.reader, name)

    def draw(self, index: int, span_m: float, rng: np.random.Generator) -> Sample:
        """As TrainReader.draw."""
        begun_s = time.process_time()
        try:
            return self.reader.draw(index, span_m, rng)
        finally:
            self.read_s += time.process_time() - begun_s


def _read_worker_gib() -> list[float]:
    """What each process that the server has forked shares with no other."""
    _, *descendants = own_tree()
    workers = [process for process in descendants if process.ppid() != os.getpid()]
    return [own_memory_gib(process) for process in workers]
