"""What batch normalisations gather: undone with a step that is not taken, alike on all ranks."""

import pytest
import torch
from torch import nn

from app.base.tasks import build_tasks
from app.model.network import HybridRoofModel
from app.training.ranks.batch_statistics import BatchStatistics
from app.training.state import build_ema
from tests.support.ranks import ask_two_ranks
from tests.support.steps import OUT_OF_MEMORY, batch, build, part, run, unlabelled

NUM_MICRO_BATCHES = 2


class NormalisedModel(nn.Module):
    """A head behind a batch normalisation; its activations can be made to overflow."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm2d(3)
        self.heads = nn.ModuleDict({"segments": nn.Conv2d(3, 18, 1), "lines": nn.Conv2d(3, 4, 1)})
        self.gain = 1.0
        self.max_samples = 100

    def forward(self, image, tasks):
        x = self.norm(image.float() / 255 * self.gain)
        if len(image) > self.max_samples:
            raise OUT_OF_MEMORY[0]
        return {name: self.heads[name](x) for name in tasks}


def build_normalised(**overrides):
    state, settings = build(**overrides)
    state.model = NormalisedModel()
    state.ema = build_ema(state.model, 0.9)
    state.optimizer.param_groups[0]["params"] = list(state.model.parameters())
    return state, settings


def buffers_of(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_equal(got, expected):
    assert got.keys() == expected.keys()
    for name, value in got.items():
        assert value.equal(expected[name]), name


def test_a_skipped_step_leaves_no_trace_in_the_statistics():
    state, settings = build_normalised(grad_accum_steps=NUM_MICRO_BATCHES)
    batches = [batch(4, seed) for seed in range(NUM_MICRO_BATCHES)]
    run(state, settings, batches)
    before = buffers_of(state.model)
    state.model.gain = torch.inf
    run(state, settings, batches)
    assert state.num_skipped == 1
    assert_equal(buffers_of(state.model), before)
    state.model.gain = 1.0
    run(state, settings, batches)
    assert state.num_skipped == 0
    for model in (state.model, state.ema.module):
        assert int(model.norm.num_batches_tracked) == 2 * NUM_MICRO_BATCHES
        logits = model.eval()(batches[0]["image"], ["segments"])["segments"]
        assert logits.isfinite().all()


def test_a_skipped_step_without_a_label_leaves_no_trace_either():
    state, settings = build_normalised()
    run(state, settings, [batch(4)])
    before = buffers_of(state.model)
    state.model.gain = torch.inf
    run(state, settings, [unlabelled(4)])
    assert_equal(buffers_of(state.model), before)
    assert state.num_skipped == 1


def test_passes_done_again_for_lack_of_memory_count_once():
    whole = batch(4)
    split, settings = build_normalised(grad_accum_steps=2)
    run(split, settings, [part(whole, 0, 2), part(whole, 2, 4)])
    # The first pass fits, the second one does not.
    short, settings = build_normalised(grad_accum_steps=2)
    short.model.max_samples = 2
    run(short, settings, [part(whole, 0, 1), part(whole, 1, 4)])
    assert int(split.model.norm.num_batches_tracked) == 2
    assert int(short.model.norm.num_batches_tracked) == 1 + 3


def test_a_network_without_any_has_nothing_to_keep():
    statistics = BatchStatistics(nn.Linear(1, 1))
    statistics.keep()
    statistics.restore()
    statistics.average_over_ranks()


def test_alone_the_mean_is_ones_own():
    norm = nn.BatchNorm1d(1)
    norm.running_mean.fill_(3.0)
    BatchStatistics(norm).average_over_ranks()
    assert norm.running_mean.item() == 3.0


def build_frozen():
    """The real network, whose backbone keeps its statistics while the decoder gathers its own."""
    torch.manual_seed(0)
    state, settings = build(keeps_statistics=True)
    state.model = HybridRoofModel(decoder_channels=32)
    state.model.heads["depth"].requires_grad_(False)
    state.ema = build_ema(state.model, 0.9)
    state.optimizer.param_groups[0]["params"] = [
        p for p in state.model.parameters() if p.requires_grad
    ]
    return state, settings


TWO_RANKS = """
import json
import torch
from torch import nn
from app.training.ranks import distributed as d
from app.training.ranks.batch_statistics import BatchStatistics
from app.job.signals import end_rank
from tests.training.ranks.test_batch_statistics import build_frozen
from tests.support.steps import batch, run

found = {}
with d.joined_ranks(torch.device("cpu")):
    rank = d.rank()
    # Three layers, so that what belongs to which is seen; the statistics of rank 0 and rank 1:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(1), nn.BatchNorm1d(1).eval())
    model[0].running_mean.copy_(torch.tensor([[0.0, 4.0], [1.0, -2.0]][rank]))
    model[0].running_var.copy_(torch.tensor([[1.0, 2.0], [3.0, 2.5]][rank]))
    model[1].running_mean.fill_([10.0, 20.0][rank])
    model[1].num_batches_tracked.fill_(5 + rank)
    model[2].running_mean.fill_(7.0 + rank)
    BatchStatistics(model).average_over_ranks()
    found["buffers"] = {name: buffer.tolist() for name, buffer in model.named_buffers()}

    state, settings = build_frozen()
    network = state.model
    state.model = d.wrap_model(network, torch.device("cpu"))
    run(state, settings, [batch(2, 10 + rank, 32), batch(2, 20 + rank, 32)])
    found["sums"] = {
        name: [buffer.double().sum().item(), buffer.double().square().sum().item()]
        for name, buffer in network.named_buffers()
    }
print(json.dumps(found))
end_rank(0)
"""


@pytest.fixture(scope="module")
def found():
    """What each of two ranks found in TWO_RANKS."""
    return ask_two_ranks(TWO_RANKS)


@pytest.mark.slow
def test_statistics_that_change_become_the_mean(found):
    first, second = (rank["buffers"] for rank in found)
    assert first["0.running_mean"] == [0.5, 1.0]
    assert first["0.running_var"] == [2.0, 2.25]
    assert first["1.running_mean"] == [15.0]
    assert [first["1.num_batches_tracked"], second["1.num_batches_tracked"]] == [5, 6]
    assert [first["2.running_mean"], second["2.running_mean"]] == [[7.0], [8.0]]
    alike = [name for name in first if name.startswith(("0.", "1.running"))]
    assert {name: first[name] for name in alike} == {name: second[name] for name in alike}


@pytest.mark.slow
def test_a_decoder_beside_a_frozen_backbone_has_the_statistics_of_all_samples(found):
    first, second = (rank["sums"] for rank in found)
    assert first == second
    untouched = HybridRoofModel(build_tasks(), decoder_channels=32)
    changed = {
        name
        for name, buffer in untouched.named_buffers()
        if first[name][0] != pytest.approx(buffer.double().sum().item(), abs=1e-9)
    }
    assert not [name for name in changed if name.startswith("backbone.")]
    assert [name for name in changed if name.startswith("pyramid.")]
