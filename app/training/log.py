"""What a training run says of itself in the log: at its start, and at the end of each epoch."""

import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from app.base.logs import metric_line
from app.base.tasks import Task, TaskName
from app.data.audit import sample_findings
from app.data.datasets import Datasets
from app.data.distribution import Distribution, lines_of_shares
from app.metrics.headlines import headline
from app.model.class_weights import ClassWeights
from app.settings.hyperparameters import Hyperparameters
from app.settings.presets import overridden_keys
from app.training.watch.gradient_norms import find_uneven

logger = logging.getLogger(__name__)


def log_findings(datasets: Datasets, seed: int) -> None:
    """What a look at a few samples finds, before hours go into training on them."""
    for source in datasets.train.sources:
        for finding in sample_findings(source.reader, seed=seed):
            if finding.severity == "warning":  # what is damaged is set aside, and named, when met
                logger.warning("%s; %s", finding.what, finding.remedy)


def log_start(
    hyperparameters: Hyperparameters,
    datasets: Datasets,
    distribution: Distribution,
    class_weights: ClassWeights,
    tasks: Sequence[Task],
    trained_tasks: Collection[str],
    steps_per_epoch: int,
    model: nn.Module,
    device: torch.device,
    autocast_dtype: torch.dtype | None,
) -> None:
    """What is trained, on what and with which settings."""
    for name, facts in datasets.describe().items():
        logger.info(
            "%s: %d samples to train on, %.0f %% of every step, and %d to validate on",
            name,
            facts["num_train"],
            100 * facts["share"],
            facts["num_val"],
        )
    for line in lines_of_shares(distribution.describe(tasks)):
        logger.info("pixels after augmentation, %s", line)
    for name, weights in class_weights.describe(tasks).items():
        if name in trained_tasks:
            shown = ", ".join(f"{label} {weight:.2f}" for label, weight in weights.items())
            logger.info("weights of pixels in the loss of %s: %s", name, shown)
    logger.info(
        "training %s, %d steps an epoch; %s, %s, %.1f M parameters, torch %s",
        " and ".join(trained_tasks),
        steps_per_epoch,
        device,
        str(autocast_dtype or torch.float32).removeprefix("torch."),
        sum(p.numel() for p in model.parameters()) / 1e6,
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
    """An epoch's numbers: a line for people and, where no person looks on, one for machines."""
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


def log_task_weights(weights: Mapping[TaskName, float]) -> None:
    """What the mean loss of each task counts for, where that is learned."""
    words = ", ".join(f"{name} {weight:.3g}" for name, weight in weights.items())
    logger.info("learned weights of the losses: %s", words)


def log_gradient_norms(
    norms: Mapping[TaskName, float], earlier: Sequence[Mapping[str, Any]]
) -> None:
    """How strongly each task pulls at what the heads share, and what to do if one decides alone.

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
