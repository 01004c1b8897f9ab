"""Models to start from."""

from collections.abc import Sequence
from pathlib import Path

import torch

from app.base.tasks import Task, TaskName
from app.model.export import describe_model, export_model
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters


def all_classes(tasks: Sequence[Task]) -> dict[TaskName, tuple[str, ...]]:
    """As a run that is taught everything has them."""
    return {task.name: task.class_names for task in tasks}


def write_model(folder: Path, sharpness: float = 1) -> Path:
    """A model whose predictions are anything but even; a shallow backbone needs more sharpness."""
    torch.manual_seed(7)
    model = HybridRoofModel()
    with torch.no_grad():
        model.heads["segments"].weight.mul_(30 * sharpness)
        model.heads["lines"].classify.weight.mul_(100 * sharpness)
    export_model(folder, model, describe_model(model, Hyperparameters(), all_classes(model.tasks)))
    return folder
