"""Everything a training state starts from: weights, parameter groups, optimizer, averaging."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.base.errors import ConfigError
from app.base.storage import writing_to
from app.base.tasks import Task, TaskName
from app.job.inputs import PRETRAINED_CHANNEL
from app.job.paths import Paths
from app.model.backbone_weights import find_pretrained_weights, load_backbone_weights
from app.model.class_weights import ClassWeights
from app.model.devices import choose_autocast_dtype
from app.model.losses import RoofLoss
from app.model.network import HybridRoofModel
from app.resources.batch_size import remember_batch_size, settle_batch_size
from app.resources.shared_memory import fit_workers
from app.settings.hyperparameters import Hyperparameters
from app.training.ranks.distributed import gather_json, rank, world_size
from app.training.state import TrainingState, build_ema, unwrap
from app.training.step import StepSettings
from app.training.task_weighting import build_log_variances
from app.training.watch.gradient_norms import NORM_INTERVAL_STEPS

logger = logging.getLogger(__name__)

_PRETRAINED_LR_FACTOR = 0.1
# They travel by whole units, also in a run of a few hundred steps.
_LOG_VARIANCES_LR_FACTOR = 10
# Below it, what a pass says of a channel's mean and spread is rough.
_FEW_SAMPLES_OF_A_PASS = 8
# From the image on; each learns faster than the one before, where they do not learn alike.
_BACKBONE_PARTS = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


def settle_settings(
    hyperparameters: Hyperparameters,
    largest_pass: int | None,
    recalled_pass: int | None,
    paths: Paths,
    channels: Mapping[str, Path],
) -> Hyperparameters:
    """The settings as they are on these machines and with these channels, alike on all ranks.

    Args:
        hyperparameters: As asked for.
        largest_pass: For batch_size=auto, the most samples of a pass that this host holds; None on
            ranks that have not found out.
        recalled_pass: What the run that goes on here has settled, where this rank's host knows.
        paths: Of the checkpoints, beside which the numbers are kept.
        channels: Folders by channel; `pretrained` is looked for among them.

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
    settled = _settle_backbone(settled, channels)
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
    _load_backbone(model, hyperparameters.backbone_weights, channels)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, head in model.heads.items():
        head.requires_grad_(name in trained_tasks)
    is_pretrained = _is_pretrained(hyperparameters.backbone_weights, channels)
    log_variances: dict[TaskName, nn.Parameter] = {}
    if hyperparameters.task_weighting == "uncertainty":
        log_variances = build_log_variances(trained_tasks, device)
    groups = _group_parameters(model, hyperparameters, is_pretrained, log_variances)
    optimizer = torch.optim.AdamW(groups, fused=True)
    scaler = torch.amp.GradScaler(
        device.type,
        enabled=choose_autocast_dtype(hyperparameters.precision, device) == torch.float16,
    )
    ema = build_ema(model, hyperparameters.ema_decay)
    return TrainingState(model, ema, optimizer, scaler, log_variances)


def set_peak_rates(
    state: TrainingState, hyperparameters: Hyperparameters, channels: Mapping[str, Path]
) -> None:
    """Give every group of parameters the peak learning rate that these settings ask for.

    Args:
        state: From `build_state` with other settings of learning rates.
        hyperparameters: Checked settings.
        channels: As for `build_state`.
    """
    model = unwrap(state.model)
    assert isinstance(model, HybridRoofModel)
    is_pretrained = _is_pretrained(hyperparameters.backbone_weights, channels)
    asked = _group_parameters(model, hyperparameters, is_pretrained, state.log_variances)
    for group, own in zip(state.optimizer.param_groups, asked, strict=True):
        group["peak_lr"] = own["peak_lr"]


