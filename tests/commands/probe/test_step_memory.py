"""Counting a step that is not taken: against one that is, and how it grows."""

import functools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from app.base.tasks import build_tasks
from app.commands.probe.step_memory import count_step_memory
from app.model.losses import RoofLoss
from app.model.network import HybridRoofModel
from tests.support.models import shallow_backbones
from tests.training.watch.test_tensor_memory import NAMES, TASKS, train_real


@pytest.fixture
def shallow():
    """For what does not depend on the number of blocks; the next test has all of them again."""
    with shallow_backbones():
        yield


def count(size, side_px, dtype=None, recompute=False, names=NAMES, tasks=TASKS):
    return count_step_memory(tasks, names, size, side_px, dtype, recompute)


@functools.cache
def count_shallow(*arguments):
    """Each step is counted once."""
    with shallow_backbones():
        return count(*arguments)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_equals_what_a_real_step_takes(dtype):
    _, watch = train_real(2, 96, dtype)
    taken_gib = max(point.total for point in watch.points()) / 2**30
    assert count(2, 96, dtype).peak_gib == pytest.approx(taken_gib, rel=1e-3)


@pytest.mark.usefixtures("shallow")
def test_what_stays_between_steps():
    model = HybridRoofModel(TASKS)
    num_parameters = sum(p.numel() for p in model.parameters())
    # Weights, their average and two moments; buffers and counters are less than a thousandth.
    expected_gib = 4 * 4 * num_parameters / 2**30
    for size in (4, 16):
        assert count_shallow(size, 512).persistent_gib == pytest.approx(expected_gib, rel=2e-3)


def test_grows_with_the_batch_and_with_the_area():
    base = count_shallow(4, 512).peak_gib
    more, larger = count_shallow(8, 512).peak_gib, count_shallow(4, 1024).peak_gib
    most = count_shallow(16, 512).peak_gib
    assert most - more == pytest.approx(2 * (more - base), rel=0.01)
    # Four times the area of four samples is the area of sixteen.
    assert larger == pytest.approx(most, rel=0.01)


def test_less_precision_and_recomputation_take_less():
    whole = count_shallow(4, 512).peak_gib
    assert count_shallow(4, 512, torch.bfloat16).peak_gib < 0.75 * whole
    assert count_shallow(4, 512, None, True).peak_gib < 0.8 * whole


@pytest.mark.usefixtures("shallow")
def test_a_task_that_is_not_trained_takes_nothing_for_its_moments():
    everything = count_shallow(4, 512)
    without = count_shallow(4, 512, None, False, ("segments", "lines"))
    head = HybridRoofModel(TASKS).heads["depth"]
    num_bytes = 8 * sum(p.numel() for p in head.parameters())
    saved_gib = everything.persistent_gib - without.persistent_gib
    assert saved_gib == pytest.approx(num_bytes / 2**30, rel=0.01)


@pytest.mark.usefixtures("shallow")
def test_losses_compute_as_before():
    tasks = build_tasks(4)
    count(1, 64, tasks=tasks)
    logits = torch.zeros(1, 6, 8, 8)
    target = torch.zeros(1, 8, 8, dtype=torch.uint8)
    loss = RoofLoss(tasks)({"segments": logits}, {"segments": target})["segments"]
    assert not isinstance(loss, FakeTensor)
    assert float(loss) > 0
