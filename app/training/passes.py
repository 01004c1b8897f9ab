"""The passes of a step: forward, losses, backward, in as many parts as memory holds."""

import contextlib
import logging

import torch
from torch import Tensor

from app.base.errors import ConfigError
from app.base.tasks import TASK_NAMES, TaskName
from app.data.loading import Batch, split_batch
from app.model.devices import is_out_of_memory
from app.training.ranks.batch_statistics import BatchStatistics
from app.training.ranks.distributed import world_size
from app.training.state import StepSettings, TrainingState
from app.training.watch.gradient_norms import (
    catch_feature,
    is_norm_step,
    measure_norms,
    weigh_by_own_counts,
)
from app.training.watch.step_clock import StepClock

logger = logging.getLogger(__name__)

# Summed losses of the tasks, (4,) float64, and gradient norms where they were measured.
PassResult = tuple[Tensor, dict[TaskName, float] | None]


def accumulate_gradients(
    state: TrainingState,
    settings: StepSettings,
    statistics: BatchStatistics,
    micro_batches: list[Batch],
    counts: Tensor,
    clock: StepClock,
) -> PassResult:
    """Backward through all micro-batches; where memory runs out, again with half as many samples.

    The gradient is that of one large batch; only batch statistics see fewer samples.

    Args:
        state: Its parameters get gradients; its `max_samples_per_pass` goes down where it must.
        settings: Settings of the run.
        statistics: As kept before the step.
        micro_batches: Micro-batches of this rank, on the device.
        counts: (4,) int64 known pixels of each task in the whole step, on all ranks.
        clock: Counts what forward and backward take.

    Raises:
        ConfigError: If memory does not hold a single sample, or runs out while other ranks wait.
    """
    while True:
        limit = state.max_samples_per_pass
        passes = [part for batch in micro_batches for part in split_batch(batch, limit)]
        try:
            return _run_passes(state, settings, passes, counts, clock)
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
        if settings.compute.device.type == "cuda":
            torch.cuda.empty_cache()
        logger.warning(
            "out of memory with %d samples a pass: now at most %d, in more passes a step; "
            "a new job may begin with batch_size=%d and twice the grad_accum_steps",
            largest,
            largest // 2,
            largest // 2,
        )


def _run_passes(
    state: TrainingState,
    settings: StepSettings,
    passes: list[Batch],
    counts: Tensor,
    clock: StepClock,
) -> PassResult:
    """Backward through all passes.

    Each task's sum is divided by its count over the whole step, so the gradient is that of one
    large batch however unevenly labels are spread over passes and ranks.
    """
    num_ranks = world_size()
    weights = settings.task_weights
    norms: dict[TaskName, float] | None = None
    total_sums = torch.zeros(len(TASK_NAMES), dtype=torch.float64, device=counts.device)
    for i, batch in enumerate(passes):
        is_last = i == len(passes) - 1
        no_sync = getattr(state.model, "no_sync", contextlib.nullcontext)
        with contextlib.nullcontext() if is_last else no_sync():
            targets = {name: batch[name] for name in weights}
            is_measured = i == 0 and is_norm_step(state, settings)
            with clock.part("forward"):
                with (
                    catch_feature(state, settings, is_wanted=is_measured) as feature,
                    settings.compute.autocast(),
                ):
                    logits = state.model(batch["image"], weights)
                sums = settings.loss(logits, targets)
                loss = torch.zeros((), device=counts.device)
                for position, name in enumerate(TASK_NAMES):
                    if name in sums:
                        # DDP averages over ranks: times their number gives the sum.
                        scale = weights[name] * num_ranks / counts[position].clamp(min=1)
                        loss = loss + scale * sums[name]
                        total_sums[position] += sums[name].detach()
            with clock.part("backward"):
                if is_measured:
                    own = weigh_by_own_counts(sums, batch, weights)
                    norms = measure_norms(feature.pop(), own, state.scaler)
                    del own
                del logits, sums  # the graph keeps of them what it needs
                state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    return total_sums, norms


def _describe_no_room(num_samples: int, settings: StepSettings) -> str:
    device = "GPU memory" if settings.compute.device.type == "cuda" else "memory"
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