def build_step_settings(
    hyperparameters: Hyperparameters,
    tasks: Sequence[Task],
    task_weights: Mapping[TaskName, float],
    class_weights: ClassWeights,
    num_steps: int,
    device: torch.device,
    autocast_dtype: torch.dtype | None,
) -> StepSettings:
    """What stays the same over the num_steps steps of a run."""
    return StepSettings(
        task_weights=task_weights,
        loss=RoofLoss(
            tuple(tasks),
            hyperparameters.dice_weight,
            hyperparameters.azimuth_smoothing,
            class_weights,
        ),
        grad_accum_steps=hyperparameters.grad_accum_steps,
        grad_clip_norm=hyperparameters.grad_clip_norm,
        num_steps=num_steps,
        num_warmup_steps=round(hyperparameters.warmup_fraction * num_steps),
        device=device,
        autocast_dtype=autocast_dtype,
        # Never all steps: a backbone that is to learn later does.
        num_frozen_steps=min(
            round(hyperparameters.freeze_backbone_fraction * num_steps), num_steps - 1
        ),
        keeps_statistics=hyperparameters.backbone_batchnorm == "frozen",
        norm_interval_steps=NORM_INTERVAL_STEPS if len(task_weights) > 1 else 0,
    )


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
    model: HybridRoofModel,
    hyperparameters: Hyperparameters,
    is_pretrained: bool,
    log_variances: Mapping[TaskName, nn.Parameter],
) -> list[dict[str, Any]]:
    """Decoder and what learns with it first, then the backbone, its last part last."""
    rate, decay = hyperparameters.settled_learning_rate, hyperparameters.weight_decay
    backbone_rate = hyperparameters.backbone_learning_rate
    if backbone_rate is None:
        backbone_rate = rate * _PRETRAINED_LR_FACTOR if is_pretrained else rate
    groups = split_by_decay([model.pyramid, model.heads], rate, decay)
    if log_variances:
        groups.append(group_log_variances(log_variances, rate))
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


def group_log_variances(
    log_variances: Mapping[TaskName, nn.Parameter], peak_lr: float
) -> dict[str, Any]:
    """The group of the log variances, beside a network that learns at `peak_lr`."""
    return _group(list(log_variances.values()), peak_lr * _LOG_VARIANCES_LR_FACTOR, 0.0)


def _group(
    parameters: Sequence[nn.Parameter], peak_lr: float, weight_decay: float
) -> dict[str, Any]:
    return {
        "params": list(parameters), "lr": peak_lr, "peak_lr": peak_lr, "weight_decay": weight_decay,
    }  # fmt: skip


def _settle_backbone(
    hyperparameters: Hyperparameters, channels: Mapping[str, Path]
) -> Hyperparameters:
    """The settings without those that mean nothing here: random weights have to learn at once."""
    settings = {
        "freeze_backbone_fraction": hyperparameters.freeze_backbone_fraction,
        "backbone_batchnorm": hyperparameters.backbone_batchnorm,
    }
    if _is_pretrained(hyperparameters.backbone_weights, channels):
        size = hyperparameters.micro_batch_size
        if size < _FEW_SAMPLES_OF_A_PASS and hyperparameters.backbone_batchnorm == "train":
            logger.info(
                "a pass of %d samples says little about batch statistics; "
                "backbone_batchnorm=frozen keeps those of the pretrained weights",
                size,
            )
        return hyperparameters
    defaults = {name: Hyperparameters.model_fields[name].default for name in settings}
    for name, value in settings.items():
        if value != defaults[name]:
            logger.warning(
                "%s=%s has no effect: the backbone starts from random weights", name, value
            )
    return hyperparameters.model_copy(update=defaults)


def _is_pretrained(choice: str, channels: Mapping[str, Path]) -> bool:
    """Whether `backbone_weights` stands for weights from a file."""
    return choice != "none" and (choice != "auto" or PRETRAINED_CHANNEL in channels)


def _load_backbone(model: HybridRoofModel, choice: str, channels: Mapping[str, Path]) -> None:
    """Load what `backbone_weights` asks for."""
    channel = channels.get(PRETRAINED_CHANNEL)
    if choice == "pretrained" and channel is None:
        raise ConfigError(
            "backbone_weights=pretrained, but the job has no channel named pretrained; add the "
            "channel, or name a file of weights, or set backbone_weights=none for random weights"
        )
    if not _is_pretrained(choice, channels):
        logger.warning(
            "backbone starts from random weights: it needs more samples and steps than a "
            "pretrained one (see backbone_weights)"
        )
        return
    path = (
        find_pretrained_weights(channel)
        if channel and choice in ("auto", "pretrained")
        else Path(choice)
    )
    load_backbone_weights(model, path)
