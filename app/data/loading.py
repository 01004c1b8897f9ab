"""From samples to micro-batches: whole photos, bad files, loaders."""

import contextlib
import multiprocessing
import multiprocessing.process
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from app.base.errors import SampleError, WorkerLostError
from app.base.logs import ignore_expected_warnings
from app.data.geometry import SAME_GSD_TOLERANCE, pixel_ratio, size_at
from app.data.order import ALONE, SampleKey, Shard
from app.data.photos import LargePhoto, Photo, ReadyPhoto
from app.data.reader import Reader
from app.data.sample import PLANES, BadFile, BadFiles, Planes, Sample, make_planes
from app.data.train_samples import KeyedSamples
from app.data.transforms import EvalTransform
from app.data.waiting import PatientReader, wait_for
from app.data.workers import START_METHOD, keep_heap_small, leave_with_parent
from app.resources.process_memory import trim_heap
from app.settings.hyperparameters import LEAST_WINDOW_PX

Item = TypeVar("Item")
Made = TypeVar("Made")


class Batch(Planes):
    """Samples stacked: see Sample, with a batch dimension in front and lines at their width."""

    sample_id: list[str]
    bad_files: BadFiles


class EvalDataset(Dataset[tuple[Sample | None, BadFiles] | int]):
    """Whole photos at the common ground sampling distance.

    Args:
        reader: Where samples come from.
        transform: Applied to every sample.
        indices: Which samples; all by default.
        window_px: Side of a window; photos that are larger are kept as their files have them.
    """

    def __init__(
        self,
        reader: Reader,
        transform: EvalTransform,
        indices: Sequence[int] | None = None,
        window_px: int = LEAST_WINDOW_PX,
    ) -> None:
        self.reader = reader
        self.transform = transform
        self.indices = range(len(reader)) if indices is None else indices
        self.window_px = window_px
        # Photos of nearly the common distance keep their pixels, and may be as much wider.
        self._largest_m = window_px * transform.gsd_m * (1 + SAME_GSD_TOLERANCE)

    def __len__(self) -> int:
        return len(self.indices)

    def open_photo(self, index: int) -> tuple[Photo | None, BadFiles]:
        """A photo, read by this process; None where it cannot be read."""
        try:
            sample = self.reader[self.indices[index]]
            height, width = sample["image"].shape[-2:]
            size = size_at(height, width, pixel_ratio(sample, self.transform.gsd_m))
            if max(size) > self.window_px:
                photo = LargePhoto(sample, self.transform)
                del sample
                trim_heap()  # reading has freed as much again, of which a thread's heap keeps most
                return photo, {}
            return ReadyPhoto.of(self.transform(sample)), {}
        except SampleError as error:
            return None, {self.reader.name: [BadFile.of(error)]}

    def __getitem__(self, index: int) -> tuple[Sample | None, BadFiles] | int:
        """A photo as a worker hands it over; of one larger than a window, its number.

        Those would fill /dev/shm, and as many be in memory as there are workers.
        """
        extent_m = self.reader.extent_m(self.indices[index])
        if extent_m is not None and max(extent_m) > self._largest_m:
            return index
        try:
            return self.transform(self.reader[self.indices[index]]), {}
        except SampleError as error:
            return None, {self.reader.name: [BadFile.of(error)]}


def build_train_loader(
    dataset: KeyedSamples[Any, Made],
    order: Iterable[list[SampleKey]],
    num_workers: int,
    prefetch_factor: int,
    stack: Callable[[Sequence[tuple[Made | None, BadFiles]]], Any] | None = None,
) -> DataLoader[Any]:
    """Loader of micro-batches in the order given.

    Args:
        dataset: The samples.
        order: Keys of the micro-batches.
        num_workers: Processes that read; with 0 this one does.
        prefetch_factor: Micro-batches that each keeps ready.
        stack: Makes a micro-batch; `collate` by default.
    """
    return DataLoader(
        dataset,
        batch_sampler=order,
        collate_fn=stack or collate,
        pin_memory=torch.cuda.is_available(),
        **_worker_settings(num_workers, prefetch_factor),
    )


def read_photos(
    dataset: EvalDataset,
    num_workers: int,
    shard: Shard = ALONE,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Generator[tuple[Photo | None, BadFiles], None, None]:
    """The photos of a dataset, one by one; None for one that cannot be read.

    Workers read those no larger than a window ahead. Larger ones are read here when their turn
    comes, so that one of them is in memory at a time.

    Of several ranks, each gets every num_ranks-th photo, and none comes twice.

    Raises:
        StopRequested: If asked to stop while a photo cannot be read.
        WorkerLostError: If a worker has ended.
    """
    what = f"a validation image of {dataset.reader.title}"

    def open_photo(index: int) -> tuple[Photo | None, BadFiles]:
        return wait_for(partial(dataset.open_photo, index), what, stop_requested)

    indices = range(shard.rank, len(dataset), shard.num_ranks)
    if num_workers == 0:
        yield from map(open_photo, indices)
        return
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=None,
        sampler=indices,
        collate_fn=_keep_item,
        pin_memory=torch.cuda.is_available(),
        **_worker_settings(num_workers, prefetch_factor=2),
    )
    items: PatientBatches[Any] = PatientBatches(loader, lambda: what, stop_requested)
    with contextlib.closing(items):
        for item in items:
            if isinstance(item, int):
                yield open_photo(item)
                continue
            sample, bad_files = item
            yield None if sample is None else ReadyPhoto.of(sample), bad_files


def _keep_item(item: object) -> object:
    return item


class PatientBatches(Iterator[Item]):
    """What a loader gives, batch by batch or item by item, waited for by a PatientReader.

    Args:
        loader: Its workers start with the first batch.
        what: Names the next batch, for warnings of a stall.
        stop_requested: Asked while a batch is waited for.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        what: Callable[[], str],
        stop_requested: Callable[[], bool],
    ) -> None:
        self._loader = loader
        self._batches: Iterator[Item] | None = None
        self._workers: set[multiprocessing.process.BaseProcess] = set()
        self._is_closed = False
        self._device: int | None = None
        self._reader: PatientReader[Item | None] = PatientReader(self._read, what, stop_requested)

    def __next__(self) -> Item:
        """The next batch.

        Raises:
            StopRequested: If asked to stop while it is not there; a later call waits for the same.
            WorkerLostError: If a worker has ended.
        """
        if self._is_closed:
            raise StopIteration
        if self._batches is None:
            # A thread has a CUDA device of its own; pinning memory would claim the first one.
            self._device = (
                torch.cuda.current_device()
                if torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
                else None
            )
            others = set(multiprocessing.active_children())
            self._batches = iter(self._loader)
            self._workers = set(multiprocessing.active_children()) - others
        try:
            batch = self._reader.next()
        except RuntimeError as error:
            if ends := [worker.exitcode for worker in self._workers if worker.exitcode]:
                raise WorkerLostError(ends[0]) from error
            raise
        if batch is None:
            self.close()
            raise StopIteration
        return batch

    def close(self) -> None:
        """End the workers; those that are stuck are killed."""
        if self._reader.is_reading:
            for worker in self._workers:
                worker.kill()
        self._reader.close()
        self._is_closed = True
        self._batches = None  # its workers end with it

    def _read(self) -> Item | None:
        if self._device is not None:
            torch.cuda.set_device(self._device)
        assert self._batches is not None
        return next(self._batches, None)


def add_bad_files(bad_files: BadFiles, found: BadFiles) -> None:
    """Add a sample's bad files to those of others."""
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
