"""Bytes of a step by holder, worked out by hand for a network of two layers, and the real one."""

import json

import psutil
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from app.base.tasks import TASK_NAMES, build_tasks
from app.model.devices import Compute
from app.model.losses import RoofLoss
from app.model.network import HybridRoofModel
from app.training.state import StepSettings, TrainingState, build_ema
from app.training.step import train_steps
from app.training.watch.tensor_memory import StepMemoryWatch, read_outside_gib
from tests.support.models import shallow_backbones

TASKS = build_tasks()
NAMES = [task.name for task in TASKS]
CPU = torch.device("cpu")
FIRST, HEAD = "activations of first", "activations of head segments"


class TwoLayers(nn.Module):
    def __init__(self, recompute=False):
        super().__init__()
        self.recompute = recompute
        self.first = nn.Sequential(nn.Linear(4, 8, bias=False), nn.Sigmoid())
        self.heads = nn.ModuleDict({"segments": nn.Linear(8, 3, bias=False)})
        self.register_buffer("scale", torch.full((4,), 2.0))

    def forward(self, x):
        x = x * self.scale
        x = checkpoint(self.first, x, use_reentrant=False) if self.recompute else self.first(x)
        return self.heads["segments"](x) * 2


class Run:
    """Two steps of a small network, the second of which is watched."""

    def __init__(self, num_samples, recompute=False, watched=True):
        torch.manual_seed(0)
        self.network = TwoLayers(recompute)
        self.averaged = build_ema(self.network, 0.9)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), fused=True)
        self.batch = torch.rand(num_samples, 4)
        self.step(self.network)
        self.watch = StepMemoryWatch(self.network, self.optimizer, self.averaged)
        if watched:
            with self.watch:
                self.step(self.network)
        else:
            self.step(self.network)

    def step(self, network):
        network(self.batch).square().sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def highest(self, part=None):
        highest = {}
        for point in self.watch.points():
            if part in (None, point.part):
                for name, num_bytes in point.num_bytes.items():
                    highest[name] = max(num_bytes, highest.get(name, 0))
        return highest


def test_holders_by_hand():
    highest = Run(10).highest()
    assert highest["parameters"] == 4 * (4 * 8 + 8 * 3)
    assert highest["buffers"] == 4 * 4
    # Two moments of each number, and a counter for each of two parameters.
    assert highest["optimizer state"] == 2 * 4 * 56 + 2 * 4
    # Of parameters and buffers, and an int64 counter.
    assert highest["averaged weights"] == 4 * 56 + 4 * 4 + 8
    assert highest["gradients"] == 4 * 56
    assert highest["batch"] == 10 * 4 * 4
    assert highest["normalised image"] == 10 * 4 * 4
    assert highest[FIRST] == 2 * 10 * 8 * 4  # before and after the sigmoid
    assert highest[HEAD] == 10 * 3 * 4
    assert highest["upsampled logits"] == 10 * 3 * 4
    assert highest["losses"] == 10 * 3 * 4 + 4
    assert "passing through backward" in highest


def test_moments_of_the_total_peak_add_up():
    run = Run(1000)
    profile = run.watch.to_json({"elsewhere": 30.0, "unknown": None})
    assert profile["holders"][0] == "elsewhere"
    assert "unknown" not in profile["holders"]
    peak = max(run.watch.points(), key=lambda point: point.total)
    assert profile["peak_gib"] == round(peak.total / 2**30, 5)
    assert set(profile["peak_by_holder_gib"]) == set(peak.num_bytes)
    assert profile["outside_gib"]["elsewhere"] == 30.0
    resident_gib = psutil.Process().memory_info().rss / 2**30
    rest_gib = profile["outside_gib"]["process without tensors"]
    assert 0.5 * resident_gib < rest_gib < 1.5 * resident_gib
    assert profile["device"] == "cpu"
    assert json.loads(json.dumps(profile)) == profile


