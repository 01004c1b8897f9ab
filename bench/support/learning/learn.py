"""Trains one network of a comparison for a budget, with the project's own step, and scores it.

All networks get the same samples in the same order, losses, optimizer, schedule, averaging and
scoring; each runs at its best precision and memory format.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from app.base.tasks import Task, TaskName
from app.data.distribution import count_labels
from app.data.loading import Batch
from app.data.photos import Photo
from app.inference.predictor import Predictor
from app.inference.scoring import score_photo
from app.metrics.headlines import HEADLINES
from app.metrics.roof_metrics import RoofMetrics
from app.model.class_weights import ClassWeights, choose_class_weights
from app.model.devices import Compute, choose_autocast_dtype
from app.settings.hyperparameters import Hyperparameters
from app.training.build import build_step_settings
from app.training.optimizer import split_by_decay
from app.training.run import Learned
from app.training.state import TrainingState, build_ema
from app.training.step import StepSettings, train_steps
from bench.support.networks.designs import TASKS, Design

CPU: Final = torch.device("cpu")
# The scores of a run: the figure's name, and the metric behind it.
SCORES: Final = {one.figure: one.name for one in HEADLINES if one.figure}
NUM_WEIGHED: Final = 64
_RECENT_STEPS = 20


@dataclass(frozen=True)
class Budget:
    """How long a run trains: by the clock, or by steps. Scoring does not count.

    Attributes:
        seconds: Seconds of training, or None.
        steps: Optimizer steps, or None.
    """

    seconds: float | None = None
    steps: int | None = None

    def plan_steps(self, step: int, spent_s: float, recent_s: Sequence[float]) -> int:
        """How many steps the whole run will have, as far as can be told by now."""
        if self.steps is not None:
            return self.steps
        assert self.seconds is not None
        if not recent_s:
            return step + 1000
        left_s = self.seconds - spent_s
        return step + max(1, math.ceil(left_s / statistics.median(recent_s)))

    def is_spent(self, step: int, spent_s: float) -> bool:
        """Whether the run is over."""
        if self.steps is not None:
            return step >= self.steps
        assert self.seconds is not None
        return spent_s >= self.seconds

    def share_spent(self, step: int, spent_s: float) -> float:
        """The share of the budget that is spent, in [0, 1]."""
        if self.steps is not None:
            return step / self.steps
        assert self.seconds is not None
        return min(1.0, spent_s / self.seconds)


@dataclass(frozen=True)
class Course:
    """The schedule of a run: when it is scored, and when it ends.

    Attributes:
        budget: Budget of training alone.
        warmup_fraction: Share of the budget in which the learning rate rises.
        marks: Shares of the budget, ascending, the last one 1, at which to score.
    """

    budget: Budget
    warmup_fraction: float
    marks: Sequence[float]


def weigh_classes(sample: Batch, tasks: Sequence[Task] = TASKS) -> ClassWeights:
    """The weights that `train` would choose from these samples."""
    # One long image: (N, 4, H, W) lines as (4, N * H, W); of segments the shape does not matter.
    whole = {**sample, "lines": sample["lines"].transpose(0, 1).flatten(1, 2)}
    return choose_class_weights(tasks, count_labels(whole, tasks))  # type: ignore[arg-type]


def weigh_evenly(tasks: Sequence[Task] = TASKS) -> ClassWeights:
    """Every class weighs 1."""
    segments, lines, _ = (task.num_classes for task in tasks)
    return ClassWeights(segments=(1.0,) * segments, lines=(1.0,) * lines)


def build_settings(
    hyperparameters: Hyperparameters,
    task_weights: Mapping[TaskName, float],
    class_weights: ClassWeights,
    autocast_dtype: torch.dtype | None,
) -> StepSettings:
    """The settings of the step, except the number of steps, which the budget decides on the way."""
    settings = build_step_settings(
        hyperparameters,
        Learned(TASKS, task_weights, class_weights, {}),
        1,
        Compute(CPU, autocast_dtype),
    )
    # Peers have no heads to measure gradients at.
    return dataclasses.replace(settings, grad_accum_steps=1, norm_interval_steps=0)


def build_state(model: nn.Module, hyperparameters: Hyperparameters) -> TrainingState:
    """As `train` does for random weights: AdamW, decay of weights only, an average."""
    groups = split_by_decay([model], hyperparameters.learning_rate, hyperparameters.weight_decay)
    optimizer = torch.optim.AdamW(groups, fused=True)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    ema = build_ema(model, hyperparameters.ema_decay)
    return TrainingState(model, ema, optimizer, scaler)


def score(
    model: nn.Module,
    photos: Sequence[Photo],
    tasks: Mapping[TaskName, float],
    autocast_dtype: torch.dtype | None,
) -> dict[str, float]:
    """The figures of SCORES that are defined, on whole images."""
    metrics = RoofMetrics(TASKS)
    predictor = Predictor(model, tuple(tasks), Compute(CPU, autocast_dtype))
    for photo in photos:
        score_photo(predictor, photo, metrics)
    values = metrics.compute("val", "")
    found = {name: values[key].value for name, key in SCORES.items() if key in values}
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Mark:
    """A point of a run's curve: what it had spent, and how well it did there."""

    seconds: float
    steps: int
    scores: Mapping[str, float]


def learn(
    design: Design,
    state: TrainingState,
    batches: Iterator[Batch],
    settings: StepSettings,
    course: Course,
    score_at: Callable[[nn.Module, bool], Mapping[str, float]],
) -> list[Mark]:
    """Train until the budget is spent; the curve, whose last mark is the end.

    Args:
        design: What is trained.
        state: State of the training, with the network in its memory format.
        batches: Batches without end.
        settings: Settings of the step; the schedule follows the budget.
        course: When the run ends, and when it is scored.
        score_at: Scores the averaged network; told whether it is the end.
    """
    curve: list[Mark] = []
    spent_s, recent_s = 0.0, list[float]()
    budget, left = course.budget, list(course.marks)
    while True:
        num_steps = budget.plan_steps(state.step, spent_s, recent_s[-_RECENT_STEPS:])
        planned = dataclasses.replace(
            settings,
            num_steps=num_steps,
            num_warmup_steps=max(1, round(course.warmup_fraction * num_steps)),
        )
        batch = next(batches)  # not on the clock: it is the same for all
        start_s = time.perf_counter()
        for _ in train_steps(state, iter([batch]), 1, planned, lambda: False):
            pass
        took_s = time.perf_counter() - start_s
        spent_s += took_s
        if state.step > 2:  # the first ones allocate
            recent_s.append(took_s)
        is_over = budget.is_spent(state.step, spent_s)
        if is_over or budget.share_spent(state.step, spent_s) >= left[0]:
            while left and (is_over or budget.share_spent(state.step, spent_s) >= left[0]):
                left.pop(0)
            model = state.ema.module
            curve.append(Mark(spent_s, state.step, score_at(model, is_over)))
            print(f"{design.name}: {describe(curve[-1])}", flush=True)
        if is_over:
            return curve


def describe(mark: Mark) -> str:
    """One line."""
    scores = ", ".join(f"{name} {value:.3f}" for name, value in mark.scores.items())
    return f"{mark.seconds:.0f} s, {mark.steps} steps: {scores}"


def to_json(curve: Sequence[Mark]) -> list[dict[str, Any]]:
    """The curve as JSON types."""
    return [dataclasses.asdict(mark) for mark in curve]


def autocast_dtype_of(design: Design) -> torch.dtype | None:
    """The format in which a design runs here."""
    return choose_autocast_dtype(design.precision, CPU)
