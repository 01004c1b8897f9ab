"""Commands of `app` with a network of another library in the place of ours.

    .venv-peers/bin/python -m bench.support.real.as_peer smp_fpn train --base-dir DIR ...

Everything else is what people run: data, augmentation, losses, schedule, stages, scores. `train`
runs in this process, since its children would have our network.
"""

import sys
from collections.abc import Collection, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import app.model.network as ours
from app.base.tasks import Task, TaskName, build_tasks

PEERS: Final = ("smp_fpn", "smp_unet")


def build_network(name: str) -> nn.Module:
    """A network of segmentation-models-pytorch at its defaults, with random weights."""
    import segmentation_models_pytorch as smp  # only the peers' environment has it

    build = {"smp_fpn": smp.FPN, "smp_unet": smp.Unet}[name]
    network: nn.Module = build("resnet50", encoder_weights=None, classes=1)
    return network


class PeerRoofModel(ours.HybridRoofModel):
    """The network of another library, in the parts and with the outputs of HybridRoofModel.

    Args:
        tasks: As HybridRoofModel.
        decoder_channels: Kept for model.json; the network has its own.
        checkpoint_activations: Without effect.

    Attributes:
        peer: Name of the network, set once for the process.
    """

    peer: str = ""

    def __init__(
        self,
        tasks: Sequence[Task] | None = None,
        decoder_channels: int = ours.DECODER_CHANNELS,
        checkpoint_activations: bool = False,
    ) -> None:
        nn.Module.__init__(self)
        self.tasks = tuple(build_tasks() if tasks is None else tasks)
        self.decoder_channels = decoder_channels
        self.checkpoint_activations = checkpoint_activations
        for name, values in (("image_mean", ours.IMAGE_MEAN), ("image_std", ours.IMAGE_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        network = build_network(self.peer)
        self.backbone, self.pyramid = network.encoder, network.decoder
        self.heads = nn.ModuleDict(
            {
                task.name: _build_head(network.segmentation_head, task.num_classes)
                for task in self.tasks
            }
        )

    def forward(
        self, image: Tensor, tasks: Collection[TaskName] | None = None
    ) -> dict[TaskName, Tensor]:
        """As HybridRoofModel.forward."""
        height, width = image.shape[-2:]
        fused = self.pyramid(self.backbone(self._normalise(image)))
        outputs: dict[TaskName, Tensor] = {}
        for task in self.tasks:
            if tasks is None or task.name in tasks:
                logits = self.heads[task.name](fused).float().contiguous()[:, :, :height, :width]
                outputs[task.name] = F.softplus(logits) if task.kind == "metres" else logits
        return outputs


def _build_head(like: nn.Sequential, num_classes: int) -> nn.Sequential:
    """A head of the same layers for other classes: a convolution, and how it is enlarged."""
    first, *others = like
    layer = nn.Conv2d(first.in_channels, num_classes, first.kernel_size, padding=first.padding)
    nn.init.xavier_uniform_(layer.weight)  # as the library does it
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, *others)


def main(words: Sequence[str]) -> int:
    """Run a command; returns its exit code."""
    PeerRoofModel.peer, *arguments = words
    # Before anything else of `app` takes our network by its name.
    ours.HybridRoofModel = PeerRoofModel  # type: ignore[misc]
    from app.__main__ import main as run

    return run([*arguments, *(["--in-process"] if arguments[0] == "train" else [])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
