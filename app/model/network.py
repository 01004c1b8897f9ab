"""HybridRoofModel: one ResNet50, one feature pyramid, one head per task.

Logits are upsampled to the image's size, never features: convolving an upsampled map costs hundreds
of times the arithmetic and adds no information.
"""

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models import ResNet, resnet50

from app.base.tasks import Task, TaskName, build_tasks

# ImageNet's statistics, in units of the uint8 image: what pretrained backbones were trained with.
IMAGE_MEAN = (123.675, 116.28, 103.53)
IMAGE_STD = (58.395, 57.12, 57.375)

# Width of the pyramid of every network that is trained.
DECODER_CHANNELS = 128

_LARGEST_STRIDE_PX = 32
_STAGE_CHANNELS = (256, 512, 1024, 2048)
_STEM_CHANNELS = 64
_FINE_CHANNELS = 32
# Shares of pixels in RID, rounded: heads start from what is true of any roof photo, not from 1/18.
_PITCHED_PRIOR, _FLAT_PRIOR = 0.22, 0.04
_SUPERSTRUCTURES_PRIOR = 0.04
_LINE_PRIOR = 0.02


class HybridRoofModel(nn.Module):
    """Planes, lines, heights and perhaps superstructures from one RGB image.

    The strides follow a ceiling test on exact labels: areas and heights lose little at stride 4,
    3 px lines and chimneys need stride 2.

    Args:
        tasks: A head for each.
        decoder_channels: Width of the pyramid.
        checkpoint_activations: In training, keep only the activations between the backbone's stages
            and compute the others again in the backward pass: less memory for more time, with the
            same outputs, gradients and buffers.

    Attributes:
        tasks: As given.
        decoder_channels: As given.
        checkpoint_activations: As given; may be changed between steps.
    """

    def __init__(
        self,
        tasks: Sequence[Task] | None = None,
        decoder_channels: int = DECODER_CHANNELS,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        self.tasks = tuple(build_tasks() if tasks is None else tasks)
        self.decoder_channels = decoder_channels
        self.checkpoint_activations = checkpoint_activations
        self.image_mean: Tensor
        self.image_std: Tensor
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1), False)
        self.register_buffer("image_std", torch.tensor(IMAGE_STD).view(1, 3, 1, 1), False)
        self.backbone = _build_backbone()
        self.pyramid = _Pyramid(decoder_channels)
        self.heads = nn.ModuleDict(
            {task.name: _build_head(task, decoder_channels) for task in self.tasks}
        )

    def forward(
        self, image: Tensor, tasks: Collection[TaskName] | None = None
    ) -> dict[TaskName, Tensor]:
        """Logits of every task at the image's own size.

        Args:
            image: (N, 3, H, W) uint8, or float in [0, 255]; RGB; any H and W.
            tasks: Heads to run; all of them by default.

        Returns:
            For each task (N, num_classes, H, W) float32: metres (not negative) of `depth`, logits
            of the others.
        """
        height, width = image.shape[-2:]
        x = self._normalise(image)
        stem = _stem(self.backbone, x)
        recompute = self.checkpoint_activations and self.training and torch.is_grad_enabled()
        fused = self.pyramid(_stages(self.backbone, stem, recompute))
        outputs: dict[TaskName, Tensor] = {}
        for task in self.tasks:
            if tasks is not None and task.name not in tasks:
                continue
            head = self.heads[task.name]
            logits = head(fused, stem) if task.stride_px == 2 else head(fused)
            # Contiguous: losses reduce over classes, several times slower with channels last.
            logits = F.interpolate(
                logits.float().contiguous(), (x.shape[-2], x.shape[-1]), mode="bilinear"
            )[:, :, :height, :width]
            outputs[task.name] = F.softplus(logits) if task.kind == "metres" else logits
        return outputs

    def _normalise(self, image: Tensor) -> Tensor:
        """Standardised float32, channels last, padded below and right to a multiple of 32."""
        x = image.to(torch.float32, memory_format=torch.channels_last)
        x = (x - self.image_mean) / self.image_std
        height, width = x.shape[-2:]
        pad_bottom, pad_right = -height % _LARGEST_STRIDE_PX, -width % _LARGEST_STRIDE_PX
        if pad_bottom or pad_right:
            # Reflection looks like more of the same ground, but cannot reach past the far edge.
            fits = pad_bottom < height and pad_right < width
            x = F.pad(x, (0, pad_right, 0, pad_bottom), mode="reflect" if fits else "replicate")
        return x


