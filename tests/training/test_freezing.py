"""The backbone's modes."""

import pytest
import torch
from torch import nn

from app.model.devices import Compute
from app.model.network import HybridRoofModel
from app.training.state import TrainingState, build_ema
from app.training.step import train_steps
from tests.support.models import shallow_backbones
from tests.support.steps import CPU, batch, step_settings

SIDE_PX = 32


def build(
    num_frozen_steps=2,
    checkpoint_activations=False,
    make=torch.optim.AdamW,
    autocast_dtype=None,
    **overrides,
):
    torch.manual_seed(0)
    with shallow_backbones():
        model = HybridRoofModel(decoder_channels=32, checkpoint_activations=checkpoint_activations)
    model.heads["depth"].requires_grad_(False)
    # In the decoder groups instead of the batch: any split of a step then gives the same.
    for part in (model.pyramid, model.heads):
        for parent in list(part.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, nn.GroupNorm(8, child.num_features))
    groups = [
        {"params": list(part.parameters()), "lr": 1e-3, "peak_lr": 1e-3, "weight_decay": 0.1}
        for part in (model.pyramid, model.heads, model.backbone)
    ]
    state = TrainingState(
        model,
        build_ema(model, 0.9),
        make(groups, fused=True),
        torch.amp.GradScaler("cpu", enabled=False),
    )
    settings = {
        "task_weights": {"segments": 1.0, "lines": 1.0},
        "grad_clip_norm": 1.0,
        "num_steps": 100,
        "num_frozen_steps": num_frozen_steps,
    }
    return state, step_settings(Compute(CPU, autocast_dtype), **{**settings, **overrides})


def run(state, settings, num_batches, first=0, batches=None):
    if batches is None:
        batches = [batch(4, seed, SIDE_PX) for seed in range(first, first + num_batches)]
    return list(train_steps(state, iter(batches), num_batches, settings, lambda: False))


def snapshot(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    return {name for name, value in module.state_dict().items() if not value.equal(before[name])}


@pytest.mark.parametrize("checkpoint_activations", [False, True])
def test_a_frozen_backbone_keeps_every_bit_and_learns_afterwards(checkpoint_activations):
    state, settings = build(2, checkpoint_activations)
    backbone, before = state.model.backbone, snapshot(state.model.backbone)
    heads_before = snapshot(state.model.heads)
    run(state, settings, 2)
    assert changed(backbone, before) == set()
    assert changed(state.ema.module.backbone, before) == set()
    assert len(changed(state.model.heads, heads_before)) > 10
    # Not even decay has touched it, and there are no moments yet.
    assert not any(p in state.optimizer.state for p in backbone.parameters())
    run(state, settings, 1, first=2)
    names = {name for name, _ in backbone.named_parameters()}
    assert names <= changed(backbone, before)
    assert "bn1.running_mean" in changed(backbone, before)
    assert state.optimizer.state[backbone.conv1.weight]["step"] == 1


def test_statistics_stay_while_weights_learn():
    state, settings = build(0, keeps_statistics=True)
    backbone, before = state.model.backbone, snapshot(state.model.backbone)
    run(state, settings, 1)
    assert changed(backbone, before) == {name for name, _ in backbone.named_parameters()}
    assert state.model.training
    assert not backbone.training


def count_kept_bytes(state, settings):
    """Bytes that the forward pass of a step keeps for its backward pass, without the weights."""
    sizes = {}

    def pack(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in state.model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(state, settings, 1)
    return sum(size for pointer, size in sizes.items() if pointer not in weights)


@pytest.mark.parametrize("checkpoint_activations", [False, True])
def test_nothing_of_a_frozen_backbone_is_kept_for_a_backward_pass(checkpoint_activations):
    frozen, thawed = (
        count_kept_bytes(*build(num_frozen, checkpoint_activations)) for num_frozen in (1, 0)
    )
    assert frozen < (0.9 if checkpoint_activations else 0.5) * thawed


@pytest.mark.parametrize("num_before", [1, 2, 3])
def test_a_run_that_goes_on_before_or_after_the_thaw_ends_alike(num_before):
    whole, settings = build()
    run(whole, settings, 4)
    first, _ = build()
    run(first, settings, num_before)
    resumed, _ = build()
    resumed.load_state_dict(first.state_dict())
    run(resumed, settings, 4 - num_before, first=num_before)
    assert changed(resumed.model, snapshot(whole.model)) == set()
    assert changed(resumed.ema, snapshot(whole.ema)) == set()


def test_a_network_without_a_backbone_is_none_to_freeze():
    state, settings = build()
    state.model = nn.Linear(1, 1)
    with pytest.raises(AttributeError, match="backbone"):
        run(state, settings, 1)


# A plain descent, since Adam would hide a gradient that is twice as long as it should be.
DESCENT = {"make": torch.optim.SGD, "keeps_statistics": True, "grad_clip_norm": 1e9}


def distances(module, before):
    """How far each parameter has moved."""
    with torch.no_grad():
        return [(p - before[name]).norm().item() for name, p in module.named_parameters()]