def test_twice_the_batch_is_twice_the_activations_and_nothing_else():
    one, two = Run(50).highest(), Run(100).highest()
    grows = {"batch", "normalised image", FIRST, HEAD, "upsampled logits"}
    grows.add("passing through backward")
    assert {name for name in one if two[name] == 2 * one[name]} == grows
    for name in ("parameters", "buffers", "optimizer state", "averaged weights", "gradients"):
        assert one[name] == two[name]


def test_parts_come_in_order_and_end_with_what_stays():
    points = Run(10).watch.points()
    parts = [point.part for point in points]
    assert list(dict.fromkeys(parts)) == ["load", "forward", "backward", "update"]
    assert [parts.index(name) for name in ("forward", "backward", "update")] == sorted(
        parts.index(name) for name in ("forward", "backward", "update")
    )
    # What was there before is there in the first moment.
    assert points[0].num_bytes["parameters"] == 4 * 56
    assert set(points[-1].num_bytes) == {
        "parameters", "buffers", "optimizer state", "averaged weights", "batch",
    }  # fmt: skip


def test_the_first_step_of_all_makes_the_state_of_the_optimizer():
    network = TwoLayers()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    with StepMemoryWatch(network, optimizer) as watch:
        network(torch.rand(2, 4)).sum().backward()
        optimizer.step()
    first, last = watch.points()[0], watch.points()[-1]
    assert "optimizer state" not in first.num_bytes
    assert last.num_bytes["optimizer state"] == 2 * 4 * 56 + 2 * 4
    assert last.num_bytes["gradients"] == 4 * 56


