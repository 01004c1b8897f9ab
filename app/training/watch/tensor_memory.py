"""What the tensors of a training step take, by what they are for.

Watching sees every operation below autograd: what is kept for the backward pass as well as what is
held for a moment. It sees neither what a kernel takes for itself nor what an allocator keeps for
later, which a GPU needs on top.
"""

import contextlib
import itertools
import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from app.base.units import GIB
from app.resources.cgroup import read_page_cache_gib
from app.resources.process_memory import own_memory_gib
from app.training.state import unwrap

PARAMETERS: Final = "parameters"
BUFFERS: Final = "buffers"
GRADIENTS: Final = "gradients"
OPTIMIZER: Final = "optimizer state"
AVERAGED: Final = "averaged weights"
CAST: Final = "parameters in half precision"
BATCH: Final = "batch"
INPUT: Final = "normalised image"
LOGITS: Final = "upsampled logits"
LOSSES: Final = "losses"
BACKWARD: Final = "passing through backward"
UPDATE: Final = "passing through the update"
# Held between steps, too.
PERSISTENT: Final = (PARAMETERS, BUFFERS, OPTIMIZER, AVERAGED)
WORKERS: Final = "data workers"
PAGE_CACHE: Final = "page cache"
REST: Final = "process without tensors"

_MAX_POINTS: Final = 200

Bytes = dict[str, int]


@dataclass(frozen=True)
class MemoryPoint:
    """What was held at one moment of a step.

    Attributes:
        part: "load", "forward", "backward" or "update".
        num_bytes: Bytes of each holder that holds anything.
    """

    part: str
    num_bytes: Bytes

    @property
    def total(self) -> int:
        """Bytes of all holders."""
        return sum(self.num_bytes.values())


