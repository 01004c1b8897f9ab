import multiprocessing
import os
import shutil
import signal
import threading
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch
from rasterio.env import get_gdal_config
from rasterio.windows import Window
from torch.utils.data import DataLoader

from app.base.errors import StopRequested
from app.data import order
from app.data.files.rasters import OpenRasters, StoredRaster
from app.data.files.turns import Turn
from app.data.loading import EvalDataset, PatientBatches, build_train_loader, collate, read_photos
from app.data.rid.dataset import RidDataset
from app.data.sample import BadFile
from app.data.train_samples import TrainDataset
from app.data.transforms import EvalTransform, TrainTransform
from app.data.workers import START_METHOD
from tests.support.fakes import write_raster
from tests.support.samples import check_sample


@pytest.fixture
def rid_dir(small_ml, tmp_path):
    return shutil.copytree(small_ml / "input/data/rid", tmp_path / "rid")


def train_dataset(rid_dir, seed=0):
    source = order.TrainSource(RidDataset(rid_dir, "train"), share=1.0, per_side=1, indices=None)
    return TrainDataset([source], TrainTransform(64, 0.1), seed)


def stream(dataset, num_workers, **start):
    visits = order.TrainOrder(
        dataset.sources, order.Epochs(12, 5, seed=7, num_epochs=2), order.Start(**start)
    )
    return list(build_train_loader(dataset, visits, num_workers, prefetch_factor=2))


def assert_same(batches, others):
    assert [batch["sample_id"] for batch in batches] == [batch["sample_id"] for batch in others]
    for batch, other in zip(batches, others, strict=True):
        assert torch.equal(batch["image"], other["image"])
        assert torch.equal(batch["segments"], other["segments"])
        assert torch.equal(batch["lines"], other["lines"])


def test_every_sample_comes_once_an_epoch_in_another_order(rid_dir):
    batches = stream(train_dataset(rid_dir), 0)
    assert [len(batch["sample_id"]) for batch in batches] == [5, 5, 2] * 2
    epochs = [
        [name for batch in half for name in batch["sample_id"]]
        for half in (batches[:3], batches[3:])
    ]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert len(set(epochs[0])) == 12
    assert epochs[0] != epochs[1]


@pytest.mark.slow
def test_workers_change_nothing(rid_dir):
    dataset = train_dataset(rid_dir)
    assert_same(stream(dataset, 0), stream(dataset, 2))


class PhotoInWorker:
    """Reads a photo, and passes what a person would see as bad files: warnings, cache limits."""

    reader = SimpleNamespace(title="Photos")

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 1

    def __getitem__(self, index):
        stored = StoredRaster(self.path, 8, 8, Turn(), self.path.stat().st_size)
        rasters = OpenRasters(self.path.parent, "")
        limits = []
        with warnings.catch_warnings(record=True) as caught:
            # The second time, the file is still open.
            for _ in range(2):
                rasters.read_photo(stored, Window(0, 0, 8, 8))
                limits.append(get_gdal_config("GDAL_CACHEMAX"))
            with rasterio.open(self.path):
                limits.append(get_gdal_config("GDAL_CACHEMAX"))
        return None, {"rid": [str(warning.message) for warning in caught], "airs": limits}


@pytest.mark.slow
def test_workers_read_in_silence_and_in_bounded_memory(tmp_path):
    photo = PhotoInWorker(write_raster(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8)))
    # GDAL's own limit is 5 % of the machine's memory, in every worker.
    assert list(read_photos(photo, 1)) == [(None, {"rid": [], "airs": [64 * 2**20] * 3})]


def test_a_stream_started_in_the_middle_goes_on_as_it_would_have(rid_dir):
    dataset = train_dataset(rid_dir)
    whole = stream(dataset, 0)
    assert_same(whole[4:], stream(dataset, 0, epoch=1, micro_batch=1))


class Stalling:
    """A sample for each number; one of them cannot be read until it is allowed."""

    def __init__(self, dataset, stalled):
        self.dataset = dataset
        self.stalled = stalled
        self.is_there = threading.Event()

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        if index == self.stalled:
            self.is_there.wait(60)
        return self.dataset[index]


def test_a_stalled_sample_does_not_hold_up_a_stop_and_comes_later(rid_dir):
    whole = EvalDataset(RidDataset(rid_dir, "val"), EvalTransform(0.1))
    dataset, is_asked = Stalling(whole, 1), threading.Event()
    loader = DataLoader(dataset, batch_size=None)
    samples = PatientBatches(loader, lambda: "a photo", is_asked.is_set)
    found = [next(samples)]
    is_asked.set()
    with pytest.raises(StopRequested):
        next(samples)
    dataset.is_there.set()
    found += list(samples)
    names = [sample["sample_id"] for sample, _ in found]
    assert names == [whole[index][0]["sample_id"] for index in range(len(whole))]
    assert list(samples) == []


