"""The training step and the evaluation loop: the only place with backward() and step()."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.base.errors import ConfigError, DivergedError, join_problems
from app.base.tasks import TASK_NAMES, TaskName
from app.data.files.listing import shorten
from app.data.loading import Batch, split_batch
from app.model.devices import autocast, is_out_of_memory
from app.model.losses import RoofLoss, count_known
from app.training.device_batches import DeviceBatches
from app.training.ranks.batch_statistics import BatchStatistics
from app.training.ranks.distributed import all_reduce_sum, rank, world_size
from app.training.schedule import prepare_backbone
from app.training.state import LossSums, TrainingState, unwrap
from app.training.task_weighting import clamp, set_gradients, weigh_tasks
from app.training.watch.gradient_norms import measure_norms, shared_feature
from app.training.watch.step_clock import StepClock

logger = logging.getLogger(__name__)

MAX_SKIPPED_STEPS = 5
# Gradients that overflow below it are no matter of the scale.
_LEAST_LOSS_SCALE = 1.0
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
        num_frozen_steps: Steps at the beginning in which the backbone does not learn.
        keeps_statistics: Whether the backbone normalises by the statistics it came with.
        norm_interval_steps: Steps from one measurement of gradient norms to the next; 0 for none.
    """

    task_weights: Mapping[TaskName, float]
    loss: RoofLoss
    grad_accum_steps: int
    grad_clip_norm: float
    num_steps: int
    num_warmup_steps: int
    device: torch.device
    autocast_dtype: torch.dtype | None
    num_frozen_steps: int = 0
    keeps_statistics: bool = False
    norm_interval_steps: int = 0


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did.

    Attributes:
        losses: Of this step's micro-batches.
        num_samples: Samples seen by all ranks.
        num_micro_batches: Trained on by this rank.
        stop: Whether any rank was asked to stop.
        seconds: As StepClock.close_step.
        gradient_norms: As measure_norms, of the first rank's first pass and the tasks it knows
            something of; None in a step, or on a rank, without a measurement.
    """

    losses: LossSums
    num_samples: int
    num_micro_batches: int
    stop: bool
    seconds: Mapping[str, float]
    gradient_norms: Mapping[TaskName, float] | None = None


def train_steps(
    state: TrainingState,
    batches: Iterator[Batch],
    num_micro_batches: int,
    settings: StepSettings,
    stop_requested: Callable[[], bool],
) -> Iterator[StepResult]:
    """Train on this rank's next micro-batches, yielding after every step; the last may be smaller.

    Raises:
        DivergedError: If the gradient is not finite several steps in a row.
    """
    state.model.train()
    clock = StepClock(settings.device)
    on_device = DeviceBatches(batches, settings.task_weights, settings.device, clock)
    statistics = BatchStatistics(unwrap(state.model))
    for num_left in range(num_micro_batches, 0, -settings.grad_accum_steps):
        clock.restart()
        micro_batches = on_device.take(min(settings.grad_accum_steps, num_left))
        _set_learning_rate(state, settings)
        _prepare_model(state, settings)
        statistics.keep()
        counts, num_samples, stop = _reduce_counts(micro_batches, stop_requested(), settings)
        sums, norms = _accumulate_fitting(state, statistics, micro_batches, counts, settings, clock)
        # A GPU has its work by now; reading the losses would wait for it.
        num_next = max(0, num_left - settings.grad_accum_steps)
        on_device.prefetch(min(settings.grad_accum_steps, num_next))
        losses = LossSums(all_reduce_sum(sums).cpu(), counts.cpu())
        scale_before = state.scaler.get_scale()
        with clock.part("optimizer"):
            is_finite = _step_optimizer(state, settings, losses)
            if is_finite:
                statistics.average_over_ranks()
                state.ema.update_parameters(unwrap(state.model))
            else:  # the forward pass has made them what no later step would mend
                statistics.restore()
        _count_skipped(state, is_finite, losses, micro_batches, scale_before)
        num_micro_batches = len(micro_batches)
        del micro_batches  # whoever keeps the result would keep them on the device
        state.step += 1
        yield StepResult(
            losses=losses if is_finite else LossSums(),
            num_samples=num_samples,
            num_micro_batches=num_micro_batches,
            stop=stop,
            seconds=clock.close_step(),
            gradient_norms=norms,
        )


def learning_rate_factor(step: int, num_warmup_steps: int, num_steps: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then a cosine down to 1 %."""
    if step < num_warmup_steps:
        return (step + 1) / num_warmup_steps
    progress = (step - num_warmup_steps) / max(1, num_steps - num_warmup_steps)
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return _FINAL_LR_FACTOR + (1 - _FINAL_LR_FACTOR) * cosine


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
    extra = torch.tensor([num_samples, int(stop_requested)], device=settings.device)
    packed = all_reduce_sum(torch.cat([counts, extra]))
    num_samples, num_stopping = packed[-2:].tolist()
    return packed[:-2], num_samples, num_stopping > 0


