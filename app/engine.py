"""The training step and the evaluation loop: the only place with backward() and step()."""

import contextlib
import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from app.data.loading import Batch
from app.distributed import all_reduce_sum, average_buffers, local_rank, world_size
from app.errors import ConfigError
from app.losses import RoofLoss, count_known
from app.metrics import RoofMetrics
from app.tasks import TASK_NAMES, TaskName

logger = logging.getLogger(__name__)

Tensors = tuple[Tensor, ...] | list[Tensor]  # what torch's foreach functions take

_GROUP_SETTINGS = ("peak_lr", "weight_decay")
_MAX_SKIPPED_STEPS = 5
_FINAL_LR_FACTOR = 0.01


@dataclass(frozen=True)
class StepSettings:
    """What stays the same from step to step.

    Attributes:
        task_weights: Weight of every task that is trained; heads of the others do not run.
        loss: The losses of the tasks.
        grad_accum_steps: Micro-batches per step.
        grad_clip_norm: Largest gradient norm; a larger one is scaled down to it.
        num_steps: Steps of the whole run, for the schedule.
        num_warmup_steps: Steps over which the learning rate rises to its full value.
        device: Where the model lies.
        autocast_dtype: bfloat16 or float16, or None for float32 throughout.
    """

    task_weights: Mapping[TaskName, float]
    loss: RoofLoss
    grad_accum_steps: int
    grad_clip_norm: float
    num_steps: int
    num_warmup_steps: int
    device: torch.device
    autocast_dtype: torch.dtype | None


@dataclass
class TrainingState:
    """What changes from step to step, and so what a checkpoint holds.

    Attributes:
        model: The network being trained; may be wrapped in DistributedDataParallel.
        ema: Its exponential moving average, buffers included: what is evaluated and exported.
        optimizer: Its parameter groups carry `peak_lr`.
        scaler: Loss scaling, enabled for float16 only.
        step: Optimizer steps done.
        num_skipped: Of these, the last in a row that left the weights alone.
    """

    model: nn.Module
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    num_skipped: int = 0

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
        """Go on from where `state_dict` was taken."""
        unwrap(self.model).load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        # The optimizer would bring its old settings along, and this run may have been given others.
        own = [{key: group[key] for key in _GROUP_SETTINGS} for group in self._groups()]
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
        """Size of a checkpoint, close to: the weights twice, and AdamW's two moments of each."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return 2 * self.model_bytes() + 2 * sum(p.numel() * p.element_size() for p in trained)

    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups


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
        losses: Of this step's micro-batches.
        num_samples: Samples seen by all ranks.
        micro_batches: What this rank trained on.
        stop: Whether any rank was asked to stop.
    """

    losses: LossSums
    num_samples: int
    micro_batches: list[Batch]
    stop: bool


def train_steps(
    state: TrainingState,
    batches: Iterator[Batch],
    num_micro_batches: int,
    settings: StepSettings,
    stop_requested: Callable[[], bool],
) -> Iterator[StepResult]:
    """Train on this rank's next micro-batches, yielding after every step; the last may be smaller.

    Raises:
        RuntimeError: If the gradient is not finite several steps in a row.
    """
    state.model.train()
    for start in range(0, num_micro_batches, settings.grad_accum_steps):
        length = min(settings.grad_accum_steps, num_micro_batches - start)
        micro_batches = [next(batches) for _ in range(length)]
        _set_learning_rate(state, settings)
        counts, num_samples, stop = _reduce_counts(micro_batches, stop_requested(), settings)
        sums = _accumulate_gradients(state, micro_batches, counts, settings)
        is_finite = _step_optimizer(state, settings)
        average_buffers(unwrap(state.model))
        if is_finite:
            state.num_skipped = 0
            state.ema.update_parameters(unwrap(state.model))
        else:
            state.num_skipped += 1
            _report_skipped(state.num_skipped, micro_batches)
        state.step += 1
        yield StepResult(
            losses=LossSums(sums, counts.cpu()) if is_finite else LossSums(),
            num_samples=num_samples,
            micro_batches=micro_batches,
            stop=stop,
        )


@torch.inference_mode()
def predict(
    model: nn.Module,
    image: Tensor,
    tasks: Collection[TaskName],
    device: torch.device,
    autocast_dtype: torch.dtype | None,
) -> dict[TaskName, Tensor]:
    """Logits of one batch of images, on the CPU."""
    model.eval()
    with autocast(device, autocast_dtype):
        logits = model(image.to(device, non_blocking=True), tasks)
    return {name: values.cpu() for name, values in logits.items()}