def test_activations_that_are_computed_anew_belong_to_their_part():
    kept, anew = Run(100), Run(100, recompute=True)
    # The head keeps the output of `first`, which is freed and then computed again, in two parts.
    num_bytes = 100 * 8 * 4
    assert kept.highest("backward")[FIRST] == num_bytes
    assert anew.highest("backward")[FIRST] == 2 * num_bytes
    for ours, theirs in zip(anew.network.parameters(), kept.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_compiled_network_runs_uncompiled_meanwhile():
    run = Run(10)
    num_compiled = []

    def backend(graph, _):
        num_compiled.append(1)
        return graph.forward

    compiled = torch.compile(run.network, backend=backend)
    with StepMemoryWatch(run.network, run.optimizer, run.averaged) as watch:
        run.step(compiled)
    assert not num_compiled
    assert max(p.num_bytes.get(FIRST, 0) for p in watch.points()) == run.highest()[FIRST]
    run.step(compiled)
    assert num_compiled


def test_nothing_stays_behind():
    run = Run(10)
    assert not any(module._forward_hooks for module in run.network.modules())
    assert not any(module._forward_pre_hooks for module in run.network.modules())
    assert not any(p._post_accumulate_grad_hooks for p in run.network.parameters())
    num_points = len(run.watch.points())
    run.step(run.network)
    assert len(run.watch.points()) == num_points


def test_an_error_inside_is_not_swallowed():
    run = Run(2)
    watch = StepMemoryWatch(run.network, run.optimizer)
    with pytest.raises(RuntimeError, match="mat1 and mat2"), watch:
        run.network.first(torch.zeros(2, 5))
    assert not run.network._forward_pre_hooks


def test_series_is_short_and_keeps_the_peak():
    _, watch = train_shallow(2, 64)
    profile = watch.to_json()
    assert len(profile["series"]) == 200
    assert len(watch.points()) > 1000
    totals = [sum(point["gib"].values()) for point in profile["series"]]
    assert max(totals) == pytest.approx(profile["peak_gib"], abs=1e-4)
    assert len(json.dumps(profile)) < 100_000


def test_memory_of_children_and_files_is_read():
    outside = read_outside_gib()
    assert set(outside) == {"data workers", "page cache"}
    assert outside["data workers"] >= 0


def batch(num_samples, side_px, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(high, *shape):
        return torch.randint(high, shape, dtype=torch.uint8, generator=generator)

    shape = (num_samples, side_px, side_px)
    return {
        "image": draw(256, num_samples, 3, side_px, side_px),
        "segments": draw(18, *shape),
        "lines": draw(2, num_samples, 4, side_px, side_px),
        "depth": 5 * torch.rand(shape, generator=generator),
        "superstructures": torch.full(shape, 255, dtype=torch.uint8),
        "sample_id": [str(i) for i in range(num_samples)],
        "bad_files": {},
    }


def train_shallow(*arguments, **options):
    """As `train_real`, for what does not depend on the number of blocks."""
    with shallow_backbones():
        return train_real(*arguments, **options)


def train_real(
    num_samples, side_px, dtype=None, checkpoint_activations=False, watched=True, num_passes=1
):
    """The network after three steps of training, of which the second was watched."""
    torch.manual_seed(0)
    model = HybridRoofModel(TASKS, checkpoint_activations=checkpoint_activations)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        [{"params": list(model.parameters()), "lr": 1e-3, "peak_lr": 1e-3}], fused=True
    )
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = TrainingState(model, build_ema(model, 0.9), optimizer, scaler)
    settings = StepSettings(
        task_weights=dict.fromkeys(NAMES, 1.0),
        loss=RoofLoss(TASKS),
        grad_accum_steps=num_passes,
        grad_clip_norm=1.0,
        num_steps=10,
        num_warmup_steps=0,
        compute=Compute(CPU, dtype),
    )
    batches = (batch(num_samples, side_px, seed) for seed in range(3 * num_passes))
    steps = train_steps(state, batches, 3 * num_passes, settings, lambda: False)
    next(steps)
    watch = StepMemoryWatch(state.model, state.optimizer, state.ema.module)
    if watched:
        with watch:
            next(steps)
    else:
        next(steps)
    next(steps)
    return state, watch


def test_watching_changes_no_bit_of_the_result():
    watched, _ = train_shallow(2, 64, checkpoint_activations=True, num_passes=2)
    plain, _ = train_shallow(2, 64, watched=False, num_passes=2)
    for name, value in plain.state_dict()["ema"].items():
        assert torch.equal(watched.state_dict()["ema"][name], value), name


def test_the_real_network():
    state, watch = train_real(2, 64, torch.bfloat16)
    num_parameters = sum(p.numel() for p in state.model.parameters())
    points = watch.points()
    first, last = points[0].num_bytes, points[-1].num_bytes
    assert first["parameters"] == last["parameters"] == 4 * num_parameters
    num_tensors = len(list(state.model.parameters()))
    assert first["optimizer state"] == 8 * num_parameters + 4 * num_tensors
    assert max(p.num_bytes.get("gradients", 0) for p in points) == 4 * num_parameters
    names = {name for point in points for name in point.num_bytes}
    highest = {name: max(p.num_bytes.get(name, 0) for p in points) for name in names}
    assert {name for name in highest if name.startswith("activations of ")} == {
        f"activations of {name}"
        for name in ("stem", "layer1", "layer2", "layer3", "layer4", "pyramid",
                     *(f"head {task}" for task in NAMES))
    }  # fmt: skip
    # Two images, 64 channels at stride 2, in 16 bits: convolved, normalised; and pooled at 4.
    stem = 2 * 64 * 32 * 32 * 2
    assert 2 * stem <= highest["activations of stem"] <= 4 * stem
    assert highest["parameters in half precision"] > num_parameters
    # An image and its targets; uint8 but for heights.
    assert highest["batch"] >= 2 * 64 * 64 * (3 + 1 + 4 + 4)
    assert "passing through the update" in highest
    assert set(TASK_NAMES) >= set(NAMES)


def test_activations_are_given_back_pass_by_pass():
    _, one = train_shallow(2, 64)
    _, two = train_shallow(2, 64, num_passes=2)

    def highest(watch):
        return max(p.num_bytes.get("activations of layer1", 0) for p in watch.points())

    assert highest(two) == highest(one)
