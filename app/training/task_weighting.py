"""How the losses of tasks are weighed against each other: by fixed weights, or by learned ones.

`task_weighting=uncertainty` minimises the sum over tasks of w (exp(-s) L + s), with w the task's
own weight, L its mean loss over the step, and s a number that is learned with the network: the
logarithm of the variance that the task's labels are taken to have. At its minimum s = log L, where
a loss counts for 1 whatever its size.

Source: Kendall, Gal and Cipolla 2018 (arXiv 1705.07115).
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

import torch
from torch import nn

from app.base.tasks import TASK_NAMES, TaskName

# A task weighs between 7.4 times its own weight and a twentieth of it.
_RANGE: Final = (-2.0, 3.0)

LogVariances = Mapping[TaskName, nn.Parameter]


def build_log_variances(
    trained_tasks: Collection[TaskName], device: torch.device
) -> dict[TaskName, nn.Parameter]:
    """An s of 0 for each task, () float32, in the order of TASK_NAMES.

    Each is a parameter of its own, so that the optimizer passes over those without a gradient.
    """
    return {
        name: nn.Parameter(torch.zeros((), device=device))
        for name in TASK_NAMES
        if name in trained_tasks
    }


def weigh_tasks(
    task_weights: Mapping[TaskName, float], log_variances: LogVariances
) -> dict[TaskName, float]:
    """What each task's mean loss counts for now: w exp(-s), or w where no s is learned."""
    return {
        name: weight * math.exp(-log_variances[name].item()) if name in log_variances else weight
        for name, weight in task_weights.items()
    }


def describe_weighting(
    task_weights: Mapping[TaskName, float], log_variances: LogVariances
) -> dict[str, Any]:
    """The content of metrics.json's "task_weighting": what losses count for, and each s."""
    return {
        "weights": weigh_tasks(task_weights, log_variances),
        "log_variances": {name: value.item() for name, value in log_variances.items()} or None,
    }


def set_gradients(
    task_weights: Mapping[TaskName, float],
    log_variances: LogVariances,
    mean_losses: Mapping[TaskName, float | None],
) -> None:
    """Give each s its gradient over the whole step, w (1 - exp(-s) L), in closed form.

    So it is the same for any split of the step over passes and ranks. A task of which nothing was
    known has no gradient: otherwise its s would sink a little in every such step.

    Args:
        task_weights: The tasks' own.
        log_variances: Get a gradient, or None.
        mean_losses: Over all passes and ranks; None where nothing was known.
    """
    for name, log_variance in log_variances.items():
        loss = mean_losses[name]
        if loss is None or not math.isfinite(loss):
            log_variance.grad = None
            continue
        slope = task_weights[name] * (1 - math.exp(-log_variance.item()) * loss)
        log_variance.grad = torch.full_like(log_variance, slope)


@torch.no_grad()
def clamp(log_variances: LogVariances) -> None:
    """Keep each s in its range."""
    for log_variance in log_variances.values():
        log_variance.clamp_(*_RANGE)
