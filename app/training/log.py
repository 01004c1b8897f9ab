"""The log lines of a training run: at its start, and at the end of each epoch."""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from app.base.logs import metric_line
from app.base.tasks import TaskName
from app.data.distribution import lines_of_shares
from app.metrics.headlines import headline
from app.settings.presets import overridden_keys
from app.training.run import Run
from app.training.watch.gradient_norms import find_uneven

logger = logging.getLogger(__name__)


def log_start(run: Run) -> None:
    """Log the network, the data and the settings at the start of a run."""
    learned, hyperparameters = run.learned, run.hyperparameters
    for name, facts in run.datasets.to_json().items():
        logger.info(
            "%s: %d samples to train on, %.0f %% of every step, and %d to validate on",
            name,
            facts["num_train"],
            100 * facts["share"],
            facts["num_val"],
        )
    for line in lines_of_shares(run.distribution.to_json(learned.tasks)):
        logger.info("pixels after augmentation, %s", line)
    for task, weights in learned.class_weights.to_json(learned.tasks).items():
        if task in learned.task_weights:
            shown = ", ".join(f"{label} {weight:.2f}" for label, weight in weights.items())
            logger.info("weights of pixels in the loss of %s: %s", task, shown)
    logger.info(
        "training %s, %d steps an epoch; %s, %s, %.1f M parameters, torch %s",
        " and ".join(learned.task_weights),
        run.steps_per_epoch,
        run.compute.device,
        str(run.compute.autocast_dtype or torch.float32).removeprefix("torch."),
        sum(p.numel() for p in run.state.model.parameters()) / 1e6,
        torch.__version__,
    )
    changed = hyperparameters.non_default()
    logger.info("hyperparameters: %s", changed or "all at their defaults")
    if hyperparameters.phase is not None:
        overridden = overridden_keys(hyperparameters.phase, hyperparameters.model_dump())
        if overridden:
            words = [f"{name}={new} in place of {old}" for name, (old, new) in overridden.items()]
            logger.info("phase=%d is not as it stands: %s", hyperparameters.phase, ", ".join(words))


def log_epoch(row: Mapping[str, float | int | None], num_epochs: int, peak_gib: float) -> None:
    """Log an epoch's numbers: a line for people and, if stdout is no terminal, one for machines."""
    logger.info(
        "epoch %d/%d  %s  memory %.2f GiB", row["epoch"], num_epochs, headline(row), peak_gib
    )
    if sys.stdout.isatty():
        return
    # Of all datasets together: the line would be four times as long otherwise.
    values = {
        name: value
        for name, value in row.items()
        if name not in ("epoch", "step") and name.count("/") < 3
    }
    epoch, step = row["epoch"], row["step"]
    assert epoch is not None
    assert step is not None
    logger.info("%s", metric_line(values, int(epoch), int(step)))


def log_gradient_norms(
    norms: Mapping[TaskName, float], earlier: Sequence[Mapping[str, Any]]
) -> None:
    """Log how strongly each task pulls at the shared map, and what to do if one task dominates.

    Args:
        norms: By task.
        earlier: Measurements before this one, as Progress has them; the advice is not repeated
            from one to the next.
    """
    words = ", ".join(f"{name} {norm:.2g}" for name, norm in norms.items())
    logger.info("gradient norm at the shared feature: %s", words)
    uneven = find_uneven(norms)
    if uneven is None or (earlier and uneven == find_uneven(earlier[-1]["norms"])):
        return
    most, least = uneven
    logger.warning(
        "%s pulls %.0f times as strongly as %s: a lower %s_weight or a higher %s_weight would let "
        "both learn",
        most,
        norms[most] / norms[least],
        least,
        most,
        least,
    )
