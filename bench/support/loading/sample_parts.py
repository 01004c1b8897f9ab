"""A process that makes training samples of a dataset as a data worker does, and times their parts.

A line on standard input says how many; the answer is a line of JSON on standard output, with CPU
seconds by part.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch

from app.base.dataset_names import DATASET_NAMES, DatasetName
from app.base.logs import ignore_expected_warnings
from app.data import loading
from app.data.datasets import open_reader
from app.data.on_device.batches import collate_cut
from app.data.on_device.cutting import CutTransform
from app.data.order import SampleKey, TrainSource
from app.data.train_samples import KeyedSamples, TrainDataset
from app.data.transforms import TrainTransform, windows_per_side
from app.data.workers import keep_heap_small
from app.resources.sample_path import device_makes_samples
from app.settings.texts import parse_hyperparameters
from bench.support.loading.parts import REST, PartTimer

_BATCH_SIZE = 4


class PartedSamples:
    """Training samples of one dataset, timed by their parts, as long as it is open.

    Args:
        name: The dataset.
        root: Its folder.
        size_px: Side of a sample.
        scratch_dir: Where readers may keep what can be made again.
        device: Kind of the device that trains: for "cuda" samples are cut only.

    Attributes:
        source: The samples that are read, each once in a pass.
    """

    def __init__(
        self,
        name: DatasetName,
        root: Path,
        size_px: int,
        scratch_dir: Path,
        device: str = "cpu",
    ) -> None:
        hyperparameters = parse_hyperparameters({"crop_size_px": size_px, "datasets": name})
        reader = open_reader(name, root, "train", hyperparameters, scratch_dir)
        per_side = windows_per_side(size_px, reader.span_m / hyperparameters.gsd_m)
        self.source = TrainSource(reader, share=1.0, per_side=per_side, indices=None)
        transform = TrainTransform(size_px, hyperparameters.gsd_m)
        self._dataset: KeyedSamples[Any, Any]
        if device_makes_samples(hyperparameters, device):
            self._dataset = KeyedSamples([self.source], CutTransform(transform), seed=0)
            self._collate: Callable[[Any], object] = collate_cut
        else:
            self._dataset = TrainDataset([self.source], transform, seed=0)
            self._collate = loading.collate
        self._timer = PartTimer()
        self._keys = self._all_keys()

    def read(self, num_samples: int) -> dict[str, float]:
        """CPU seconds by part of so many samples, or of a few more that fill a batch."""
        with self._timer.timing(), self._timer.part(REST):
            for _ in range(0, num_samples, _BATCH_SIZE):
                items = [self._dataset[next(self._keys)] for _ in range(_BATCH_SIZE)]
                with self._timer.part("collate"), _as_in_worker():
                    batch = self._collate(items)
                with self._timer.part("hand over"):
                    ForkingPickler.dumps(batch)
        return self._timer.take()

    def _all_keys(self) -> Iterator[SampleKey]:
        for epoch in range(10**6):
            rng = np.random.default_rng(epoch)
            for draw, indices in enumerate(self.source.pass_keys(rng)):
                yield SampleKey(epoch, draw, 0, indices)


def _as_in_worker() -> AbstractContextManager[object]:
    """Batches go into shared memory, as those of data workers do."""
    info = SimpleNamespace(id=0)
    return mock.patch.object(torch.utils.data, "get_worker_info", return_value=info)


def main() -> None:
    """Answer line by line until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", choices=DATASET_NAMES)
    parser.add_argument("root", type=Path)
    parser.add_argument("size_px", type=int)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    ignore_expected_warnings()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_heap_small()
    with tempfile.TemporaryDirectory(prefix="parts-") as scratch_dir:
        samples = PartedSamples(
            options.dataset, options.root, options.size_px, Path(scratch_dir), options.device
        )
        for line in sys.stdin:
            print(json.dumps(samples.read(int(line))), flush=True)


if __name__ == "__main__":
    main()
