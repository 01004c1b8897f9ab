"""HybridRoofModel with one thing changed: what the ablation compares, and nothing ships."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.model import HybridRoofModel, _build_classifier
from app.tasks import Task
from bench.support.designs import DESIGNS, TASKS, Design


def _replace(
    module: nn.Module,
    is_wanted: Callable[[nn.Module], bool],
    make: Callable[[nn.Module], nn.Module],
) -> None:
    for name, child in list(module.named_children()):
        if is_wanted(child):
            setattr(module, name, make(child))
        else:
            _replace(child, is_wanted, make)


def _is_group_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.GroupNorm)


def _as_batch_norm(module: nn.Module) -> nn.Module:
    assert isinstance(module, nn.GroupNorm)
    return nn.BatchNorm2d(module.num_channels)


def _batch_norm() -> HybridRoofModel:
    model = HybridRoofModel(TASKS)
    _replace(model.heads, _is_group_norm, _as_batch_norm)
    return model


def _pyramid_norm() -> HybridRoofModel:
    """As _batch_norm, and a norm behind every convolution of the pyramid."""
    model = _batch_norm()
    width = model.decoder_channels
    for block in model.pyramid.inner_blocks:
        block.append(nn.BatchNorm2d(width))
    for block in model.pyramid.layer_blocks[1:]:
        block.append(nn.BatchNorm2d(width))
    return model


def _conv(in_channels: int, out_channels: int, group: bool = False) -> nn.Sequential:
    norm = nn.GroupNorm(32, out_channels) if group else nn.BatchNorm2d(out_channels)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        norm,
        nn.ReLU(inplace=True),
    )


def _level_relu() -> HybridRoofModel:
    """As _batch_norm, the coarse levels' convolutions followed by norm and ReLU."""
    model = _batch_norm()
    width = model.decoder_channels
    for i in (1, 2, 3):
        model.pyramid.layer_blocks[i] = _conv(width, width)
    return model


class _Decoder(HybridRoofModel):
    """Another decoder; areas and heights are read off its features by 1x1 convolutions."""

    def __init__(self) -> None:
        super().__init__(TASKS)
        _replace(self.heads, _is_group_norm, _as_batch_norm)
        for task in TASKS:
            if task.stride_px == 4:
                self.heads[task.name] = _build_classifier(task, self.decoder_channels)


class _SharedTrunk(_Decoder):
    """All heads read the same 3x3 convolution of the fused map."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _conv(self.decoder_channels, self.decoder_channels)

    def _fuse(self, stages: dict[str, Tensor]) -> Tensor:
        fused: Tensor = self.trunk(super()._fuse(stages))
        return fused


class _SemanticFpn(_Decoder):
    """Panoptic FPN's branches: norm and ReLU after every convolution, one more a level up."""

    def __init__(self, group: bool = False, light: bool = False) -> None:
        super().__init__()
        width = self.decoder_channels
        self.pyramid.layer_blocks = nn.ModuleList(nn.Identity() for _ in range(4))
        self.branches = nn.ModuleList(
            nn.ModuleList(_conv(width, width, group) for _ in range(count))
            for count in ((1, 1, 1, 1) if light else (1, 1, 2, 3))
        )

    def _fuse(self, stages: dict[str, Tensor]) -> Tensor:
        levels = list(self.pyramid(stages).values())[:4]
        size = levels[0].shape[-2:]
        fused = None
        for level, branch in zip(levels, self.branches, strict=True):
            x = level
            for block in branch:
                x = block(x)
                if x.shape[-2:] != size:
                    x = F.interpolate(x, scale_factor=2, mode="bilinear")
            if x.shape[-2:] != size:
                x = F.interpolate(x, size=size, mode="bilinear")
            fused = x if fused is None else fused + x
        assert fused is not None
        return fused


class _TopDown(_Decoder):
    """A convolution, norm and ReLU after every merge on the way to the finest level."""

    def __init__(self) -> None:
        super().__init__()
        width = self.decoder_channels
        del self.pyramid
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(n, width, 1, bias=False), nn.BatchNorm2d(width))
            for n in (256, 512, 1024, 2048)
        )
        self.smooth = nn.ModuleList(_conv(width, width) for _ in range(4))

    def _fuse(self, stages: dict[str, Tensor]) -> Tensor:
        x = None
        for i, stage in reversed(list(enumerate(stages.values()))):
            lateral = self.lateral[i](stage)
            if x is not None:
                lateral = lateral + F.interpolate(x, size=lateral.shape[-2:], mode="bilinear")
            x = self.smooth[i](F.relu(lateral))
        assert x is not None
        return x


def _plain(build: Callable[[], HybridRoofModel]) -> Callable[[], HybridRoofModel]:
    """Residual branches that do not start at zero, as in the peers."""

    def built() -> HybridRoofModel:
        model = build()
        for module in model.backbone.modules():
            if hasattr(module, "bn3"):
                nn.init.ones_(module.bn3.weight)
        return model

    return built


def _narrow_depth() -> HybridRoofModel:
    """As _batch_norm, the head of heights half as wide."""
    model = _batch_norm()
    width = model.decoder_channels
    task = next(task for task in TASKS if task.name == "depth")
    model.heads["depth"] = nn.Sequential(
        nn.Conv2d(width, width // 2, 3, padding=1, bias=False),
        nn.BatchNorm2d(width // 2),
        nn.ReLU(inplace=True),
        _build_classifier(task, width // 2),
    )
    return model


def _of_width(channels: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = HybridRoofModel(TASKS, decoder_channels=channels)
        _replace(model.heads, _is_group_norm, _as_batch_norm)
        return model

    return build


class _CoarseLines(nn.Module):
    """A head of stride 4 where the model calls one of stride 2."""

    def __init__(self, task: Task, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            _build_classifier(task, width),
        )

    def forward(self, fused: Tensor, stem: Tensor) -> Tensor:  # noqa: ARG002
        logits: Tensor = self.layers(fused)
        return logits


def _coarse_lines() -> HybridRoofModel:
    model = _batch_norm()
    task = next(task for task in TASKS if task.name == "lines")
    model.heads["lines"] = _CoarseLines(task, model.decoder_channels)
    return model


def _designs() -> Iterator[Design]:
    for name, build in (
        ("batch_norm", _batch_norm),
        ("pyramid_norm", _pyramid_norm),
        ("shared_trunk", _SharedTrunk),
        ("narrow_depth", _narrow_depth),
        ("width_96", _of_width(96)),
        ("width_192", _of_width(192)),
        ("coarse_lines", _coarse_lines),
        ("plain_residuals", _plain(_batch_norm)),
        ("level_relu", _level_relu),
        ("semantic_fpn", _SemanticFpn),
        ("semantic_fpn_light", lambda: _SemanticFpn(light=True)),
        ("semantic_fpn_gn", lambda: _SemanticFpn(group=True)),
        ("semantic_fpn_plain", _plain(_SemanticFpn)),
        ("top_down", _TopDown),
        ("top_down_plain", _plain(_TopDown)),
    ):
        yield Design(name, build, "auto", torch.channels_last)


VARIANTS = tuple(_designs())


def find_design(name: str) -> Design:
    """The design of that name, or the variant of ours."""
    return {design.name: design for design in (*DESIGNS, *VARIANTS)}[name]