def _accumulate_fitting(
    state: TrainingState,
    statistics: BatchStatistics,
    micro_batches: list[Batch],
    counts: Tensor,
    settings: StepSettings,
    clock: StepClock,
) -> tuple[Tensor, dict[TaskName, float] | None]:
    """As `_accumulate_gradients`; where memory runs out, anew with half as many samples a pass.

    Every pixel weighs in the gradient what it did; batch statistics are of fewer samples.

    Raises:
        ConfigError: If there is no room for a single sample, or other ranks wait for this one.
    """
    while True:
        limit = state.max_samples_per_pass
        passes = [part for batch in micro_batches for part in split_batch(batch, limit)]
        try:
            return _accumulate_gradients(state, passes, counts, settings, clock)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            largest = max(len(part["sample_id"]) for part in passes)
            # Others are in the middle of adding up gradients with this rank.
            if largest == 1 or world_size() > 1:
                raise ConfigError(_describe_no_room(largest, settings)) from error
        # Out here the error, and all activations that its traceback holds, are gone.
        state.max_samples_per_pass = largest // 2
        statistics.restore()  # passes that are done again count once
        state.optimizer.zero_grad(set_to_none=True)
        if settings.device.type == "cuda":
            torch.cuda.empty_cache()
        logger.warning(
            "out of memory with %d samples a pass: going on with at most %d in more passes a step; "
            "a new job may begin with batch_size=%d and twice the grad_accum_steps",
            largest,
            largest // 2,
            largest // 2,
        )


def _describe_no_room(num_samples: int, settings: StepSettings) -> str:
    device = "GPU memory" if settings.device.type == "cuda" else "memory"
    if num_samples > 1:
        return (
            f"out of {device} with {num_samples} samples a pass on one of {world_size()} training "
            f"processes; set batch_size={num_samples // 2} and grad_accum_steps twice as high, or "
            "batch_size=auto and global_batch_size"
        )
    return (
        f"out of {device} with a single sample a pass; lower crop_size_px, set "
        "checkpoint_activations=true, or take an instance with more memory"
    )


def _accumulate_gradients(
    state: TrainingState,
    passes: list[Batch],
    counts: Tensor,
    settings: StepSettings,
    clock: StepClock,
) -> tuple[Tensor, dict[TaskName, float] | None]:
    """Backward through all passes; returns this rank's (4,) float64 summed losses, and the norms.

    Each task's sum is divided by its count over the whole step, so the gradient is that of one
    large batch however unevenly labels are spread over passes and ranks.
    """
    num_ranks = world_size()
    device = settings.device
    weights = weigh_tasks(settings.task_weights, state.log_variances)
    norms: dict[TaskName, float] | None = None
    total_sums = torch.zeros(len(TASK_NAMES), dtype=torch.float64, device=device)
    for i, batch in enumerate(passes):
        is_last = i == len(passes) - 1
        no_sync = getattr(state.model, "no_sync", contextlib.nullcontext)
        with contextlib.nullcontext() if is_last else no_sync():
            targets = {name: batch[name] for name in settings.task_weights}
            is_measured = i == 0 and _is_norm_step(state, settings)
            with clock.part("forward"):
                with (
                    _catch_feature(state, settings, is_measured) as feature,
                    autocast(device, settings.autocast_dtype),
                ):
                    logits = state.model(batch["image"], settings.task_weights)
                sums = settings.loss(logits, targets)
                loss = torch.zeros((), device=device)
                for position, name in enumerate(TASK_NAMES):
                    if name in sums:
                        # DDP averages over ranks: times their number gives the sum.
                        scale = weights[name] * num_ranks / counts[position].clamp(min=1)
                        loss = loss + scale * sums[name]
                        total_sums[position] += sums[name].detach()
            with clock.part("backward"):
                if is_measured:
                    own = _weigh_by_own_counts(sums, batch, weights)
                    norms = measure_norms(feature.pop(), own, state.scaler)
                    del own
                del logits, sums  # the graph keeps of them what it needs
                state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    return total_sums, norms


