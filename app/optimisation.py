"""Everything a training state starts from: weights, parameter groups, optimizer, averaging."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.backbone_weights import find_pretrained_weights, load_backbone_weights
from app.batch_size import remember_batch_size, settle_batch_size
from app.config import Hyperparameters
from app.devices import choose_autocast_dtype
from app.distributed import gather_json, rank, world_size
from app.errors import ConfigError
from app.model import HybridRoofModel
from app.sagemaker import PRETRAINED_CHANNEL, Paths
from app.shared_memory import fit_workers
from app.storage import writing_to
from app.tasks import Task, TaskName
from app.training_state import TrainingState, build_ema

logger = logging.getLogger(__name__)

_PRETRAINED_LR_FACTOR = 0.1


def settle_settings(
    hyperparameters: Hyperparameters,
    largest_pass: int | None,
    recalled_pass: int | None,
    paths: Paths,
) -> Hyperparameters:
    """The settings with the numbers that depend on the machines, the same on all ranks.

    Args:
        hyperparameters: As asked for.
        largest_pass: For batch_size=auto, the most samples of a pass that this host holds; None on
            ranks that have not found out.
        recalled_pass: What the run that goes on here has settled, where this rank's host knows.
        paths: Of the checkpoints, beside which the numbers are kept.

    Raises:
        RoofError: If numbers contradict each other, or cannot be written.
    """
    recalled = [size for size in gather_json(recalled_pass) if size is not None]
    found = [size for size in gather_json(largest_pass) if size is not None]
    # A run that goes on splits its steps as before, whatever hosts without its checkpoints found.
    largest = min(recalled or found, default=None)
    settled = settle_batch_size(hyperparameters, largest, world_size())
    if hyperparameters.batch_size == "auto" and rank() == 0:
        with writing_to(paths.checkpoint_dir):
            remember_batch_size(paths.checkpoint_dir, settled, hyperparameters, world_size())
    return fit_workers(settled, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def build_state(
    hyperparameters: Hyperparameters,
    channels: Mapping[str, Path],
    tasks: Sequence[Task],
    trained_tasks: Collection[TaskName],
    device: torch.device,
) -> TrainingState:
    """Model on its device, optimizer, averaged weights, all before the first step.

    Args:
        hyperparameters: Checked settings.
        channels: Folders by channel; `pretrained` is looked for among them.
        tasks: Heads of the model.
        trained_tasks: Heads that learn; the others keep their first weights.
        device: Where the model goes.

    Raises:
        RoofError: If the backbone's weights cannot be used.
    """
    torch.manual_seed(hyperparameters.seed)
    model = HybridRoofModel(tasks, checkpoint_activations=hyperparameters.checkpoint_activations)
    is_pretrained = _load_backbone(model, hyperparameters.backbone_weights, channels)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, head in model.heads.items():
        head.requires_grad_(name in trained_tasks)
    rate = hyperparameters.learning_rate
    backbone_rate = hyperparameters.backbone_learning_rate
    if backbone_rate is None:
        backbone_rate = rate * _PRETRAINED_LR_FACTOR if is_pretrained else rate
    optimizer = torch.optim.AdamW(
        _group_parameters(model, rate, backbone_rate, hyperparameters.weight_decay), fused=True
    )
    scaler = torch.amp.GradScaler(
        device.type,
        enabled=choose_autocast_dtype(hyperparameters.precision, device) == torch.float16,
    )
    return TrainingState(model, build_ema(model, hyperparameters.ema_decay), optimizer, scaler)


def choose_task_weights(
    hyperparameters: Hyperparameters, labelled: Collection[TaskName]
) -> dict[TaskName, float]:
    """Weights of the tasks that some dataset labels and the user wants trained.

    Raises:
        ConfigError: If there is no such task.
    """
    weights = {name: getattr(hyperparameters, f"{name}_weight") for name in labelled}
    weights = {name: weight for name, weight in weights.items() if weight > 0}
    if not weights:
        names = " or ".join(f"{name}_weight" for name in labelled)
        raise ConfigError(
            f"nothing to train: the datasets label {', '.join(labelled)}, but the weights of these "
            f"tasks are 0; set {names} above 0, or add a dataset that labels other tasks"
        )
    return weights


def _group_parameters(
    model: HybridRoofModel, rate: float, backbone_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Decoder first, then backbone; weights decay, biases and normalisation do not."""
    groups = []
    decoder: list[nn.Module] = [model.pyramid, model.heads]
    for modules, peak_lr in ((decoder, rate), ([model.backbone], backbone_rate)):
        parameters = [p for m in modules for p in m.parameters() if p.requires_grad]
        for decay, chosen in (
            (weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            groups.append(
                {"params": chosen, "lr": peak_lr, "peak_lr": peak_lr, "weight_decay": decay}
            )
    return groups


def _load_backbone(model: HybridRoofModel, choice: str, channels: Mapping[str, Path]) -> bool:
    """Load what `backbone_weights` asks for; False for random weights."""
    channel = channels.get(PRETRAINED_CHANNEL)
    if choice == "pretrained" and channel is None:
        raise ConfigError(
            "backbone_weights=pretrained, but the job has no channel named pretrained; add the "
            "channel, or name a file of weights, or set backbone_weights=none for random weights"
        )
    if choice == "none" or (choice == "auto" and channel is None):
        logger.warning(
            "backbone starts from random weights: it needs more samples and steps than a "
            "pretrained one (see backbone_weights)"
        )
        return False
    path = (
        find_pretrained_weights(channel)
        if channel and choice in ("auto", "pretrained")
        else Path(choice)
    )
    load_backbone_weights(model, path)
    return True
