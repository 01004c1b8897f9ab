"""What changes from step to step: weights, their average, the optimizer, and sums of losses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from app.base.tasks import TASK_NAMES, TaskName
from app.data.transforms import TrainTransform
from app.model.devices import Compute
from app.model.losses import RoofLoss

Tensors = tuple[Tensor, ...] | list[Tensor]  # what torch's foreach functions take

_GROUP_SETTINGS = ("peak_lr", "weight_decay")


@dataclass
class TrainingState:
    """What changes from step to step, and so what a checkpoint holds.

    Attributes:
        model: The network being trained; may be wrapped in DistributedDataParallel.
        ema: Its exponential moving average, buffers included: what is evaluated and exported.
        optimizer: Its parameter groups carry `peak_lr`.
        scaler: Loss scaling, enabled for float16 only.
        step: Optimizer steps done.
        num_skipped: How many of the latest steps in a row left the weights alone.
        max_samples_per_pass: The samples that memory turned out to hold; None while it holds whole
            micro-batches. Not in checkpoints: another machine may have more.
    """

    model: nn.Module
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    num_skipped: int = 0
    max_samples_per_pass: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain types only."""
        return {
            "model": unwrap(self.model).state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "num_skipped": self.num_skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` gave.

        Raises:
            ValueError: If other parts of the network were trained.
        """
        unwrap(self.model).load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        # The optimizer would bring its old settings along, and this run may have been given others.
        own = [{key: group[key] for key in _GROUP_SETTINGS} for group in self._groups()]
        num_groups = len(state["optimizer"]["param_groups"])
        if num_groups != len(own):
            raise ValueError(
                f"it has {num_groups} groups of parameters, these settings make {len(own)} (as "
                "backbone_lr_decay and initial_model ask for)"
            )
        self.optimizer.load_state_dict(state["optimizer"])
        for group, settings in zip(self._groups(), own, strict=True):
            group.update(settings)
        if state["scaler"]:  # empty where the run before needed no scaling
            self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
        self.num_skipped = state["num_skipped"]

    def model_bytes(self) -> int:
        """Size of the network's weights and buffers."""
        values = unwrap(self.model).state_dict().values()
        return sum(value.numel() * value.element_size() for value in values)

    def checkpoint_bytes(self) -> int:
        """Approximate size of a checkpoint: the weights twice, and AdamW's two moments of each."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return 2 * self.model_bytes() + 2 * sum(p.numel() * p.element_size() for p in trained)

    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups


@dataclass(frozen=True)
class StepSettings:
    """What stays unchanged from step to step.

    Attributes:
        task_weights: Weight of every task that is trained; heads of the others do not run.
        loss: The losses of the tasks.
        grad_accum_steps: Micro-batches per step.
        grad_clip_norm: Largest gradient norm; a larger one is scaled down to it.
        num_steps: Steps of the whole run, for the schedule.
        num_warmup_steps: Steps over which the learning rate rises to its full value.
        compute: Where the model lies, and in which precision it computes.
        num_frozen_steps: Steps at the beginning in which the backbone does not learn.
        keeps_statistics: Whether the backbone normalises by the statistics it came with.
        norm_interval_steps: Steps from one measurement of gradient norms to the next; 0 for none.
        transform: What the device makes samples with, of batches that come cut; None where none do.
    """

    task_weights: Mapping[TaskName, float]
    loss: RoofLoss
    grad_accum_steps: int
    grad_clip_norm: float
    num_steps: int
    num_warmup_steps: int
    compute: Compute
    num_frozen_steps: int = 0
    keeps_statistics: bool = False
    norm_interval_steps: int = 0
    transform: TrainTransform | None = None


@dataclass
class LossSums:
    """Summed losses and known pixels per task, over steps and ranks.

    Attributes:
        sums: (4,) float64, in the order of TASK_NAMES; 0 for tasks the network has not.
        counts: (4,) int64.
    """

    sums: Tensor = field(default_factory=lambda: torch.zeros(len(TASK_NAMES), dtype=torch.float64))
    counts: Tensor = field(default_factory=lambda: torch.zeros(len(TASK_NAMES), dtype=torch.int64))

    def add(self, other: "LossSums") -> None:
        """Add another's sums and counts to these."""
        self.sums += other.sums
        self.counts += other.counts

    def weighted_mean(self, task_weights: Mapping[TaskName, float]) -> float | None:
        """Sum over tasks of weight times mean loss; None where nothing was known."""
        terms = [
            task_weights[name] * mean for name, mean in self.means().items() if mean is not None
        ]
        return sum(terms) if terms else None

    def means(self) -> dict[TaskName, float | None]:
        """Mean loss per task; None for a task without known pixels."""
        return {
            name: float(self.sums[i] / self.counts[i]) if self.counts[i] > 0 else None
            for i, name in enumerate(TASK_NAMES)
        }


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did.

    Attributes:
        losses: Losses of this step's micro-batches.
        num_samples: Samples seen by all ranks.
        num_micro_batches: Trained on by this rank.
        stop: Whether any rank was asked to stop.
        seconds: As StepClock.close_step.
        gradient_norms: As measure_norms, for the first rank's first pass and the tasks that are
            labelled in it; None in a step, or on a rank, without a measurement.
    """

    losses: LossSums
    num_samples: int
    num_micro_batches: int
    stop: bool
    seconds: Mapping[str, float]
    gradient_norms: Mapping[TaskName, float] | None = None


def build_ema(model: nn.Module, ema_decay: float) -> AveragedModel:
    """The moving average of a model's weights and buffers.

    Its decay grows with the updates t, min(ema_decay, (1 + t) / (10 + t)): a young average forgets
    the random start quickly.
    """

    @torch.no_grad()
    def update(averaged: Tensors, current: Tensors, num_averaged: Tensor | int) -> None:
        if not averaged[0].is_floating_point():  # batch counters
            torch._foreach_copy_(averaged, current)
            return
        num_updates = int(num_averaged)
        decay = min(ema_decay, (1 + num_updates) / (10 + num_updates))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def unwrap(model: nn.Module) -> nn.Module:
    """The network itself, which DistributedDataParallel may wrap."""
    return model.module if isinstance(model, DistributedDataParallel) else model