def _is_norm_step(state: TrainingState, settings: StepSettings) -> bool:
    interval = settings.norm_interval_steps
    return interval > 0 and state.step % interval == 0 and rank() == 0


def _catch_feature(
    state: TrainingState, settings: StepSettings, is_measured: bool
) -> contextlib.AbstractContextManager[list[Tensor]]:
    """As `shared_feature`, in a pass that is measured."""
    if not is_measured:
        return contextlib.nullcontext([])
    heads = unwrap(state.model).get_submodule("heads")
    assert isinstance(heads, nn.ModuleDict)
    return shared_feature(heads, next(iter(settings.task_weights)))


def _weigh_by_own_counts(
    sums: Mapping[TaskName, Tensor], batch: Batch, weights: Mapping[TaskName, float]
) -> dict[TaskName, Tensor]:
    """Weight times mean loss of each task that a pass knows something of.

    By the pass's own counts: divided by those of the step, a task would seem weak where its labels
    happen to lie in other passes.
    """
    counts = count_known({name: batch[name] for name in sums})
    return {
        name: weights[name] * sums[name] / counts[position]
        for position, name in enumerate(TASK_NAMES)
        if name in sums and counts[position] > 0
    }


def _step_optimizer(state: TrainingState, settings: StepSettings, losses: LossSums) -> bool:
    """Clip and step; returns False, leaving the weights alone, where the gradient is not finite.

    A step in which nothing is known leaves them alone too: decay and momentum would move them.
    """
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), settings.grad_clip_norm)
    is_finite = bool(torch.isfinite(norm))
    if is_finite and losses.counts.any():
        set_gradients(settings.task_weights, state.log_variances, losses.means())
        state.scaler.step(state.optimizer)
        clamp(state.log_variances)
    state.scaler.update()  # lowers its scale where an entry is not finite
    state.optimizer.zero_grad(set_to_none=True)
    return is_finite


def _count_skipped(
    state: TrainingState,
    is_finite: bool,
    losses: LossSums,
    micro_batches: list[Batch],
    scale_before: float,
) -> None:
    """Count steps skipped in a row and say what was skipped; too many of them end the run."""
    if is_finite:
        state.num_skipped = 0
        return
    scale = state.scaler.get_scale()
    is_searching = _LEAST_LOSS_SCALE <= scale < scale_before
    if is_searching and bool(torch.isfinite(losses.sums).all()):
        logger.info("gradient too large for float16: step skipped, loss scale now %g", scale)
        return
    state.num_skipped += 1
    names = [shorten(name) for batch in micro_batches for name in batch["sample_id"]]
    logger.warning("gradient is not finite: step skipped; samples: %s", join_problems(names))
    if state.num_skipped > MAX_SKIPPED_STEPS:
        raise DivergedError(
            f"gradient not finite in {state.num_skipped} steps in a row; lower learning_rate or "
            f"set precision=fp32; last samples: {join_problems(names)}"
        )


def _prepare_model(state: TrainingState, settings: StepSettings) -> None:
    """Freeze or thaw what is due."""
    if settings.num_frozen_steps > 0 or settings.keeps_statistics:
        prepare_backbone(
            state,
            settings.device,
            is_frozen=state.step < settings.num_frozen_steps,
            keeps_statistics=settings.keeps_statistics,
        )


def _set_learning_rate(state: TrainingState, settings: StepSettings) -> None:
    factor = learning_rate_factor(state.step, settings.num_warmup_steps, settings.num_steps)
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
