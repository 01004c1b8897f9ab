"""The networks that are compared, each giving HybridRoofModel's outputs."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.segmentation import deeplabv3_resnet50

from app.base.tasks import TaskName, build_tasks
from app.model.network import IMAGE_MEAN, IMAGE_STD, HybridRoofModel

TASKS = build_tasks()
_NUM_CHANNELS = sum(task.num_classes for task in TASKS)


@dataclass(frozen=True)
class Design:
    """A network and how it is run.

    Attributes:
        name: Name of its figures.
        build: Makes it, with random weights.
        precision: The hyperparameter `precision` it runs with.
        memory_format: Memory format of its weights and its input.
    """

    name: str
    build: Callable[[], nn.Module]
    precision: str
    memory_format: torch.memory_format


class PeerModel(nn.Module):
    """A segmentation network of another library, with one channel per class of every task."""

    def __init__(self, network: nn.Module, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.network = network
        self.memory_format = memory_format

    def forward(
        self, image: Tensor, tasks: Collection[TaskName] | None = None
    ) -> dict[TaskName, Tensor]:
        """As HybridRoofModel.forward; H and W multiples of 32."""
        channels = self.network(_standardise(image, self.memory_format))
        outputs = _split_tasks(channels)
        return {name: outputs[name] for name in outputs if tasks is None or name in tasks}


class NaiveModel(nn.Module):
    """The obvious multi-task design: features enlarged to the image, then convolved per task.

    98 percent of its arithmetic is three 3x3 convolutions at full size, on a map that holds no more
    than the backbone's last one, which is 32 times smaller each way.
    """

    def __init__(self) -> None:
        super().__init__()
        backbone = resnet50(weights=None)
        self.backbone = nn.Sequential(*list(backbone.children())[:-2])  # no pooling, no classifier
        self.reduce = nn.Sequential(
            nn.Conv2d(2048, 512, 1, bias=False), nn.BatchNorm2d(512), nn.ReLU(inplace=True)
        )
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(512, 256, 3, padding=1, bias=False),
                nn.BatchNorm2d(256),
                nn.ReLU(inplace=True),
                nn.Conv2d(256, task.num_classes, 1),
            )
            for task in TASKS
        )

    def forward(self, image: Tensor) -> dict[TaskName, Tensor]:
        """As HybridRoofModel.forward; H and W multiples of 32."""
        x = self.reduce(self.backbone(_standardise(image, torch.contiguous_format)))
        x = F.interpolate(x, size=image.shape[-2:], mode="bilinear")
        return _split_tasks(torch.cat([head(x) for head in self.heads], dim=1))


def _standardise(image: Tensor, memory_format: torch.memory_format) -> Tensor:
    x = image.to(torch.float32, memory_format=memory_format)
    mean = torch.tensor(IMAGE_MEAN, device=x.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGE_STD, device=x.device).view(1, 3, 1, 1)
    return (x - mean) / std


def _split_tasks(channels: Tensor) -> dict[TaskName, Tensor]:
    """(N, num_channels, H, W) as logits of every task, heights through softplus."""
    parts = channels.float().split([task.num_classes for task in TASKS], dim=1)
    return {
        task.name: F.softplus(part) if task.kind == "metres" else part
        for task, part in zip(TASKS, parts, strict=True)
    }


def _build_unet() -> nn.Module:
    import segmentation_models_pytorch as smp  # only the peers' environment has it

    network = smp.Unet("resnet50", encoder_weights=None, classes=_NUM_CHANNELS)
    return PeerModel(network, torch.channels_last)


def _build_fpn() -> nn.Module:
    import segmentation_models_pytorch as smp

    network = smp.FPN("resnet50", encoder_weights=None, classes=_NUM_CHANNELS)
    return PeerModel(network, torch.channels_last)


def _build_deeplabv3() -> nn.Module:
    network = deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=_NUM_CHANNELS, aux_loss=False
    )
    return PeerModel(_FirstOutput(network), torch.channels_last)


class _FirstOutput(nn.Module):
    """torchvision's segmentation networks answer with a dict."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.network(image)["out"]
        return out


OURS = Design("ours", HybridRoofModel, "auto", torch.channels_last)
NAIVE = Design("naive", NaiveModel, "fp32", torch.contiguous_format)
SMP_UNET = Design("smp_unet", _build_unet, "auto", torch.channels_last)
SMP_FPN = Design("smp_fpn", _build_fpn, "auto", torch.channels_last)
TV_DEEPLABV3 = Design("tv_deeplabv3", _build_deeplabv3, "auto", torch.channels_last)
DESIGNS = (OURS, NAIVE, SMP_UNET, SMP_FPN, TV_DEEPLABV3)
