import itertools

import numpy as np
import pytest
import torch

from app.data.on_device.batches import collate_cut
from app.data.on_device.cutting import CutTransform
from app.data.on_device.making import SampleMaker
from app.data.sample import PLANES
from app.data.transforms import TrainTransform
from app.training.device_batches import DeviceBatches
from app.training.step import train_steps
from app.training.watch.step_clock import StepClock
from tests.support.photos import OnePhoto
from tests.support.steps import batch, build

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def counted(batches, read):
    for number, one in enumerate(batches):
        read.append(number)
        yield one


def test_a_cpu_reads_a_batch_when_it_is_needed():
    read, clock = [], StepClock(CPU)
    batches = [batch(2, seed) for seed in range(4)]
    ahead = DeviceBatches(counted(batches, read), ["lines"], CPU, clock)
    ahead.prefetch(2)
    assert read == []
    first = ahead.take(2)
    assert read == [0, 1]
    assert [one["sample_id"] for one in first] == [one["sample_id"] for one in batches[:2]]
    assert first[0]["image"] is batches[0]["image"]  # nothing is copied
    assert ahead.take(1)[0]["lines"] is batches[2]["lines"]
    assert clock.close_step()["wait"] > 0


@pytest.mark.parametrize("device", [CPU, pytest.param(CUDA, marks=pytest.mark.gpu)])
@pytest.mark.parametrize("grad_accum_steps", [1, 2, 3])
def test_training_reads_what_it_trains_on_and_no_more(device, grad_accum_steps):
    read = []
    state, settings = build(device=device, grad_accum_steps=grad_accum_steps)
    state.model.to(device)
    state.ema.to(device)
    batches = counted((batch(2, seed) for seed in itertools.count()), read)
    results = list(train_steps(state, batches, 5, settings, lambda: False))
    assert read == [0, 1, 2, 3, 4]
    assert sum(result.num_micro_batches for result in results) == 5
    # The stream resumes where the last epoch ended.
    [result] = train_steps(state, batches, 1, settings, lambda: False)
    assert read == [0, 1, 2, 3, 4, 5]
    assert result.num_samples == 2


@pytest.mark.parametrize("device", [CPU, pytest.param(CUDA, marks=pytest.mark.gpu)])
def test_batches_that_come_cut_are_made_on_the_device(device):
    transform = TrainTransform(48, 0.1)
    cut, rng = CutTransform(transform), np.random.default_rng(0)
    sample = cut.compose([cut.cut(OnePhoto(), 0, 1, rng)], rng)
    batch = collate_cut([(sample, {}), (sample, {})])
    ahead = DeviceBatches(iter([batch]), ["lines", "depth"], device, StepClock(device), transform)
    [made] = ahead.take(1)
    expected = SampleMaker(transform, ["lines", "depth"]).make(batch, batch["windows"])
    for name in PLANES:
        assert made[name].device.type == device.type
        torch.testing.assert_close(made[name].cpu(), expected[name], rtol=0, atol=0, equal_nan=True)
    assert made["sample_id"] == ["7", "7"]
    assert (made["lines"] == 1).any()


@pytest.mark.gpu
def test_a_gpu_gets_the_next_batches_while_it_computes():
    read, clock = [], StepClock(CUDA)
    host = [
        {
            k: v.pin_memory() if isinstance(v, torch.Tensor) else v
            for k, v in batch(4, i, 64).items()
        }
        for i in range(6)
    ]
    ahead = DeviceBatches(counted(host, read), ["segments", "lines"], CUDA, clock)
    x = torch.rand(4096, 4096, device=CUDA)
    for number in range(6):
        [taken] = ahead.take(1)
        assert read == list(range(number + 1))
        for _ in range(100):
            x = x @ x
            x /= x.norm()
        done = torch.cuda.Event()
        done.record()
        if number < 5:
            ahead.prefetch(1)
            assert read == list(range(number + 2))
        assert not done.query()  # neither reading nor copying waited for the work
        for name in ("image", "segments", "lines"):
            assert taken[name].device.type == "cuda"
            torch.testing.assert_close(taken[name].cpu(), host[number][name])
        assert taken["depth"].device.type == "cpu"  # no task of this training needs it
