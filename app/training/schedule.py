"""A backbone that learns later than the rest, or keeps its batch statistics."""

import logging

import torch

from app.training.ranks.distributed import wrap_model_anew
from app.training.state import TrainingState, unwrap

logger = logging.getLogger(__name__)


def prepare_backbone(
    state: TrainingState, device: torch.device, *, is_frozen: bool, keeps_statistics: bool
) -> None:
    """Put the backbone into the mode of the step that comes; nothing to do where it is in it.

    Frozen, none of its weights asks for a gradient, so that autograd keeps nothing of it and there
    is no backward pass. The optimizer passes over weights without a gradient, decay included, and
    makes its moments once they have one.

    Args:
        state: Its model is wrapped anew where the weights that learn have changed: what averages
            gradients over ranks waits for those it was made for. All ranks come here together.
        device: Where the model lies.
        is_frozen: Whether weights and batch statistics stay.
        keeps_statistics: Whether batch statistics stay, and are what it normalises by.
    """
    backbone = unwrap(state.model).get_submodule("backbone")
    gathers_statistics = not (is_frozen or keeps_statistics)
    if backbone.training != gathers_statistics:
        backbone.train(gathers_statistics)
    if next(backbone.parameters()).requires_grad == is_frozen:
        backbone.requires_grad_(not is_frozen)
        verb = "keeps its weights" if is_frozen else "learns"
        logger.info("the backbone %s from step %d on", verb, state.step + 1)
        state.model = wrap_model_anew(state.model, device)