class StepMemoryWatch:
    """Watches one training step, entered around it; see `to_json`.

    A tensor belongs to what was running when it was made: a part of the network, whose activations
    it then is, or the losses, the backward pass, the update. Tensors that the network and its
    optimizer keep are known beforehand. Memory that several tensors share counts once. The step
    computes what it would without, only slower; a compiled network runs uncompiled meanwhile.

    The very first step also makes the optimizer's state, so a later one is typical.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        averaged: nn.Module | None = None,
    ) -> None:
        """Prepare; nothing is watched before the context is entered.

        Args:
            model: The network, perhaps wrapped for several processes.
            optimizer: The optimizer of its parameters.
            averaged: Their moving average.
        """
        self._network = unwrap(model)
        self._optimizer = optimizer
        self._averaged = averaged
        self._device_type = next(self._network.parameters()).device.type
        self._log = _StorageLog(self._device_type)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._register_persistent()
        self._log.begin()
        if "torch._dynamo" in sys.modules:
            self._stack.enter_context(torch.compiler.set_stance("force_eager"))
        for handle in self._add_hooks():
            self._stack.callback(handle.remove)
        self._stack.enter_context(self._log)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        # Once more, for state that the very first step makes.
        self._register_persistent()
        self._log.forget()

    def points(self) -> list[MemoryPoint]:
        """One for every time that memory was taken or given back."""
        return self._log.replay()

    def to_json(self, outside_gib: Mapping[str, float | None] | None = None) -> dict[str, Any]:
        """The content of metrics.json's "memory_profile".

        Args:
            outside_gib: What else to list, in the main memory of the host, as
                `read_outside_gib`; None is not listed.

        Returns:
            "device", of the tensors; "holders", names, the largest first; "peak_gib", the most that
            all tensors together held; "peak_by_holder_gib", at that moment; "own_peak_gib", of each
            holder at its own worst moment; "outside_gib", what is not tensors; "series", at most
            200 moments of the step with the "part" of it and "gib" by holder.
        """
        points = self.points()
        peak = max(points, key=lambda point: point.total)
        own_peak: Bytes = {}
        for point in points:
            for name, num_bytes in point.num_bytes.items():
                own_peak[name] = max(num_bytes, own_peak.get(name, 0))
        outside = {name: gib for name, gib in (outside_gib or {}).items() if gib is not None}
        resident_gib = self._log.peak_resident_bytes / GIB
        if resident_gib:
            in_it_gib = peak.total / GIB if self._device_type == "cpu" else 0.0
            outside[REST] = max(0.0, resident_gib - in_it_gib)
        sizes = {name: num_bytes / GIB for name, num_bytes in own_peak.items()} | outside
        return {
            "device": self._device_type,
            "holders": sorted(sizes, key=lambda name: -sizes[name]),
            "peak_gib": round(peak.total / GIB, 5),
            "peak_by_holder_gib": _in_gib(peak.num_bytes),
            "own_peak_gib": _in_gib(own_peak),
            "outside_gib": {name: round(gib, 5) for name, gib in outside.items()},
            "series": [
                {"part": point.part, "gib": _in_gib(point.num_bytes)} for point in _thin(points)
            ],
        }

    def _register_persistent(self) -> None:
        network, log = self._network, self._log
        log.register(PARAMETERS, network.parameters())
        log.register(BUFFERS, network.buffers())
        log.register(GRADIENTS, (p.grad for p in network.parameters() if p.grad is not None))
        for state in self._optimizer.state.values():
            log.register(OPTIMIZER, _tensors(state))
        if self._averaged is not None:
            log.register(AVERAGED, self._averaged.parameters())
            log.register(AVERAGED, self._averaged.buffers())

    def _add_hooks(self) -> Iterator[Any]:
        log, network = self._log, self._network

        def begin(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            log.register(BATCH, _tensors(arguments))
            log.holder, log.part = INPUT, "forward"

        def enter(name: str) -> Callable[..., None]:
            def hook(*_: object) -> None:
                if log.is_backward:
                    log.recomputed = name
                else:
                    log.holder = name

            return hook

        def leave(name: str) -> Callable[..., None]:
            def hook(*_: object) -> None:
                log.recomputed = None
                if not log.is_backward:
                    log.holder = name

            return hook

        yield network.register_forward_pre_hook(begin)
        yield network.register_forward_hook(leave(LOSSES), always_call=True)
        for name, after, module in _find_parts(network):
            yield module.register_forward_pre_hook(enter(name))
            # Checkpointing leaves a module by an exception once it has all it needs.
            yield module.register_forward_hook(leave(after), always_call=True)
        for parameter in network.parameters():
            if parameter.requires_grad:
                yield parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    lambda p: log.register(GRADIENTS, [p.grad])
                )


class _StorageLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every taking and giving back of a device's memory by tensors, with its holder.

    Attributes:
        part: Part of the step, as in MemoryPoint.
        holder: Holder of tensors made now, outside the backward pass.
        recomputed: The part of the network that the backward pass runs once more, if it does.
        peak_resident_bytes: Memory of the process when its tensors held most; 0 if not known.
    """

    def __init__(self, device_type: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.part = "load"
        self.holder = BATCH
        self.recomputed: str | None = None
        self.peak_resident_bytes = 0
        self._device_type = device_type
        self._tracker = ModuleTracker()
        self._process = psutil.Process()
        self._known: dict[int, tuple[int, weakref.ref[torch.UntypedStorage]]] = {}
        self._holders: list[str] = []
        # Part, number of the storage, bytes taken or (below 0) given back.
        self._events: list[tuple[str, int, int]] = []
        self._num_before = 0
        self._live = 0
        self._most_live = 0

    @property
    def is_backward(self) -> bool:
        """Whether this is called from inside a backward pass."""
        return bool(self._tracker.is_bw)

    def register(self, holder: str, tensors: Iterable[Tensor | None]) -> None:
        """Give tensors to a holder; tensors not seen before count as held from now on."""
        for tensor in tensors:
            if tensor is not None and tensor.device.type == self._device_type:
                number = self._find(tensor, holder)
                self._holders[number] = holder

    def begin(self) -> None:
        """Take the tensors seen so far as held before the step: its first moment."""
        self._num_before = len(self._events)

    def forget(self) -> None:
        """Stop watching; the moments seen so far stay."""
        self._known.clear()

    def replay(self) -> list[MemoryPoint]:
        """The moments, with the holders as they turned out to be."""
        live: Bytes = {}
        points = []
        for index, (part, number, change) in enumerate(self._events, start=1):
            holder = self._holders[number]
            live[holder] = live.get(holder, 0) + change
            if index < self._num_before:
                continue
            points.append(MemoryPoint(part, {name: n for name, n in live.items() if n}))
        return points

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operator of torch
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run the operation and note what it took."""
        if self.is_backward:
            self.part = "backward"
        elif self.part == "backward":
            self.part, self.holder = "update", UPDATE
        # What comes from elsewhere, such as a loader's batch, is seen here for the first time.
        for tensor in _tensors((args, kwargs)):
            if tensor.device.type == self._device_type:
                self._find(tensor, BACKWARD if self.is_backward else BATCH)
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            if tensor.device.type == self._device_type:
                self._find(tensor, self._choose_holder(func, args))
        if self._live > self._most_live:
            self._most_live = self._live
            self.peak_resident_bytes = self._process.memory_info().rss
        return result

    def _choose_holder(self, func: Any, args: tuple[Any, ...]) -> str:  # noqa: ANN401
        if func is torch.ops.aten._to_copy.default:
            source = args[0]
            if source.device.type != self._device_type:
                return BATCH
            known = self._known.get(source.untyped_storage()._cdata)
            if known is not None and self._holders[known[0]] == PARAMETERS:
                return CAST
        if self.is_backward:
            return self.recomputed or BACKWARD
        return self.holder

    def _find(self, tensor: Tensor, holder: str) -> int:
        """The number of the tensor's storage; if it is a new one, it is the holder's."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return self._known[key][0]
        number, num_bytes = len(self._holders), storage.nbytes()

        def give_back(reference: weakref.ref[torch.UntypedStorage]) -> None:
            # Another one may have its address by now.
            if key in self._known and self._known[key][1] is reference:
                del self._known[key]
                self._live -= num_bytes
                self._events.append((self.part, number, -num_bytes))

        self._known[key] = (number, weakref.ref(storage, give_back))
        self._holders.append(holder)
        self._live += num_bytes
        self._events.append((self.part, number, num_bytes))
        return number


def read_outside_gib() -> dict[str, float | None]:
    """What a run holds in main memory outside its training process, for `to_json`.

    Returns:
        WORKERS: What only they hold (USS), without what they share; where the system does not
        tell them apart, with it. PAGE_CACHE: Pages of files that
        the container has read, most of which the kernel gives up on demand; None without one.
    """
    workers_gib = sum(map(own_memory_gib, psutil.Process().children(recursive=True)))
    return {WORKERS: workers_gib, PAGE_CACHE: read_page_cache_gib()}


def _find_parts(network: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Modules that are called, with the holder of what they make, and of what comes after them."""
    for name, module in network.named_children():
        if isinstance(module, nn.ModuleDict):
            for key, head in module.items():
                yield f"activations of head {key}", LOGITS, head
        elif name == "backbone":
            for inner, stage in module.named_children():
                is_stage = inner.startswith("layer")
                holder = f"activations of {inner if is_stage else 'stem'}"
                # The blocks of a stage are called one by one.
                for called in stage.children() if is_stage else [stage]:
                    yield holder, holder, called
        else:
            yield f"activations of {name}", f"activations of {name}", module


def _tensors(values: object) -> Iterator[Tensor]:
    """All tensors in lists, tuples and dictionaries, however deep."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _in_gib(num_bytes: Bytes) -> dict[str, float]:
    return {name: round(n / GIB, 5) for name, n in num_bytes.items()}


def _thin(points: list[MemoryPoint]) -> list[MemoryPoint]:
    """At most _MAX_POINTS, evenly spread: the highest of each stretch, so that the peak stays."""
    num_stretches = min(len(points), _MAX_POINTS)
    edges = [i * len(points) // num_stretches for i in range(num_stretches + 1)]
    return [
        max(points[start:end], key=lambda point: point.total)
        for start, end in itertools.pairwise(edges)
    ]