@pytest.mark.slow
def test_a_worker_that_is_stuck_does_not_outlive_its_batches(rid_dir):
    dataset = EvalDataset(RidDataset(rid_dir, "val"), EvalTransform(0.1), indices=[0, 1, 2] * 20)
    is_asked = threading.Event()
    loader = DataLoader(
        dataset, batch_size=None, num_workers=1, multiprocessing_context=START_METHOD
    )
    batches = PatientBatches(loader, lambda: "a photo", is_asked.is_set)
    next(batches)
    [worker] = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGSTOP)  # as one that waits for a disk which is gone
    is_asked.set()
    with pytest.raises(StopRequested):
        for _ in batches:
            pass
    started_s = time.monotonic()
    batches.close()
    worker.join(30)
    assert worker.exitcode == -signal.SIGKILL
    assert time.monotonic() - started_s < 4  # PyTorch itself would wait for 5 s


def test_draws_differ_by_epoch_and_seed(rid_dir):
    samples = [
        train_dataset(rid_dir, seed)[order.SampleKey(epoch, 3, 0, (3,))][0]["image"]
        for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])
    assert not torch.equal(samples[0], samples[3])


def break_image(rid_dir, sample_id):
    path = rid_dir / f"images_roof_centered_geotiff/{sample_id}.tif"
    path.write_bytes(path.read_bytes()[:200])


def test_a_bad_file_is_replaced_and_named(rid_dir):
    dataset = train_dataset(rid_dir)
    bad_id = dataset.sources[0].reader.sample_ids[4]
    break_image(rid_dir, bad_id)
    sample, bad_files = dataset[order.SampleKey(0, 4, 0, (4,))]
    check_sample(sample)
    assert sample["sample_id"] != bad_id
    assert [bad.sample_id for bad in bad_files["rid"]] == [bad_id]
    assert f"{bad_id}.tif" in bad_files["rid"][0].reason
    again, _ = dataset[order.SampleKey(0, 4, 0, (4,))]
    assert torch.equal(again["image"], sample["image"])


def test_validation_leaves_a_bad_file_out(rid_dir):
    reader = RidDataset(rid_dir, "val")
    break_image(rid_dir, reader.sample_ids[1])
    first, second, third = read_photos(EvalDataset(reader, EvalTransform(0.1)), num_workers=0)
    assert [first[0].sample_id, third[0].sample_id] == reader.sample_ids[::2]
    assert second[0] is None
    assert second[1]["rid"][0].sample_id == reader.sample_ids[1]


def test_nothing_but_bad_files_is_no_sample(rid_dir):
    dataset = train_dataset(rid_dir)
    for sample_id in dataset.sources[0].reader.sample_ids:
        break_image(rid_dir, sample_id)
    sample, bad_files = dataset[order.SampleKey(0, 0, 0, (0,))]
    assert sample is None
    assert len(bad_files["rid"]) == 20


def test_a_rank_without_photos_to_validate_on(rid_dir):
    dataset = EvalDataset(RidDataset(rid_dir, "val"), EvalTransform(0.1))
    assert list(read_photos(dataset, 0, order.Shard(3, 4))) == []


def test_ranks_share_the_images_to_validate_on(rid_dir):
    dataset = EvalDataset(RidDataset(rid_dir, "val"), EvalTransform(0.1))
    first, second, third = dataset.reader.sample_ids
    parts = [
        [photo.sample_id for photo, _ in read_photos(dataset, 0, order.Shard(i, 2))] for i in (0, 1)
    ]
    assert parts == [[first, third], [second]]


def bad(name):
    return BadFile(name, f"{name}.tif", f"RID: {name}.tif: truncated")


def test_collate_of_nothing_keeps_the_bad_files():
    batch = collate([(None, {"rid": [bad("a")]}), (None, {"rid": [bad("b")], "airs": [bad("c")]})])
    assert batch["sample_id"] == []
    assert batch["bad_files"] == {"rid": [bad("a"), bad("b")], "airs": [bad("c")]}


def test_eval_dataset_gives_whole_images(rid_dir):
    dataset = EvalDataset(RidDataset(rid_dir, "val"), EvalTransform(0.1), [2, 0])
    assert len(dataset) == 2
    sample, _ = dataset[0]
    assert sample["sample_id"] == dataset.reader.sample_ids[2]
    assert sample["image"].shape == (3, 96, 96)
    assert sample["depth"].isnan().all()
