"""Which parameters learn together, and how fast."""

from collections.abc import Collection, Sequence
from typing import Any

from torch import nn

from app.model.initial_model import BACKBONE, DECODER
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters

_PRETRAINED_LR_FACTOR = 0.1
# From the image on; where rates differ, each part learns faster than the one before it.
_BACKBONE_PARTS = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


def group_parameters(
    model: HybridRoofModel,
    hyperparameters: Hyperparameters,
    *,
    is_pretrained: bool,
    known: Collection[str] = (),
) -> list[dict[str, Any]]:
    """AdamW's groups: decoder and heads first, then the backbone, its last part last.

    Args:
        model: Heads that do not learn have parameters without a gradient; they are left out.
        hyperparameters: Learning rates and decay.
        is_pretrained: Whether the backbone starts from weights of a file, and so learns slower.
        known: Parts that an initial model has taught, and which learn slower: BACKBONE, DECODER and
            names of tasks. Their groups come after those of the other heads.
    """
    rate, decay = hyperparameters.learning_rate, hyperparameters.weight_decay
    slow_rate = rate * hyperparameters.initial_model_rate_factor
    backbone_rate = hyperparameters.backbone_learning_rate
    if backbone_rate is None:
        backbone_rate = rate * _PRETRAINED_LR_FACTOR if is_pretrained else rate
        if BACKBONE in known:
            backbone_rate = slow_rate
    parts = {DECODER: model.pyramid, **dict(model.heads.items())}
    new_parts = [part for name, part in parts.items() if name not in known]
    known_parts = [part for name, part in parts.items() if name in known]
    groups: list[dict[str, Any]] = []
    for modules, part_rate in ((new_parts, rate), (known_parts, slow_rate)):
        if any(p.requires_grad for module in modules for p in module.parameters()):
            groups += split_by_decay(modules, part_rate, decay)
    lr_decay = hyperparameters.backbone_lr_decay
    if lr_decay == 1:
        return groups + split_by_decay([model.backbone], backbone_rate, decay)
    for depth, names in enumerate(_BACKBONE_PARTS):
        modules = [model.backbone.get_submodule(name) for name in names]
        part_rate = backbone_rate * lr_decay ** (len(_BACKBONE_PARTS) - 1 - depth)
        groups += split_by_decay(modules, part_rate, decay)
    return groups


def split_by_decay(
    modules: Sequence[nn.Module], peak_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Two groups: weights decay, biases and normalisation do not."""
    parameters = [p for m in modules for p in m.parameters() if p.requires_grad]
    return [
        _group([p for p in parameters if p.ndim > 1], peak_lr, weight_decay),
        _group([p for p in parameters if p.ndim <= 1], peak_lr, 0.0),
    ]


def _group(
    parameters: Sequence[nn.Parameter], peak_lr: float, weight_decay: float
) -> dict[str, Any]:
    return {
        "params": list(parameters), "lr": peak_lr, "peak_lr": peak_lr, "weight_decay": weight_decay,
    }  # fmt: skip
