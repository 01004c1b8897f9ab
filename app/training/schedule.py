"""What a step's place in the run decides: the learning rate, and whether the backbone learns."""

import logging
import math

from app.training.ranks.distributed import rewrap_model
from app.training.state import StepSettings, TrainingState, unwrap

logger = logging.getLogger(__name__)

_FINAL_LR_FACTOR = 0.01


def learning_rate_factor(step: int, num_warmup_steps: int, num_steps: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine down to 1 %."""
    if step < num_warmup_steps:
        return (step + 1) / num_warmup_steps
    progress = (step - num_warmup_steps) / max(1, num_steps - num_warmup_steps)
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return _FINAL_LR_FACTOR + (1 - _FINAL_LR_FACTOR) * cosine


def prepare_step(state: TrainingState, settings: StepSettings) -> None:
    """Set the learning rate of the next step, and freeze or thaw the backbone where that is due."""
    factor = learning_rate_factor(state.step, settings.num_warmup_steps, settings.num_steps)
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    if settings.num_frozen_steps > 0 or settings.keeps_statistics:
        _prepare_backbone(state, settings)


def _prepare_backbone(state: TrainingState, settings: StepSettings) -> None:
    """Freeze or unfreeze the backbone for the next step; nothing happens if it is in that state.

    None of a frozen backbone's weights asks for a gradient, so autograd keeps nothing of it and
    there is no backward pass. The optimizer skips weights without a gradient, decay included; their
    moments begin with their first gradient.

    The model is wrapped again when other weights learn than before: the wrapper, which averages
    gradients over ranks, waits for the weights it was made for. All ranks come here together.
    """
    is_frozen = state.step < settings.num_frozen_steps
    backbone = unwrap(state.model).get_submodule("backbone")
    gathers_statistics = not (is_frozen or settings.keeps_statistics)
    if backbone.training != gathers_statistics:
        backbone.train(gathers_statistics)
    if next(backbone.parameters()).requires_grad == is_frozen:
        backbone.requires_grad_(not is_frozen)
        verb = "keeps its weights" if is_frozen else "learns"
        logger.info("the backbone %s from step %d on", verb, state.step + 1)
        state.model = rewrap_model(state.model, settings.compute.device)
