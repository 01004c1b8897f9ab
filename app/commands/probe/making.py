"""What it takes to make samples on a device, beside what workers do of them."""

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from app.base.tasks import TASK_NAMES
from app.data.on_device.batches import collate_cut, move_cut
from app.data.on_device.cutting import CutTransform
from app.data.on_device.making import SampleMaker
from app.data.order import SampleKey, TrainSource
from app.data.train_samples import KeyedSamples
from app.data.transforms import TrainTransform

# Samples that are made as well: on a CPU torch takes a second for one of 1024 px.
_NUM_MADE: Final = 3
# Takes values at places: it reads of its first argument no more than it gives.
_TAKES_PLACES: Final = "aten::index"


class Making(NamedTuple):
    """A sample of a dataset, cut by a worker and made by a device; see Loading."""

    cut_s: float
    make_s: float
    made_bytes: float
    made_kernels: float


def measure_making(
    source: TrainSource,
    transform: TrainTransform,
    seed: int,
    keys: Sequence[SampleKey],
    device: torch.device,
) -> Making:
    """What samples take, whose photos were read before.

    On a GPU the making is timed; on a CPU its work is counted, since a CPU's time says nothing.

    Args:
        source: The samples.
        transform: What they are made with.
        seed: As of TrainDataset.
        keys: Which samples.
        device: Where they are made.
    """
    dataset = KeyedSamples([source], CutTransform(transform), seed)
    maker = SampleMaker(transform, TASK_NAMES)
    work = _Work()
    cut_s = make_s = 0.0
    made_keys = keys[:_NUM_MADE]
    for key in keys:
        begun_s = time.process_time()
        batch = collate_cut([dataset[key]])
        cut_s += time.process_time() - begun_s
        if key not in made_keys:
            continue
        moved = move_cut(batch, device)
        if device.type == "cuda":
            maker.make(moved, batch["windows"])  # the first time kernels are loaded
            torch.cuda.synchronize(device)
            begun_s = time.perf_counter()
            maker.make(moved, batch["windows"])
            torch.cuda.synchronize(device)
            make_s += time.perf_counter() - begun_s
        else:
            with work:
                maker.make(moved, batch["windows"])
    num_made = len(made_keys)
    return Making(
        cut_s / len(keys), make_s / num_made, work.num_bytes / num_made, work.num_kernels / num_made
    )


class _Work(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, while it is entered, what torch would ask a GPU to do.

    Attributes:
        num_bytes: Bytes read and written.
        num_kernels: Operations, of which each is a kernel; views are none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.num_bytes = 0
        self.num_kernels = 0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - as torch calls it
        types: Any,  # noqa: ANN401
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        returned = func._schema.returns
        alias = returned[0].alias_info if returned else None
        if alias is not None and not alias.is_write:
            return result
        written = _count_bytes([result])
        if func._schema.name == _TAKES_PLACES:
            self.num_bytes += 2 * written + _count_bytes(args[1:])
        else:
            self.num_bytes += written + _count_bytes(args)
        self.num_kernels += 1
        return result


def _count_bytes(values: Any) -> int:  # noqa: ANN401
    """Of all tensors among values; of one that is seen several times over, what there is."""
    if isinstance(values, Tensor):
        there = values.untyped_storage().nbytes()
        return min(values.numel() * values.element_size(), there)
    if isinstance(values, list | tuple):
        return sum(map(_count_bytes, values))
    return 0
