"""The training step: the only place where weights change."""

import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from app.base.errors import DivergedError, StopRequested, join_problems
from app.base.tasks import TASK_NAMES
from app.data.files.listing import shorten
from app.data.loading import Batch
from app.data.on_device.batches import CutBatch
from app.model.losses import count_known
from app.training.device_batches import DeviceBatches
from app.training.passes import accumulate_gradients
from app.training.ranks.batch_statistics import BatchStatistics
from app.training.ranks.distributed import all_reduce_sum
from app.training.schedule import prepare_step
from app.training.state import LossSums, StepResult, StepSettings, TrainingState, unwrap
from app.training.watch.step_clock import StepClock

logger = logging.getLogger(__name__)

MAX_SKIPPED_STEPS = 5
# Below this loss scale, an overflow is not the scale's fault.
_LEAST_LOSS_SCALE = 1.0


def train_steps(
    state: TrainingState,
    batches: Iterator[Batch | CutBatch],
    num_micro_batches: int,
    settings: StepSettings,
    stop_requested: Callable[[], bool],
) -> Iterator[StepResult]:
    """Train on this rank's next micro-batches, yielding after every step; the last may be smaller.

    Raises:
        DivergedError: If the gradient is not finite several steps in a row.
        StopRequested: If any rank was asked to stop while it had to wait for data; the state of all
            ranks is that after the last step.
    """
    state.model.train()
    clock = StepClock(settings.compute.device)
    on_device = DeviceBatches(
        batches, settings.task_weights, settings.compute.device, clock, settings.transform
    )
    statistics = BatchStatistics(unwrap(state.model))
    for num_left in range(num_micro_batches, 0, -settings.grad_accum_steps):
        clock.restart()
        try:
            micro_batches = on_device.take(min(settings.grad_accum_steps, num_left))
        except StopRequested:
            micro_batches = []  # the other ranks are told below, where they wait
        counts, num_samples, stop = _reduce_counts(micro_batches, stop_requested(), settings)
        prepare_step(state, settings)
        statistics.keep()
        sums, norms = accumulate_gradients(
            state, settings, statistics, micro_batches, counts, clock
        )
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
            else:  # the forward pass has spoilt them, and no later step would mend that
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


def _reduce_counts(
    micro_batches: list[Batch], stop_requested: bool, settings: StepSettings
) -> tuple[Tensor, int, bool]:
    """Known pixels per task and samples of the whole step, and whether any rank stops after it.

    Raises:
        StopRequested: If any rank has no data for this step.
    """
    counts = torch.zeros(len(TASK_NAMES), dtype=torch.int64, device=settings.compute.device)
    for batch in micro_batches:
        counts += count_known({name: batch[name] for name in settings.task_weights})
    num_samples = sum(len(batch["sample_id"]) for batch in micro_batches)
    # One collective: the flags ride along, so that all ranks leave at the same step.
    extra = [num_samples, int(stop_requested), int(not micro_batches)]
    packed = all_reduce_sum(torch.cat([counts, torch.tensor(extra, device=counts.device)]))
    num_samples, num_stopping, num_without_data = packed[-3:].tolist()
    if num_without_data > 0:
        raise StopRequested
    return packed[:-3], num_samples, num_stopping > 0


def _step_optimizer(state: TrainingState, settings: StepSettings, losses: LossSums) -> bool:
    """Clip and step; returns False, leaving the weights alone, where the gradient is not finite.

    A step in which nothing is known leaves them alone too: decay and momentum would move them.
    """
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), settings.grad_clip_norm)
    is_finite = bool(torch.isfinite(norm))
    if is_finite and losses.counts.any():
        state.scaler.step(state.optimizer)
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
