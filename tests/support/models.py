"""Networks that know nothing yet, and model folders of them as training writes them."""

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch
from torchvision.models.resnet import Bottleneck, ResNet

from app.base.tasks import build_tasks
from app.model.export import describe_model, export_model
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters

# Of each stage. The first one has a block of each kind, with and without a convolution beside it.
SHALLOW_BLOCKS = (2, 1, 1, 1)
# Samples that a run of these networks counts classes in, at its start.
NUM_COUNTED = 32
# For processes that a test starts: a sitecustomize.py, which Python imports at its start.
SHALLOW_SITE = f"""
import sys
from importlib.machinery import PathFinder


def _make_shallow(module):
    from torchvision.models.resnet import Bottleneck, ResNet

    module.resnet50 = lambda weights: ResNet(Bottleneck, {list(SHALLOW_BLOCKS)})


def _count_less(module):
    module._NUM_SAMPLES = {NUM_COUNTED}


_CHANGES = {{"app.model.network": _make_shallow, "app.data.distribution": _count_less}}


class _Shallow:
    @staticmethod
    def find_spec(name, path, target=None):
        if name not in _CHANGES:
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_change(module):
            execute(module)
            _CHANGES[name](module)

        spec.loader.exec_module = execute_and_change
        return spec


sys.meta_path.insert(0, _Shallow)
"""


@contextlib.contextmanager
def shallow_backbones() -> Iterator[None]:
    """Networks built here have 5 blocks in the backbone, not 16: its parts, a third of its work.

    Runs of them count classes in a quarter of the samples.
    """

    def build(weights: None) -> ResNet:
        assert weights is None
        return ResNet(Bottleneck, list(SHALLOW_BLOCKS))

    with (
        mock.patch("app.model.network.resnet50", build),
        mock.patch("app.data.distribution._NUM_SAMPLES", NUM_COUNTED),
    ):
        yield


def write_model(
    folder, azimuth_bins=16, *, superstructures=False, untaught=(), sharpness=1, **settings
):
    """A model folder whose tasks count as trained, but for some of their classes.

    A shallow backbone needs a sharpness of 10, or all is background.
    """
    torch.manual_seed(0)
    tasks = build_tasks(azimuth_bins, superstructures=superstructures)
    model = HybridRoofModel(tasks, decoder_channels=32).eval()
    # Logits that depend on the photo, not on the priors alone.
    for task in tasks:
        last = [m for m in model.heads[task.name].modules() if isinstance(m, torch.nn.Conv2d)][-1]
        torch.nn.init.normal_(last.weight, std=sharpness)
    taught = {
        task.name: [name for name in task.class_names if name not in untaught] for task in tasks
    }
    description = describe_model(model, Hyperparameters(**settings), taught)
    export_model(folder, model, description)
    return folder
