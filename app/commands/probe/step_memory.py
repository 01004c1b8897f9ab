"""Memory of a training step of any size, counted without allocating or computing anything.

So memory of a GPU can be predicted where there is none.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from app.base.tasks import TASK_NAMES, Task, TaskName
from app.base.units import GIB
from app.data.sample import TARGETS
from app.model.devices import autocast
from app.model.losses import RoofLoss
from app.model.network import HybridRoofModel
from app.training.watch.tensor_memory import PERSISTENT, StepMemoryWatch


@dataclass(frozen=True)
class StepMemory:
    """What the tensors of a training process take.

    Attributes:
        peak_gib: At the worst moment of a step.
        persistent_gib: Between steps: parameters, buffers, their average, optimizer state.
    """

    peak_gib: float
    persistent_gib: float


def count_step_memory(
    tasks: Collection[Task],
    trained_tasks: Collection[TaskName],
    micro_batch_size: int,
    side_px: int,
    autocast_dtype: torch.dtype | None,
    checkpoint_activations: bool,
) -> StepMemory:
    """Memory of a step of any size, without allocating or computing anything.

    Shapes and lifetimes are those of a real step on a CPU. On a GPU autocast keeps to float32 in a
    few more places, and kernels take memory of their own. No pixel is taken to be labelled with
    several classes at once, which costs little more.

    Args:
        tasks: Tasks of the network.
        trained_tasks: Those that learn.
        micro_batch_size: Samples of a pass; more passes a step take no more.
        side_px: Side of the square samples.
        autocast_dtype: As StepSettings.
        checkpoint_activations: As HybridRoofModel.
    """
    names = [name for name in TASK_NAMES if name in trained_tasks]
    loss = RoofLoss(tuple(tasks))
    # The losses cache tables, which must be made of real tensors first.
    loss(_blank_logits(tasks, names, 1, 8), _blank_targets(names, 1, 8))
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = HybridRoofModel(tuple(tasks), checkpoint_activations=checkpoint_activations)
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        for name, head in model.heads.items():
            head.requires_grad_(name in names)
        model.train()
        # A moving average cannot be made here; a second network is as large.
        averaged = HybridRoofModel(tuple(tasks))
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, fused=True)
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        image = torch.zeros(micro_batch_size, 3, side_px, side_px, dtype=torch.uint8)
        targets = _blank_targets(names, micro_batch_size, side_px)
        with StepMemoryWatch(model, optimizer, averaged) as watch, _Assumed():  # type: ignore[no-untyped-call]
            with autocast(torch.device("cpu"), autocast_dtype):
                logits = model(image, names)
            total = sum(loss(logits, targets).values(), torch.zeros(()))
            del logits
            total.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    points = watch.points()
    persistent = sum(points[-1].num_bytes.get(name, 0) for name in PERSISTENT)
    return StepMemory(max(point.total for point in points) / GIB, persistent / GIB)


class _Assumed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives Python a value where it asks for one that was not computed: False, or 1."""

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run the operation, unless it is one that reads a number out of a tensor."""
        if func is torch.ops.aten._local_scalar_dense.default:
            return False if args[0].dtype == torch.bool else 1
        return func(*args, **(kwargs or {}))


def _blank_targets(
    names: Iterable[TaskName], num_samples: int, side_px: int
) -> dict[TaskName, Tensor]:
    """As Sample has them, batched; of the first class everywhere, on no line, and 0 m high."""
    return {
        name: TARGETS[name].filled(0, side_px, side_px, num_samples=num_samples) for name in names
    }


def _blank_logits(
    tasks: Iterable[Task], names: Collection[TaskName], num_samples: int, side_px: int
) -> dict[TaskName, Tensor]:
    return {
        task.name: torch.zeros(num_samples, task.num_classes, side_px, side_px)
        for task in tasks
        if task.name in names
    }
