"""What batch normalisations gather: undone with a step that is not taken."""

import torch
from torch import nn

from app.training.ranks.batch_statistics import BatchStatistics
from app.training.state import build_ema
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
