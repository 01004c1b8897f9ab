"""Batches for a device that makes samples: the same ones, from any number of workers."""

import pickle

import numpy as np
import pytest
import torch

from app.base.tasks import TASK_NAMES
from app.data.datasets import TrainBatches, open_datasets
from app.data.on_device.batches import _Row, collate_cut, is_cut
from app.data.on_device.making import SampleMaker
from app.data.order import BEGINNING, Start
from app.data.sample import PLANES
from app.data.transforms import build_train_transform
from app.settings.texts import parse_hyperparameters
from tests.support.steps import build, run


@pytest.fixture
def opened(small_ml, tmp_path):
    hyperparameters = parse_hyperparameters(
        {"batch_size": 2, "crop_size_px": 64, "steps_per_epoch": 3, "datasets": "rid"}
    )
    channels = {"rid": small_ml / "input/data/rid"}
    return open_datasets(channels, hyperparameters, tmp_path), hyperparameters


def read(opened, device, *, num_workers=0, start=BEGINNING):
    datasets, hyperparameters = opened
    hyperparameters = hyperparameters.model_copy(
        update={"num_workers": num_workers, "epochs": 2, "grad_accum_steps": 1}
    )
    order = datasets.train_order(hyperparameters, start)
    batches = TrainBatches(datasets, hyperparameters, order, device=device)
    try:
        return list(batches)
    finally:
        batches.close()


def make(opened, batches):
    maker = SampleMaker(build_train_transform(opened[1]), TASK_NAMES)
    return [maker.make(batch, batch["windows"]) for batch in batches]


def assert_equal(batches, others, names=tuple(PLANES)):
    assert [batch["sample_id"] for batch in batches] == [batch["sample_id"] for batch in others]
    for batch, other in zip(batches, others, strict=True):
        for name in names:
            assert torch.equal(batch[name].nan_to_num(-9.0), other[name].nan_to_num(-9.0)), name


def test_a_gpu_gets_the_samples_that_a_cpu_gets(opened):
    cut, whole = read(opened, "cuda"), read(opened, "cpu")
    assert len(cut) == 6
    assert all(map(is_cut, cut))
    assert not any(map(is_cut, whole))
    made = make(opened, cut)
    assert_equal(made, whole, TASK_NAMES)
    # A JPEG of the device's is another one's in a few pixels, and both are far from none.
    difference = [
        (one["image"].int() - other["image"].int()).abs().float()
        for one, other in zip(made, whole, strict=True)
    ]
    assert torch.cat(difference).mean() < 0.5


def test_samples_do_not_depend_on_workers_nor_on_where_a_run_resumes(opened):
    made = make(opened, read(opened, "cuda"))
    assert_equal(make(opened, read(opened, "cuda", num_workers=2)), made)
    resumed = read(opened, "cuda", start=Start(1, 1))
    assert_equal(make(opened, resumed), made[4:])


def test_samples_on_other_ground_are_made_by_workers(opened):
    datasets, hyperparameters = opened
    laid = hyperparameters.model_copy(update={"new_ground_fraction": 0.5})
    assert not is_cut(read((datasets, laid), "cuda")[0])


def test_less_is_sent_than_of_samples_that_are_made(opened):
    [cut, *_], [whole, *_] = read(opened, "cuda"), read(opened, "cpu")
    assert len(pickle.dumps(cut)) < len(pickle.dumps(whole))


def test_arrays_of_any_order_in_memory_are_sent():
    row = _Row(np.uint8, 3)
    image = np.arange(2 * 3 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    assert row.add(image[::2, 1:4]) == 0
    assert row.add(image.transpose(1, 0, 2)) == 9
    joined = row.join()
    assert joined.shape == (9 + 30, 3)
    assert np.array_equal(joined[:9].numpy().reshape(3, 3, 3), image[::2, 1:4])
    assert np.array_equal(joined[9:].numpy().reshape(5, 6, 3), image.transpose(1, 0, 2))


def test_an_empty_batch_of_no_samples_has_all_its_parts():
    batch = collate_cut([(None, {}), (None, {})])
    assert batch["pixels"].shape == (0, 3)
    assert batch["bytes"].shape == batch["heights"].shape == batch["points"].shape == (0,)
    assert batch["num_windows"] == batch["lights"] == []


def test_training_on_what_is_made_resumes_with_the_same_bits(opened):
    transform = build_train_transform(opened[1])

    def train(state, batches):
        settings = build(transform=transform)[1]
        run(state, settings, batches)

    whole = build()[0]
    train(whole, read(opened, "cuda"))
    first = build()[0]
    train(first, read(opened, "cuda")[:4])
    resumed = build()[0]
    resumed.load_state_dict(first.state_dict())
    train(resumed, read(opened, "cuda", start=Start(1, 1)))
    assert whole.step == resumed.step == 6
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
        assert not torch.equal(value, build()[0].model.state_dict()[name])
