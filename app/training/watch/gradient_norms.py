"""How strongly each task pulls at the map that all heads share: its loss's gradient by that map."""

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from app.base.tasks import TASK_NAMES, TaskName
from app.data.loading import Batch
from app.model.losses import count_known
from app.training.ranks.distributed import rank
from app.training.state import StepSettings, TrainingState, unwrap

# Steps between two measurements: each costs as much as the backward pass of the heads alone.
NORM_INTERVAL_STEPS: Final = 200
# Where gradients of tasks differ by more, one task decides what the network learns.
UNEVEN: Final = 10.0


def is_norm_step(state: TrainingState, settings: StepSettings) -> bool:
    """Whether gradient norms are measured in the next step, on this rank."""
    interval = settings.norm_interval_steps
    return interval > 0 and state.step % interval == 0 and rank() == 0


def catch_feature(
    state: TrainingState, settings: StepSettings, *, is_wanted: bool
) -> contextlib.AbstractContextManager[list[Tensor]]:
    """As `shared_feature`, in a pass that is measured; else a list that stays empty."""
    if not is_wanted:
        return contextlib.nullcontext([])
    heads = unwrap(state.model).get_submodule("heads")
    assert isinstance(heads, nn.ModuleDict)
    return shared_feature(heads, next(iter(settings.task_weights)))


def weigh_by_own_counts(
    sums: Mapping[TaskName, Tensor], batch: Batch, weights: Mapping[TaskName, float]
) -> dict[TaskName, Tensor]:
    """Weight times mean loss of each task that is labelled in a pass.

    By the pass's own counts: divided by those of the step, a task would seem weak where its labels
    happen to lie in other passes.
    """
    counts = count_known({name: batch[name] for name in sums})
    return {
        name: weights[name] * sums[name] / counts[position]
        for position, name in enumerate(TASK_NAMES)
        if name in sums and counts[position] > 0
    }


@contextlib.contextmanager
def shared_feature(heads: nn.ModuleDict, name: TaskName) -> Iterator[list[Tensor]]:
    """Catches the map that enters the heads: in the list, once the network has run.

    Args:
        heads: Heads of the network; all of them get the same map as their first argument.
        name: A head that runs.
    """
    caught: list[Tensor] = []

    def catch(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        caught.append(arguments[0])

    with contextlib.ExitStack() as stack:
        # A compiled network has one backward pass for the whole, and none that starts at a map
        # inside.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        handle = heads[name].register_forward_pre_hook(catch)
        stack.callback(handle.remove)
        yield caught


def measure_norms(
    feature: Tensor, losses: Mapping[TaskName, Tensor], scaler: torch.amp.GradScaler
) -> dict[TaskName, float]:
    """The norm of each loss's gradient by the feature, where it is finite; the graph stays.

    Only what lies between is run, so no parameter gets a gradient, nothing is computed again for
    checkpointed activations, and other ranks need not take part.

    Args:
        feature: Any shape and floating-point dtype, in the losses' graph.
        losses: () float32 each, as they count in the step.
        scaler: Keeps gradients in the range of float16 on the way, where it is enabled.
    """
    norms: dict[TaskName, float] = {}
    for name, loss in losses.items():
        scaled = scaler.scale(loss)
        (gradient,) = torch.autograd.grad(scaled, feature, retain_graph=True)
        norm = (gradient.float().norm() / scaler.get_scale()).item()
        if math.isfinite(norm):
            norms[name] = norm
    return norms


def find_uneven(norms: Mapping[TaskName, float]) -> tuple[TaskName, TaskName] | None:
    """The tasks that pull most and least, where they differ by more than tenfold."""
    pulling = {name: norm for name, norm in norms.items() if norm > 0}
    if not pulling:
        return None
    most, least = max(pulling, key=lambda n: pulling[n]), min(pulling, key=lambda n: pulling[n])
    return (most, least) if pulling[most] > UNEVEN * pulling[least] else None
