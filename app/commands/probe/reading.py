"""What it takes to read samples, in time and in memory."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import cv2
import torch

from app.base.units import GIB
from app.commands.probe.peaks import forget_peaks
from app.data.datasets import Datasets
from app.data.loading import build_train_loader
from app.data.order import Epochs, TrainOrder
from app.data.workers import start_worker_server
from app.resources.measurements import Loading
from app.resources.process_memory import own_memory_gib, own_tree, sum_shared_once_gib
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
    sample_s: dict[str, float] = {
        source.reader.name: time_samples(datasets, number)
        for number, source in enumerate(datasets.train.sources)
    }
    forget_peaks(device)
    alone_gib = sum_shared_once_gib(own_tree())
    start_worker_server()
    loader = build_train_loader(
        datasets.train,
        datasets.train_order(hyperparameters),
        _NUM_WORKERS,
        hyperparameters.prefetch_factor,
    )
    batches = iter(loader)
    batch = None
    for _ in range(_NUM_WORKERS * (hyperparameters.prefetch_factor + _NUM_BATCHES)):
        batch = next(batches, batch)
    del batch
    time.sleep(1.0)  # until what was asked for is ready
    ready_gib = hyperparameters.prefetch_factor * count_batch_bytes(hyperparameters) / GIB
    worker_gib = max(0.0, statistics.mean(_read_worker_gib()) - ready_gib)
    together_gib = sum_shared_once_gib(own_tree()) - alone_gib
    return Loading(
        side_px=hyperparameters.crop_size_px,
        server_gib=max(0.0, together_gib - _NUM_WORKERS * (worker_gib + ready_gib)),
        worker_gib=worker_gib,
        sample_s=sample_s,
    )


def time_samples(datasets: Datasets, number: int) -> float:
    """CPU seconds of a sample of one of the sources, read by one thread as a worker does."""
    cv2.setNumThreads(0)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # others would wait in a loop, whose time counts: three to six times
    alone = replace(datasets.train.sources[number], share=1.0)
    order = TrainOrder([alone], Epochs(_NUM_TIMED_SAMPLES + 1, batch_size=1, seed=0))
    times_s = []
    try:
        for [key] in order:
            begun_s = time.process_time()
            datasets.train[key._replace(source=number)]
            times_s.append(time.process_time() - begun_s)
    finally:
        torch.set_num_threads(num_threads)
    return statistics.mean(times_s[1:])  # the first opens files


def _read_worker_gib() -> list[float]:
    """What each process that the server has forked shares with no other."""
    _, *descendants = own_tree()
    workers = [process for process in descendants if process.ppid() != os.getpid()]
    return [own_memory_gib(process) for process in workers]