class _Pyramid(nn.Module):
    """From the backbone's stages to one map at stride 4 that all heads read.

    A feature pyramid (Lin et al. 2017, arXiv 1612.03144), whose levels then go up to stride 4 each
    by its own branch, a convolution between any two doublings, and are summed: the semantic branch
    of Panoptic FPN (Kirillov et al. 2019, arXiv 1901.02446). The convolutions of coarse levels see
    far and cost little; a plane's surroundings tell which way it faces.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Conv2d(in_channels, num_channels, 1) for in_channels in _STAGE_CHANNELS
        )
        # Strides 4 and 8 have one convolution, 16 and 32 one more for each doubling above.
        self.branches = nn.ModuleList(
            nn.ModuleList(_block(num_channels, num_channels) for _ in range(max(1, level)))
            for level in range(len(_STAGE_CHANNELS))
        )

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """(N, num_channels, H/4, W/4), from the stages at strides 4, 8, 16 and 32."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, stages, strict=True)]
        for finer in reversed(range(len(levels) - 1)):
            levels[finer] = levels[finer] + _resize(levels[finer + 1], levels[finer], "nearest")
        finest, *coarser = (
            self._enlarge(branch, levels[: level + 1]) for level, branch in enumerate(self.branches)
        )
        # Enlarging is linear, so it is done once, after the sum.
        total: Tensor = finest + _resize(sum(coarser[1:], coarser[0]), finest, "bilinear")
        return total

    def _enlarge(self, branch: nn.Module, levels: Sequence[Tensor]) -> Tensor:
        """The last of the levels after its branch: at stride 8, the finest one at stride 4."""
        x = levels[-1]
        for i, block in enumerate(branch.children()):
            if i > 0:
                x = _resize(x, levels[-1 - i], "bilinear")
            x = block(x)
        return x


class _FineHead(nn.Module):
    """Logits at stride 2 from the fused pyramid (what it is) and the stem (where exactly it is)."""

    def __init__(self, task: Task, in_channels: int) -> None:
        super().__init__()
        self.from_fused = nn.Conv2d(in_channels, _FINE_CHANNELS, 1)
        self.from_stem = nn.Conv2d(_STEM_CHANNELS, _FINE_CHANNELS, 1)
        self.refine = _block(_FINE_CHANNELS, _FINE_CHANNELS)
        self.classify = build_classifier(task, _FINE_CHANNELS)

    def forward(self, fused: Tensor, stem: Tensor) -> Tensor:
        coarse = _resize(self.from_fused(fused), stem, "bilinear")
        x = self.refine(F.relu(coarse + self.from_stem(stem)))
        logits: Tensor = self.classify(x)
        return logits


def _build_backbone() -> ResNet:
    backbone = resnet50(weights=None)
    del backbone.fc, backbone.avgpool
    return backbone


def _stem(backbone: ResNet, x: Tensor) -> Tensor:
    stem: Tensor = backbone.relu(backbone.bn1(backbone.conv1(x)))
    return stem


def _stages(backbone: ResNet, stem: Tensor, recompute: bool) -> list[Tensor]:
    """The output of each stage; with `recompute`, activations inside a stage are not kept."""
    x = backbone.maxpool(stem)
    outputs = []
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
        x = _run_recomputed(stage, x) if recompute else stage(x)
        outputs.append(x)
    return outputs


def _run_recomputed(stage: nn.Module, x: Tensor) -> Tensor:
    """The stage's output; the backward pass computes the activations inside the stage again.

    By stage, not by block: the computation is the same. A stage computed again holds all its
    activations at once, but that is less than heads and losses held at the end of the forward pass,
    and those are gone by then. At that point, activations kept between blocks would be a fifth of
    all memory.
    """
    # A compiler traces the stage once: what it computes twice is no second update of the buffers.
    if torch.compiler.is_compiling():
        traced: Tensor = checkpoint(stage, x, use_reentrant=False)
        return traced
    output: Tensor = checkpoint(
        stage,
        x,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing in a stage draws; on CUDA saving the state is a wait
        context_fn=partial(_contexts, stage),
    )
    return output


def _contexts(
    stage: nn.Module,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """Around the first run of a stage, and around the second one."""
    return contextlib.nullcontext(), _statistics_left_alone(stage)


@contextlib.contextmanager
def _statistics_left_alone(stage: nn.Module) -> Iterator[None]:
    """Normalise by the batch as in training, but update copies of the running statistics.

    Momentum 0 would still count the batch. Removing the statistics fails too: the backward pass
    keeps a reference to them and has to find as many tensors as the first run left.
    """
    norms = [module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        for name, buffer in norm._buffers.items():
            norm._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _resize(x: Tensor, like: Tensor, mode: str) -> Tensor:
    """At the height and width of another map."""
    return F.interpolate(x, size=like.shape[-2:], mode=mode)


def _build_head(task: Task, in_channels: int) -> nn.Module:
    return (_FineHead if task.stride_px == 2 else build_classifier)(task, in_channels)


def build_classifier(task: Task, in_channels: int) -> nn.Conv2d:
    """The last convolution, biased so that the first prediction is the prior."""
    classifier = nn.Conv2d(in_channels, task.num_classes, 1)
    nn.init.normal_(classifier.weight, std=0.01)
    bias = classifier.bias
    assert bias is not None
    with torch.no_grad():
        if task.kind == "classes":
            bias.copy_(torch.tensor(class_priors(task)).log())
        elif task.kind == "multilabel":
            bias.fill_(math.log(_LINE_PRIOR / (1 - _LINE_PRIOR)))
        else:
            bias.zero_()
    return classifier


def class_priors(task: Task) -> list[float]:
    """Shares of pixels that add up to 1, background last."""
    if task.name == "superstructures":
        num_kinds = task.num_classes - 1
        return [*([_SUPERSTRUCTURES_PRIOR / num_kinds] * num_kinds), 1 - _SUPERSTRUCTURES_PRIOR]
    background = 1 - _PITCHED_PRIOR - _FLAT_PRIOR
    if not task.azimuth_bins:
        return [1 - background, background]
    azimuths = [_PITCHED_PRIOR / task.azimuth_bins] * task.azimuth_bins
    return [*azimuths, _FLAT_PRIOR, background]
