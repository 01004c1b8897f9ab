"""Gradient norms by hand, and as the training step measures them."""

import pytest
import torch
from torch import nn

from app.training.watch.gradient_norms import find_uneven, measure_norms, shared_feature
from tests.support.steps import batch
from tests.training.test_freezing import SIDE_PX, build, changed, run, snapshot

NO_SCALER = torch.amp.GradScaler("cpu", enabled=False)


def test_norms_by_hand():
    feature = torch.tensor([1.0, 2.0], requires_grad=True)
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    losses = {"segments": (weight * feature).sum(), "lines": feature.square().sum()}
    # (3, 4) and 2 (1, 2).
    expected = {"segments": 5.0, "lines": pytest.approx(20**0.5)}
    assert measure_norms(feature, losses, NO_SCALER) == expected
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    assert measure_norms(feature, losses, scaler) == expected
    assert feature.grad is None
    assert weight.grad is None
    sum(losses.values()).backward()  # the graph is still there
    assert feature.grad.tolist() == [5.0, 8.0]


def test_a_gradient_that_float16_cannot_hold_is_scaled_on_its_way():
    feature = torch.ones(1, dtype=torch.float16, requires_grad=True)
    losses = {"depth": feature.float().sum() * 1e-9}
    assert measure_norms(feature, losses, NO_SCALER) == {"depth": 0.0}
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    assert measure_norms(feature, losses, scaler)["depth"] == pytest.approx(1e-9, rel=0.01)


def test_a_norm_that_is_not_finite_is_none():
    feature = torch.zeros(1, requires_grad=True)
    losses = {"lines": feature.sqrt().sum(), "depth": feature.sum()}
    assert measure_norms(feature, losses, NO_SCALER) == {"depth": 1.0}


def test_the_feature_is_what_enters_the_heads():
    heads = nn.ModuleDict({"lines": nn.Linear(2, 1)})
    image = torch.ones(1, 2)
    with shared_feature(heads, "lines") as caught:
        heads["lines"](image)
    heads["lines"](image)  # not any more
    assert len(caught) == 1
    assert caught[0] is image


@pytest.mark.parametrize(
    ("norms", "expected"),
    [
        ({"segments": 1.0, "lines": 0.1, "depth": 0.5}, None),
        ({"segments": 1.0, "lines": 0.09, "depth": 0.5}, ("segments", "lines")),
        ({"segments": 1.0, "lines": 0.0}, None),  # what pulls at nothing has nothing to learn
        ({"segments": 0.0}, None),
        ({}, None),
    ],
)
def test_uneven_tasks(norms, expected):
    assert find_uneven(norms) == expected


def test_they_are_measured_every_few_steps_and_change_no_bit():
    measured, settings = build(0, norm_interval_steps=3)
    results = run(measured, settings, 5)
    assert [result.gradient_norms is not None for result in results] == [
        True, False, False, True, False,
    ]  # fmt: skip
    assert all(norm > 0 for norm in results[0].gradient_norms.values())
    plain, settings = build(0)
    assert [result.gradient_norms for result in run(plain, settings, 5)] == [None] * 5
    assert changed(measured.model, snapshot(plain.model)) == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"autocast_dtype": torch.bfloat16},
        {"checkpoint_activations": True},
        {"grad_accum_steps": 2},
    ],
    ids=str,
)
def test_they_are_the_same_however_the_step_is_done(changes):
    expected, got = (
        run(*build(**{"num_frozen_steps": 0, "norm_interval_steps": 1, **given}), 2)[0]
        for given in ({}, changes)
    )
    tolerance = 0.05 if "autocast_dtype" in changes else 0  # half precision rounds
    assert got.gradient_norms == pytest.approx(expected.gradient_norms, rel=tolerance)


def test_they_are_measured_behind_a_frozen_backbone():
    frozen, thawed = run(*build(1, norm_interval_steps=1), 2)
    for result in (frozen, thawed):
        assert all(norm > 0 for norm in result.gradient_norms.values())


def test_weights_count_and_absent_tasks_are_left_out():
    state, settings = build(0, norm_interval_steps=1, task_weights={"segments": 3.0, "lines": 0.5})
    [weighted] = run(state, settings, 1)
    [plain] = run(*build(0, norm_interval_steps=1), 1)
    assert weighted.gradient_norms == pytest.approx(
        {
            "segments": 3 * plain.gradient_norms["segments"],
            "lines": 0.5 * plain.gradient_norms["lines"],
        }
    )
    unlabelled = batch(4, 0, SIDE_PX)
    unlabelled["lines"].fill_(255)
    [result] = run(*build(0, norm_interval_steps=1), 1, batches=[unlabelled])
    assert list(result.gradient_norms) == ["segments"]


def test_a_compiled_network_is_measured_uncompiled():
    plain, settings = build(0, norm_interval_steps=2)
    expected = run(plain, settings, 2)
    state, settings = build(0, norm_interval_steps=2)
    compiled = []

    def see(graph, _):
        compiled.append(graph)
        return graph.forward

    state.model._compiled_call_impl = torch.compile(state.model._call_impl, backend=see)
    got = run(state, settings, 2)
    assert got[0].gradient_norms == pytest.approx(expected[0].gradient_norms, rel=1e-3)
    assert compiled  # in the second step
