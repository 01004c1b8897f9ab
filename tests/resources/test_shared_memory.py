import logging
import shutil

import pytest

from app.data.loading import collate
from app.data.order import SampleKey, TrainSource
from app.data.rid.dataset import RidDataset
from app.data.sample import PLANES
from app.data.train_samples import TrainDataset
from app.data.transforms import TrainTransform
from app.resources import shared_memory
from app.resources.shared_memory import count_workers, fit_workers, read_shm_gib
from app.settings.hyperparameters import Hyperparameters

MIB = 2**20
# 8 samples of 256 x 256: 13 B * 65536 * 8 = 6.5 MiB; a photo validated on: 13 B * 512 * 512 =
# 3.25 MiB. The step under way holds 6.5 + 3.25 = 9.75, a worker 2 * (6.5 + 3.25) = 19.5.
FIXED_MIB, WORKER_MIB = 9.75, 19.5


def test_bytes_of_a_pixel_are_those_of_a_batch(small_ml):
    source = TrainSource(RidDataset(small_ml / "input/data/rid", "train"), 1.0, 1, None)
    dataset = TrainDataset([source], TrainTransform(64, 0.1), seed=0)
    batch = collate([dataset[SampleKey(0, 0, 0, (0,))]])
    num_bytes = sum(batch[name].numel() * batch[name].element_size() for name in PLANES)
    assert num_bytes == shared_memory.BATCH_BYTES_PER_PX * 64 * 64


@pytest.mark.parametrize(
    ("free_mib", "num_workers"),
    [
        (0, 0),
        (FIXED_MIB + WORKER_MIB - 0.1, 0),
        (FIXED_MIB + WORKER_MIB, 1),
        (FIXED_MIB + 3 * WORKER_MIB, 3),
        (FIXED_MIB + 5 * WORKER_MIB - 0.1, 4),
        (FIXED_MIB + 9 * WORKER_MIB, 5),  # no more than were asked for
    ],
)
def test_workers_that_fit(free_mib, num_workers):
    hyperparameters = Hyperparameters(batch_size=8, crop_size_px=256, num_workers=5)
    assert count_workers(hyperparameters, free_mib * MIB) == num_workers


@pytest.mark.parametrize(
    ("settings", "needed_mib"),
    [
        # The step holds 2 * 6.5 + 3.25.
        ({"grad_accum_steps": 2}, 16.25 + WORKER_MIB),
        # A worker holds 4 * 6.5 + 2 * 3.25.
        ({"prefetch_factor": 4}, FIXED_MIB + 32.5),
        # 1024 x 1024: 104 MiB for 8, and 13 for one that is validated on.
        ({"crop_size_px": 1024}, 117 + 234),
    ],
)
def test_what_a_worker_needs(settings, needed_mib):
    hyperparameters = Hyperparameters(batch_size=8, num_workers=1, **settings)
    assert count_workers(hyperparameters, needed_mib * MIB) == 1
    assert count_workers(hyperparameters, needed_mib * MIB - 1) == 0


def test_what_workers_cut_for_a_gpu_takes_twice_the_room():
    hyperparameters = Hyperparameters(batch_size=2, crop_size_px=512)
    made = shared_memory.count_batch_bytes(hyperparameters)
    assert made == 13 * 2 * 512**2
    assert shared_memory.count_batch_bytes(hyperparameters, "cuda") == 2 * made
    laid = hyperparameters.model_copy(update={"new_ground_fraction": 0.5})
    assert shared_memory.count_batch_bytes(laid, "cuda") == made
    needed_bytes = 100 * made
    assert count_workers(hyperparameters, needed_bytes, "cuda") <= hyperparameters.num_workers
    few = count_workers(hyperparameters.model_copy(update={"num_workers": 64}), needed_bytes)
    fewer = count_workers(
        hyperparameters.model_copy(update={"num_workers": 64}), needed_bytes, "cuda"
    )
    assert 0 < fewer < few


class TestFitWorkers:
    @pytest.fixture(autouse=True)
    def dockers_64_mib(self, monkeypatch):
        monkeypatch.setattr(shared_memory, "read_shm_gib", lambda: (0.0625, 0.0625))

    @pytest.mark.parametrize(
        ("num_processes", "num_workers"),
        # 0.9 of 64 MiB are 57.6: (57.6 - 9.75) / 19.5 = 2.5; for each of two (28.8 - 9.75) / 19.5
        [(1, 2), (2, 0)],
    )
    def test_fewer_where_they_do_not_fit(self, caplog, num_processes, num_workers):
        with caplog.at_level(logging.WARNING, logger="app.resources.shared_memory"):
            fitted = fit_workers(Hyperparameters(num_workers=4), num_processes)
        assert fitted == Hyperparameters(num_workers=num_workers)
        assert [record.getMessage() for record in caplog.records] == [
            "/dev/shm has 64 MiB free, too little for the batches of num_workers=4: using "
            f"{num_workers}; give the container more (docker run --shm-size=1g, compose shm_size)"
        ]

    @pytest.mark.parametrize("num_workers", [0, 1, 2])
    def test_as_asked_where_they_fit(self, caplog, num_workers):
        asked = Hyperparameters(num_workers=num_workers)
        assert fit_workers(asked, 1) is asked
        assert caplog.records == []

    def test_as_asked_where_nobody_knows(self, monkeypatch):
        monkeypatch.setattr(shared_memory, "read_shm_gib", lambda: None)
        monkeypatch.setattr(shared_memory.sys, "platform", "darwin")
        asked = Hyperparameters(num_workers=64)
        assert fit_workers(asked, 1) is asked


def test_size_and_free_part_of_shared_memory():
    total_gib, free_gib = read_shm_gib()
    assert total_gib == shutil.disk_usage("/dev/shm").total / 2**30
    assert 0 <= free_gib <= total_gib


def test_no_shared_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_memory, "SHM_DIR", tmp_path / "absent")
    assert read_shm_gib() is None


def test_without_shared_memory_there_are_no_workers(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(shared_memory, "SHM_DIR", tmp_path / "absent")
    monkeypatch.setattr(shared_memory.sys, "platform", "linux")
    assert fit_workers(Hyperparameters(num_workers=2), 1).num_workers == 0
    assert caplog.messages == [
        f"{tmp_path}/absent is not there or cannot be written to, and num_workers=2 needs it: "
        "using 0; mount it writable (tmpfs)"
    ]
