"""Learned weights of the losses: by hand, and through the training step, in one process and two."""

import copy
import math

import pytest
import torch

from app.training.step import train_steps
from app.training.task_weighting import build_log_variances, clamp, set_gradients, weigh_tasks
from tests.training.ranks.test_distributed import ask_two_ranks
from tests.training.test_step import CPU, batch, build, part, run

WEIGHTS = {"segments": 1.0, "lines": 0.5}


def build_learned(rate=0.1, **overrides):
    """A state with an s for each task, in a group of its own."""
    state, settings = build(**overrides)
    state.log_variances = build_log_variances(settings.task_weights, CPU)
    groups = [
        {"params": list(state.model.parameters()), "peak_lr": 0.1},
        {"params": list(state.log_variances.values()), "peak_lr": rate, "weight_decay": 0.0},
    ]
    state.optimizer = torch.optim.AdamW(groups, lr=0.1, fused=True)
    return state, settings


def values(state):
    return {name: s.item() for name, s in state.log_variances.items()}


def test_weights_by_hand():
    learned = build_log_variances(WEIGHTS, CPU)
    assert list(learned) == ["segments", "lines"]
    assert weigh_tasks(WEIGHTS, learned) == WEIGHTS
    learned["lines"].data.fill_(math.log(2))
    assert weigh_tasks(WEIGHTS, learned) == pytest.approx({"segments": 1.0, "lines": 0.25})
    assert weigh_tasks(WEIGHTS, {}) == WEIGHTS


def test_gradients_are_those_of_the_formula():
    learned = build_log_variances(WEIGHTS, CPU)
    losses = {"segments": 3.0, "lines": 0.25}
    with torch.no_grad():
        learned["segments"].fill_(0.7)
        learned["lines"].fill_(-1.5)
    total = sum(WEIGHTS[n] * (torch.exp(-s) * losses[n] + s) for n, s in learned.items())
    expected = torch.autograd.grad(total, list(learned.values()))
    set_gradients(WEIGHTS, learned, losses)
    torch.testing.assert_close([s.grad for s in learned.values()], list(expected))


@pytest.mark.parametrize("loss", [None, math.nan, math.inf])
def test_without_a_loss_there_is_no_gradient(loss):
    learned = build_log_variances(WEIGHTS, CPU)
    set_gradients(WEIGHTS, learned, {"segments": 1.0, "lines": loss})
    assert learned["segments"].grad is not None
    assert learned["lines"].grad is None


def test_the_range():
    learned = build_log_variances(WEIGHTS, CPU)
    with torch.no_grad():
        learned["segments"].fill_(9)
        learned["lines"].fill_(-9)
    clamp(learned)
    assert {name: s.item() for name, s in learned.items()} == {"segments": 3.0, "lines": -2.0}


def test_it_goes_to_the_logarithm_of_the_loss_and_no_further_than_its_range():
    learned = build_log_variances(WEIGHTS, CPU)
    optimizer = torch.optim.AdamW(list(learned.values()), lr=0.05, weight_decay=0.0)
    for _ in range(300):
        set_gradients(WEIGHTS, learned, {"segments": 4.0, "lines": 0.01})
        optimizer.step()
        clamp(learned)
    assert learned["segments"].item() == pytest.approx(math.log(4.0), abs=0.02)
    assert learned["lines"].item() == -2.0  # log 0.01 = -4.6


def test_a_task_that_is_absent_keeps_every_bit():
    state, settings = build_learned()
    run(state, settings, [batch(2)] * 2)
    before = values(state)
    assert all(value != 0 for value in before.values())
    unlabelled = batch(2, seed=3)
    unlabelled["lines"].fill_(255)
    run(state, settings, [unlabelled] * 3)
    after = values(state)
    assert after["lines"] == before["lines"]
    assert after["segments"] != before["segments"]


def test_a_step_without_any_label_moves_no_weight():
    state, settings = build_learned()
    unlabelled = batch(2)
    unlabelled["segments"].fill_(255)
    unlabelled["lines"].fill_(255)
    run(state, settings, [unlabelled])
    assert values(state) == {"segments": 0.0, "lines": 0.0}


def test_a_step_that_is_skipped_moves_no_weight():
    state, settings = build_learned()
    state.model.heads["lines"].bias.data.fill_(torch.nan)
    run(state, settings, [batch(2)])
    assert values(state) == {"segments": 0.0, "lines": 0.0}


def test_the_network_follows_the_learned_weights():
    """With s at log 4 and log 2, losses weigh a quarter and a half of what they do without."""
    fixed, settings = build(task_weights={"segments": 0.25, "lines": 0.25})
    learned, same = build(task_weights={"segments": 1.0, "lines": 0.5})
    learned.log_variances = build_log_variances(WEIGHTS, CPU)
    learned.log_variances["segments"].data.fill_(math.log(4))
    learned.log_variances["lines"].data.fill_(math.log(2))
    run(fixed, settings, [batch(4)])
    run(learned, same, [batch(4)])
    for a, b in zip(fixed.model.parameters(), learned.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_any_split_of_a_step_learns_alike():
    whole = [batch(6, seed) for seed in range(3)]
    one, settings = build_learned()
    run(one, settings, whole)
    split, settings = build_learned(grad_accum_steps=3)
    run(split, settings, [part(w, a, b) for w in whole for a, b in ((0, 1), (1, 4), (4, 6))])
    assert values(split) == pytest.approx(values(one), rel=1e-4)
    for expected, got in zip(one.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_they_are_in_checkpoints():
    state, settings = build_learned()
    run(state, settings, [batch(2)] * 2)
    other, _ = build_learned()
    other.load_state_dict(copy.deepcopy(state.state_dict()))
    assert values(other) == values(state)
    for each in (state, other):
        run(each, settings, [batch(2, seed=7)])
    assert values(other) == values(state)
    fixed, _ = build()
    with pytest.raises(ValueError, match=r"it has 2 groups .* settings make 1 .*task_weighting"):
        fixed.load_state_dict(state.state_dict())


TWO_RANKS = """
import json
import torch
from app.training.ranks import distributed as d
from app.job.signals import end_rank
from tests.training.test_step import batch, part, run
from tests.training.test_task_weighting import build_learned, values

with d.joined_ranks(torch.device("cpu")):
    state, settings = build_learned()
    state.model = d.wrap_model(state.model, torch.device("cpu"))
    found = []
    for seed in range(3):
        whole = batch(6, seed)
        run(state, settings, [part(whole, 0, 1) if d.rank() == 0 else part(whole, 1, 6)])
        found.append(values(state))
print(json.dumps(found))
end_rank(0)
"""


@pytest.mark.slow
def test_two_ranks_learn_what_one_does():
    """Of the first rank's image nothing is known of segments."""
    first, second = ask_two_ranks(TWO_RANKS)
    assert first == second
    state, settings = build_learned()
    for seed, expected in enumerate(first):
        list(train_steps(state, iter([batch(6, seed)]), 1, settings, lambda: False))
        assert values(state) == pytest.approx(expected, rel=1e-4)
