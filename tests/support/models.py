"""Model folders as training writes them, of networks that know nothing yet."""

import torch

from app.base.tasks import build_tasks
from app.model.export import describe_model, export_model
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters


def write_model(folder, azimuth_bins=16, *, superstructures=False, untaught=(), **settings):
    """A model folder whose tasks count as trained, but for some of their classes."""
    torch.manual_seed(0)
    tasks = build_tasks(azimuth_bins, superstructures=superstructures)
    model = HybridRoofModel(tasks, decoder_channels=32).eval()
    # Logits that depend on the photo, not on the priors alone.
    for task in tasks:
        last = [m for m in model.heads[task.name].modules() if isinstance(m, torch.nn.Conv2d)][-1]
        torch.nn.init.normal_(last.weight, std=1)
    taught = {
        task.name: [name for name in task.class_names if name not in untaught] for task in tasks
    }
    description = describe_model(model, Hyperparameters(**settings), taught)
    export_model(folder, model, description)
    return folder
