"""`learning_rate=auto`: rates from far too low to far too high, tried before training begins.

A network like the one to be trained takes some steps at rates that rise by the same factor from
step to step (Smith 2017, arXiv 1506.01186). Its loss falls the faster the higher the rate, until
the rate is too high and the loss rises. It sees the samples of a few steps again and again, and its
loss is averaged over one such round: otherwise the curve would show which samples are hard. Taken
is a tenth of the rate at which it was lowest. The point of steepest descent, which others take, is
a difference of neighbours, and so more a matter of chance; the lowest point is one of the whole
curve, and lies at the edge of what is too much. The network is then thrown away: training begins as
if it had never been.
"""

import gc
import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from app.base.storage import writing_to
from app.base.tasks import Task, TaskName
from app.data.datasets import Datasets, read_train_batches
from app.settings.hyperparameters import DEFAULT_LEARNING_RATE, Hyperparameters
from app.settings.settled import recall, remember
from app.training.build import build_state, set_peak_rates
from app.training.ranks.distributed import gather_json, rank, wrap_model
from app.training.step import MAX_SKIPPED_STEPS, StepSettings, train_steps

logger = logging.getLogger(__name__)

_LOWEST: Final = 1e-5
_HIGHEST: Final = 0.1
_SAFETY: Final = 10.0
_BOUNDS: Final = (1e-5, 1e-2)
_MAX_STEPS: Final = 80
# A run has to be so long, and may be spent on the search to this share.
_MIN_RUN_STEPS: Final = 100
_MAX_SHARE: Final = 4
# Steps with samples of their own, which come again and again; as a share of all.
_ROUND: Final = 10
_DIVERGED: Final = 4.0
# Below it, what looks like a fall is as likely chance.
_MIN_FALL: Final = 0.02

Means = Mapping[TaskName, float | None]


@dataclass(frozen=True)
class RateSearch:
    """What was tried, and what was chosen.

    Attributes:
        rates: Of the decoder, rising; empty where the run is too short to try any.
        losses: Of the step at each, before it changes the weights: weighted sum over tasks.
        chosen: The learning rate to train with.
    """

    rates: list[float]
    losses: list[float]
    chosen: float

    def to_json(self) -> dict[str, Any]:
        """The content of metrics.json's "learning_rate_search"."""
        return {"rates": self.rates, "losses": self.losses, "chosen": self.chosen}