def learning_rate_factor(step: int, num_warmup_steps: int, num_steps: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine down to 1 %."""
    if step < num_warmup_steps:
        return (step + 1) / num_warmup_steps
    progress = (step - num_warmup_steps) / max(1, num_steps - num_warmup_steps)
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return _FINAL_LR_FACTOR + (1 - _FINAL_LR_FACTOR) * cosine


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


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    metrics: RoofMetrics,
    tasks: Collection[TaskName],
    device: torch.device,
    autocast_dtype: torch.dtype | None,
) -> Iterator[Batch]:
    """Score a model batch by batch, yielding each; batches without a sample are passed over."""
    for batch in batches:
        if batch["sample_id"]:
            logits = predict(model, batch["image"], tasks, device, autocast_dtype)
            metrics.update(logits, batch)
        yield batch


def choose_device(choice: str) -> torch.device:
    """The device that the hyperparameter `device` asks for.

    Raises:
        ConfigError: If it asks for CUDA where there is none.
    """
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    if choice == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device=cuda, but torch finds no CUDA device; use an instance with a GPU and a torch "
            "that supports it, or set device=auto"
        )
    return torch.device(choice, local_rank()) if choice == "cuda" else torch.device(choice)


def choose_autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The mixed-precision dtype that `precision` asks for; None for float32 throughout.

    "auto" takes bfloat16 only where the hardware computes in it: emulated, it is slower than
    float32 (1.8 times with AVX-512, 10 times with AVX2).

    Raises:
        ConfigError: If it asks for float16 on a CPU.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError(
            "precision=fp16, but the device is a CPU, which does not compute in it; set "
            "precision=auto"
        )
    if precision == "auto":
        if device.type == "cpu":
            precision = "bf16" if _cpu_computes_bf16() else "fp32"
        else:
            precision = "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _cpu_computes_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(
    device: torch.device, dtype: torch.dtype | None
) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision where a dtype is given."""
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def _reduce_counts(
    micro_batches: list[Batch], stop_requested: bool, settings: StepSettings
) -> tuple[Tensor, int, bool]:
    """Known pixels per task and samples of the whole step, and whether any rank stops."""
    counts = torch.stack(
        [
            count_known({name: batch[name] for name in settings.task_weights})
            for batch in micro_batches
        ]
    ).sum(0)
    num_samples = sum(len(batch["sample_id"]) for batch in micro_batches)
    # One collective: the flag rides along, so that all ranks leave at the same step.
    extra = torch.tensor([num_samples, int(stop_requested)])
    packed = all_reduce_sum(torch.cat([counts, extra]).to(settings.device))
    return packed[:-2], int(packed[-2]), bool(packed[-1] > 0)


def _accumulate_gradients(
    state: TrainingState, micro_batches: list[Batch], counts: Tensor, settings: StepSettings
) -> Tensor:
    """Backward through all micro-batches; returns the (4,) float64 summed losses.

    Each task's sum is divided by its count over the whole step, so the gradient is that of one
    large batch however unevenly labels are spread over micro-batches and ranks.
    """
    num_ranks = world_size()
    total_sums = torch.zeros(len(TASK_NAMES), dtype=torch.float64, device=settings.device)
    for i, batch in enumerate(micro_batches):
        is_last = i == len(micro_batches) - 1
        no_sync = getattr(state.model, "no_sync", contextlib.nullcontext)
        with contextlib.nullcontext() if is_last else no_sync():
            targets = {
                name: batch[name].to(settings.device, non_blocking=True)
                for name in settings.task_weights
            }
            with autocast(settings.device, settings.autocast_dtype):
                image = batch["image"].to(settings.device, non_blocking=True)
                logits = state.model(image, settings.task_weights)
            sums = settings.loss(logits, targets)
            loss = torch.zeros((), device=settings.device)
            for position, name in enumerate(TASK_NAMES):
                if name in sums:
                    weight = settings.task_weights[name]
                    # DDP averages over ranks: times their number gives the sum.
                    scale = weight * num_ranks / counts[position].clamp(min=1)
                    loss = loss + scale * sums[name]
                    total_sums[position] += sums[name].detach()
            state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    return all_reduce_sum(total_sums).cpu()


def _step_optimizer(state: TrainingState, settings: StepSettings) -> bool:
    """Clip and step; returns False, leaving the weights alone, where the gradient is not finite."""
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), settings.grad_clip_norm)
    is_finite = bool(torch.isfinite(norm))
    # A scaler skips such a step by itself and then lowers its scale.
    if is_finite or state.scaler.is_enabled():
        state.scaler.step(state.optimizer)
        state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    return is_finite


def _report_skipped(num_skipped: int, micro_batches: list[Batch]) -> None:
    sample_ids = ", ".join(name for batch in micro_batches for name in batch["sample_id"])
    logger.warning("gradient is not finite: step skipped; samples: %s", sample_ids)
    if num_skipped > _MAX_SKIPPED_STEPS:
        raise RuntimeError(
            f"gradient not finite in {num_skipped} steps in a row, last on samples {sample_ids}; "
            "lower learning_rate or set precision=fp32"
        )


def _set_learning_rate(state: TrainingState, settings: StepSettings) -> None:
    factor = learning_rate_factor(state.step, settings.num_warmup_steps, settings.num_steps)
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def unwrap(model: nn.Module) -> nn.Module:
    """The network itself, which DistributedDataParallel may wrap."""
    return model.module if isinstance(model, DistributedDataParallel) else model
