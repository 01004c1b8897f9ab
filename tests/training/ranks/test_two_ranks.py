"""Two ranks train and score as one does: two processes, started once and asked everything."""

import pytest
import torch
from torch import nn

from app.base.tasks import build_tasks
from app.model.devices import local_rank
from app.model.network import HybridRoofModel
from app.training.ranks import distributed as d
from app.training.ranks.batch_statistics import BatchStatistics
from app.training.state import build_ema
from app.training.step import train_steps
from tests.metrics.test_ranks import AZIMUTH_BINS, OVER_RANKS, WHOLE, describe, score, score_rid
from tests.support import steps
from tests.support.ranks import ask_two_ranks
from tests.support.steps import CPU, batch
from tests.training import test_freezing as freezing
from tests.training.test_freezing import DESCENT, SIDE_PX, changed, distances, snapshot
from tests.training.test_gradient_equality import (
    RANK_SPLITS,
    assert_alike,
    step_gradients,
    whole_gradients,
)

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
from app.job.signals import end_rank
from tests.training.ranks.test_two_ranks import measure_all

print(json.dumps(measure_all(sys.argv[1])))
end_rank(0)
"""


@pytest.fixture(scope="module")
def found(small_ml):
    """What each of two ranks has measured."""
    return ask_two_ranks(SCRIPT, str(small_ml / "input/data"))


def measure_all(data_dir):
    """As one of two ranks; all of it in what JSON can hold."""
    with d.joined_ranks(CPU):
        measured = {
            "calls": call_each(d.rank()),
            "statistics": average_statistics(d.rank()),
            "sums": gather_beside_a_frozen_backbone(d.rank()),
            "thaw": thaw(d.rank()),
            "norms": measure_norms(d.rank()),
            "gradients": take_gradients(d.rank()),
            "scores": score_parts(d.rank()),
            "RID": score_rid(data_dir),
        }
    return {**measured, "place afterwards": [d.rank(), d.world_size()]}


def call_each(rank):
    calls = {"place": [rank, d.world_size(), local_rank()]}
    # The sum has more digits than a float64.
    calls["sums"] = d.all_reduce_sum(torch.tensor([2**53 + rank, -3])).tolist()
    calls["is_any"] = [d.is_any(value) for value in (False, rank == 0, rank == 1, True)]
    long = {"names": ["ü" * 1000, None], "rank": rank}
    calls["gathered"] = [
        d.gather_json(value) for value in ((0, long)[rank], (long, 0)[rank], ("", [])[rank])
    ]
    contents = (bytes(range(256)), b"the second one's is not sent")
    calls["content"] = d.broadcast_bytes(contents[rank]).hex()
    calls["no content"] = d.broadcast_bytes((b"", b"not sent")[rank]).hex()

    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 5.0 + rank)  # they begin with the first one's
    wrapped = d.wrap_model(layer, CPU)
    wrapped(torch.tensor([[1.0 + 2 * rank]])).sum().backward()
    calls["weight"] = layer.weight.item()
    calls["gradient"] = layer.weight.grad.item()
    return calls


class TestCalls:
    @pytest.fixture
    def calls(self, found):
        return [rank["calls"] for rank in found]

    def test_places(self, found, calls):
        assert [rank["place"] for rank in calls] == [[0, 2, 0], [1, 2, 1]]
        assert [rank["place afterwards"] for rank in found] == [[0, 1], [0, 1]]

    def test_sums_are_exact(self, calls):
        assert [rank["sums"] for rank in calls] == [[18014398509481985, -6]] * 2

    def test_any_rank_is_enough(self, calls):
        assert [rank["is_any"] for rank in calls] == [[False, True, True, True]] * 2

    def test_json_of_any_lengths_comes_by_rank(self, calls):
        long = [{"names": ["ü" * 1000, None], "rank": rank} for rank in (0, 1)]
        expected = [[0, long[1]], [long[0], 0], ["", []]]
        assert [rank["gathered"] for rank in calls] == [expected] * 2

    def test_the_first_ranks_content_counts(self, calls):
        assert [rank["content"] for rank in calls] == [bytes(range(256)).hex()] * 2
        assert [rank["no content"] for rank in calls] == ["", ""]

    def test_gradients_become_the_mean(self, calls):
        # The gradients by the weight are the inputs, 1 and 3.
        assert [rank["weight"] for rank in calls] == [5.0, 5.0]
        assert [rank["gradient"] for rank in calls] == [2.0, 2.0]


def average_statistics(rank):
    # Three layers, so that what belongs to which is seen; the statistics of rank 0 and rank 1:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(1), nn.BatchNorm1d(1).eval())
    model[0].running_mean.copy_(torch.tensor([[0.0, 4.0], [1.0, -2.0]][rank]))
    model[0].running_var.copy_(torch.tensor([[1.0, 2.0], [3.0, 2.5]][rank]))
    model[1].running_mean.fill_([10.0, 20.0][rank])
    model[1].num_batches_tracked.fill_(5 + rank)
    model[2].running_mean.fill_(7.0 + rank)
    BatchStatistics(model).average_over_ranks()
    return {name: buffer.tolist() for name, buffer in model.named_buffers()}


def test_statistics_that_change_become_the_mean(found):
    first, second = (rank["statistics"] for rank in found)
    assert first["0.running_mean"] == [0.5, 1.0]
    assert first["0.running_var"] == [2.0, 2.25]
    assert first["1.running_mean"] == [15.0]
    assert [first["1.num_batches_tracked"], second["1.num_batches_tracked"]] == [5, 6]
    assert [first["2.running_mean"], second["2.running_mean"]] == [[7.0], [8.0]]
    alike = [name for name in first if name.startswith(("0.", "1.running"))]
    assert {name: first[name] for name in alike} == {name: second[name] for name in alike}


def build_frozen():
    """The real network, whose backbone keeps its statistics while the decoder gathers its own."""
    torch.manual_seed(0)
    state, settings = steps.build(keeps_statistics=True)
    state.model = HybridRoofModel(decoder_channels=32)
    state.model.heads["depth"].requires_grad_(False)
    state.ema = build_ema(state.model, 0.9)
    state.optimizer.param_groups[0]["params"] = [
        p for p in state.model.parameters() if p.requires_grad
    ]
    return state, settings


def gather_beside_a_frozen_backbone(rank):
    state, settings = build_frozen()
    network = state.model
    state.model = d.wrap_model(network, CPU)
    steps.run(state, settings, [batch(2, 10 + rank, 32), batch(2, 20 + rank, 32)])
    return {
        name: [buffer.double().sum().item(), buffer.double().square().sum().item()]
        for name, buffer in network.named_buffers()
    }


def test_a_decoder_beside_a_frozen_backbone_has_the_statistics_of_all_samples(found):
    first, second = (rank["sums"] for rank in found)
    assert first == second
    untouched = HybridRoofModel(build_tasks(), decoder_channels=32)
    moved = {
        name
        for name, buffer in untouched.named_buffers()
        if first[name][0] != pytest.approx(buffer.double().sum().item(), abs=1e-9)
    }
    assert not [name for name in moved if name.startswith("backbone.")]
    assert [name for name in moved if name.startswith("pyramid.")]


def thaw(rank):
    state, settings = freezing.build(**DESCENT)
    state.model = d.wrap_model(state.model, CPU)
    network = state.model.module
    before = snapshot(network)
    backbone_before = snapshot(network.backbone)
    seen = {"wrappers": [], "changed": [], "distances": []}
    part = [slice(0, 1), slice(1, 4)][rank]
    for seed in range(4):
        own = {name: values[part] for name, values in batch(4, seed, SIDE_PX).items()}
        list(train_steps(state, iter([own]), 1, settings, lambda: False))
        seen["wrappers"].append(id(state.model))
        seen["changed"].append(len(changed(network.backbone, backbone_before)))
        seen["distances"].append(distances(network, before))
    return seen


def test_two_ranks_thaw_together_and_train_as_one_does(found):
    first, second = (rank["thaw"] for rank in found)
    state, settings = freezing.build(**DESCENT)
    num_weights = len(list(state.model.backbone.parameters()))
    for rank in (first, second):
        assert rank["changed"] == [0, 0, num_weights, num_weights]
        # Wrapped again for the step in which it thaws.
        same, thawed = {*rank["wrappers"][:2]}, {*rank["wrappers"][2:]}
        assert len(same) == len(thawed) == 1
        assert same != thawed
    assert first["distances"] == second["distances"]
    before = snapshot(state.model)
    for seed, expected in enumerate(first["distances"]):
        freezing.run(state, settings, 1, first=seed)
        assert distances(state.model, before) == pytest.approx(expected, rel=0.01, abs=1e-7)


NORMS = {"norm_interval_steps": 2, "grad_accum_steps": 2}


def measure_norms(rank):
    state, settings = freezing.build(0, True, **NORMS)
    state.model = d.wrap_model(state.model, CPU)
    batches = [batch(2, 10 * rank + seed, SIDE_PX) for seed in range(6)]
    results = freezing.run(state, settings, 6, batches=batches)
    return [result.gradient_norms for result in results]


def test_of_two_ranks_the_first_one_measures_gradient_norms(found):
    first, second = (rank["norms"] for rank in found)
    assert second == [None] * 3
    assert first[1] is None
    assert first[0].keys() == first[2].keys() == {"segments", "lines"}
    batches = [batch(2, seed, SIDE_PX) for seed in range(2)]
    state, settings = freezing.build(0, **NORMS)
    [alone] = freezing.run(state, settings, 2, batches=batches)
    assert first[0] == pytest.approx(alone.gradient_norms, rel=1e-4)


def take_gradients(rank):
    return {
        name: [
            {key: gradient.tolist() for key, gradient in step.items()}
            for step in step_gradients(passes[rank], grad_accum_steps)
        ]
        for name, (passes, grad_accum_steps, _) in RANK_SPLITS.items()
    }


@pytest.mark.parametrize("name", RANK_SPLITS)
def test_two_ranks_have_the_gradient_of_one(found, name):
    _, _, samples = RANK_SPLITS[name]
    first, second = (rank["gradients"][name] for rank in found)
    assert first == second
    for gradients, indices in zip(first, samples, strict=True):
        as_tensors = {
            key: torch.tensor(values, dtype=torch.float64) for key, values in gradients.items()
        }
        assert_alike(as_tensors, whole_gradients(indices))


def score_parts(rank):
    found = {}
    for name, plans in OVER_RANKS.items():
        for azimuth_bins in AZIMUTH_BINS:
            scores = score(plans[rank], azimuth_bins)
            scores.add_other_ranks(d.all_reduce_sum)
            found[f"{name} {azimuth_bins}"] = describe(scores)
    return found


@pytest.mark.parametrize("azimuth_bins", AZIMUTH_BINS)
@pytest.mark.parametrize("name", OVER_RANKS)
def test_two_ranks_score_as_one_does(found, name, azimuth_bins):
    expected = describe(score(WHOLE, azimuth_bins))
    for rank in found:
        assert rank["scores"][f"{name} {azimuth_bins}"] == expected


def test_two_ranks_read_each_image_once_and_score_as_one_does(found, small_ml):
    """Of three images the first rank gets two."""
    assert [rank["RID"][0] for rank in found] == [{"rid": 2}, {"rid": 1}]
    own, expected = score_rid(small_ml / "input/data")
    assert own == expected["num_samples"] == {"rid": 3}
    assert [rank["RID"][1] for rank in found] == [expected] * 2
    for name in ("segments/miou", "lines/f1_3px"):
        assert expected["values"][f"val/{name}"]["support"] > 0