def settle_learning_rate(
    hyperparameters: Hyperparameters,
    channels: Mapping[str, Path],
    datasets: Datasets,
    tasks: Sequence[Task],
    settings: StepSettings,
    checkpoint_dir: Path,
    stop_requested: Callable[[], bool],
) -> RateSearch | None:
    """What learning_rate=auto stands for, the same on all ranks; None if asked to stop meanwhile.

    Args:
        hyperparameters: As they will train.
        channels: As for `build_state`.
        datasets: Their samples; files that turn out to be bad are set aside.
        tasks: Of the network.
        settings: Of the steps of the run.
        checkpoint_dir: A run that goes on from there takes what was found before; what is found now
            is kept there.
        stop_requested: Asked once a step.

    Raises:
        RoofError: If the network cannot be built or the data cannot be read.
    """
    recalled = recall(checkpoint_dir, "learning_rate", hyperparameters.resume)
    found = _read(gather_json(recalled)[0])
    if found is not None:
        logger.info("learning_rate=auto: %g, as in the run that goes on here", found.chosen)
        return found
    if settings.num_steps < _MIN_RUN_STEPS:
        logger.info(
            "learning_rate=auto: %g, the default, since a run of %d steps is too short to try any "
            "(%d are enough)",
            DEFAULT_LEARNING_RATE,
            settings.num_steps,
            _MIN_RUN_STEPS,
        )
        found = RateSearch([], [], DEFAULT_LEARNING_RATE)
    else:
        num_steps = min(_MAX_STEPS, settings.num_steps // _MAX_SHARE)
        found = _search(
            hyperparameters, channels, datasets, tasks, settings, num_steps, stop_requested
        )
        gc.collect()  # the network is part of cycles
        if settings.device.type == "cuda":
            torch.cuda.empty_cache()
        if found is None:
            return None
        # Sums over ranks are the same on all of them; should a last bit differ, the first counts.
        found = _read(gather_json(found.to_json())[0])
        assert found is not None
    if rank() == 0:
        with writing_to(checkpoint_dir):
            remember(checkpoint_dir, "learning_rate", found.to_json())
    return found


def _read(document: object) -> RateSearch | None:
    """What `to_json` has written; None for anything else."""
    if not isinstance(document, dict):
        return None
    chosen, rates, losses = (document.get(key) for key in ("chosen", "rates", "losses"))
    if not isinstance(chosen, float) or not 0 < chosen <= 1:
        return None
    if not isinstance(rates, list) or not isinstance(losses, list):
        return None
    return RateSearch(rates, losses, chosen)


def _search(
    hyperparameters: Hyperparameters,
    channels: Mapping[str, Path],
    datasets: Datasets,
    tasks: Sequence[Task],
    settings: StepSettings,
    num_steps: int,
    stop_requested: Callable[[], bool],
) -> RateSearch | None:
    def at_rate(rate: float) -> Hyperparameters:
        return hyperparameters.model_copy(update={"learning_rate": rate})

    rates = np.geomspace(_LOWEST, _HIGHEST, num_steps)
    state = build_state(at_rate(_LOWEST), channels, tasks, settings.task_weights, settings.device)
    state.model = wrap_model(state.model, settings.device)
    # Of a schedule so long, all steps are at the peak.
    constant = replace(
        settings, num_steps=10**12, num_warmup_steps=0, num_frozen_steps=0, norm_interval_steps=0
    )
    round_steps = _round_steps(num_steps)
    order = itertools.islice(
        datasets.train_order(hyperparameters, 0, 0), round_steps * settings.grad_accum_steps
    )
    # Keys, not samples, which would fill the memory.
    rounds = list(order) * math.ceil(num_steps / round_steps)
    # The order of the samples is begun anew for training.
    batches = read_train_batches(datasets, hyperparameters, rounds)
    steps = train_steps(state, batches, len(rounds), constant, stop_requested)
    means: list[Means] = []
    tried: list[float] = []
    try:
        for rate in rates:
            set_peak_rates(state, at_rate(float(rate)), channels)
            result = next(steps)
            if result.stop:
                return None
            if result.losses.weighted_mean(settings.task_weights) is None:
                if state.num_skipped == MAX_SKIPPED_STEPS:  # one more would end the run
                    break
                continue
            means.append(result.losses.means())
            tried.append(float(rate))
            smoothed = _smooth(_curve(means, settings.task_weights), round_steps)
            if len(smoothed) and smoothed[-1] > _DIVERGED * smoothed.min():
                break
    finally:
        batches.close()
    return _choose(tried, _curve(means, settings.task_weights), round_steps)


def _round_steps(num_steps: int) -> int:
    return max(2, num_steps // _ROUND)


def _curve(means: Sequence[Means], weights: Mapping[TaskName, float]) -> npt.NDArray[np.float64]:
    """(n,) weighted sum over tasks of the mean losses of each step.

    Where a step knows nothing of a task, its loss is taken from the steps around: a step without
    heights is no better than others. A task that no step knows of is left out.
    """
    total = np.zeros(len(means))
    for name, weight in weights.items():
        known = [(i, mean) for i, row in enumerate(means) if (mean := row[name]) is not None]
        if known:
            places, values = zip(*known, strict=True)
            total += weight * np.interp(np.arange(len(means)), places, values)
    return total


def _smooth(curve: npt.NDArray[np.float64], round_steps: int) -> npt.NDArray[np.float64]:
    """(n - round_steps + 1,) means over each whole round; (0,) before the first one is over."""
    if len(curve) < round_steps:
        return np.empty(0)
    return np.convolve(curve, np.full(round_steps, 1 / round_steps), mode="valid")


def _choose(rates: Sequence[float], curve: npt.NDArray[np.float64], round_steps: int) -> RateSearch:
    """A tenth of the rate at which the smoothed loss is lowest, and the log's line on it."""
    losses = [float(value) for value in curve]
    smoothed = _smooth(curve, round_steps)
    if len(smoothed) < round_steps or smoothed.min() > (1 - _MIN_FALL) * smoothed[0]:
        logger.warning(
            "learning_rate=auto: %g, the default, since the loss fell at none of %d rates tried",
            DEFAULT_LEARNING_RATE,
            len(rates),
        )
        return RateSearch(list(rates), losses, DEFAULT_LEARNING_RATE)
    best = int(smoothed.argmin())
    best_rate = rates[best + round_steps // 2]  # in the middle of its round
    chosen = float(f"{np.clip(best_rate / _SAFETY, *_BOUNDS):.2g}")  # no more digits than it means
    logger.info(
        "learning_rate=auto: %g, a tenth of the rate at which the loss was lowest (tried %d from "
        "%.0e to %.2g: loss %.3g at first, %.3g at %.2g, %.3g at last)",
        chosen,
        len(rates),
        rates[0],
        rates[-1],
        smoothed[0],
        smoothed[best],
        best_rate,
        smoothed[-1],
    )
    return RateSearch(list(rates), losses, chosen)
