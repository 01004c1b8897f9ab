"""HybridRoofModel with one thing changed: what the ablation compares, and nothing ships."""

from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from app.model.network import HybridRoofModel
from bench.support.networks.designs import DESIGNS, TASKS, Design

_STAGE_CHANNELS: Final = (256, 512, 1024, 2048)
_WIDTH: Final = 128


def _block(num_channels: int, out_channels: int | None = None) -> nn.Sequential:
    out_channels = num_channels if out_channels is None else out_channels
    return nn.Sequential(
        nn.Conv2d(num_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class _LinearPyramid(nn.Module):
    """torchvision's feature pyramid, which has no non-linearity, and a sum of its levels."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = FeaturePyramidNetwork(list(_STAGE_CHANNELS), _WIDTH)
        self.last = _block(_WIDTH)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        named = {str(i): stage for i, stage in enumerate(stages)}
        *finer, x = self.levels(named).values()
        for level in reversed(finer):
            x = level + F.interpolate(x, size=level.shape[-2:], mode="bilinear")
        fused: Tensor = self.last(x)
        return fused


class _TopDown(nn.Module):
    """A convolution, norm and ReLU after every merge on the way to the finest level."""

    def __init__(self) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, _WIDTH, 1, bias=False), nn.BatchNorm2d(_WIDTH))
            for n in _STAGE_CHANNELS
        )
        self.smooth = nn.ModuleList(_block(_WIDTH) for _ in _STAGE_CHANNELS)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        x: Tensor | None = None
        for stage, lateral, smooth in reversed(
            list(zip(stages, self.laterals, self.smooth, strict=True))
        ):
            merged = lateral(stage)
            if x is not None:
                merged = merged + F.interpolate(x, size=merged.shape[-2:], mode="bilinear")
            x = smooth(F.relu(merged))
        assert x is not None
        return x


class _CoarseHead(nn.Module):
    """A head of stride 4 where the model has one of stride 2."""

    def __init__(self, classify: nn.Conv2d) -> None:
        super().__init__()
        self.layers = nn.Sequential(_block(_WIDTH, classify.in_channels), classify)

    def forward(self, fused: Tensor, stem: Tensor) -> Tensor:  # noqa: ARG002 - as the fine head
        logits: Tensor = self.layers(fused)
        return logits


def _with_pyramid(pyramid: Callable[[], nn.Module]) -> Callable[[], HybridRoofModel]:
    def build() -> HybridRoofModel:
        model = HybridRoofModel(TASKS)
        model.pyramid = pyramid()
        return model

    return build


def _group_norm() -> HybridRoofModel:
    model = HybridRoofModel(TASKS)
    for part in (model.pyramid, model.heads):
        for parent in list(part.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d):
                    groups = min(32, child.num_features // 4)
                    setattr(parent, name, nn.GroupNorm(groups, child.num_features))
    return model


def _coarse_lines() -> HybridRoofModel:
    model = HybridRoofModel(TASKS)
    model.heads["lines"] = _CoarseHead(model.heads["lines"].classify)
    return model


def _deeper_heads() -> HybridRoofModel:
    model = HybridRoofModel(TASKS)
    for name in ("segments", "depth"):
        model.heads[name] = nn.Sequential(_block(_WIDTH), model.heads[name])
    return model


def _zero_residuals() -> HybridRoofModel:
    """Torchvision's zero_init_residual."""
    model = HybridRoofModel(TASKS)
    for module in model.backbone.modules():
        if hasattr(module, "bn3"):
            nn.init.zeros_(module.bn3.weight)
    return model


def _uniform_start() -> HybridRoofModel:
    """Last layers that start as any other convolution, not at the shares of the classes."""
    model = HybridRoofModel(TASKS)
    for module in model.heads.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.reset_parameters()
    return model


def _of_width(num_channels: int) -> Callable[[], HybridRoofModel]:
    return lambda: HybridRoofModel(TASKS, decoder_channels=num_channels)


_BUILDERS: Final[dict[str, Callable[[], nn.Module]]] = {
    "linear_pyramid": _with_pyramid(_LinearPyramid),
    "top_down": _with_pyramid(_TopDown),
    "group_norm": _group_norm,
    "deeper_heads": _deeper_heads,
    "coarse_lines": _coarse_lines,
    "width_96": _of_width(96),
    "width_192": _of_width(192),
    "zero_residuals": _zero_residuals,
    "uniform_start": _uniform_start,
}
VARIANTS = tuple(
    Design(name, build, "auto", torch.channels_last) for name, build in _BUILDERS.items()
)


def find_design(name: str) -> Design:
    """The design of that name, or the variant of ours."""
    return {design.name: design for design in (*DESIGNS, *VARIANTS)}[name]
