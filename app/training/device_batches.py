"""Micro-batches on the device that trains; a GPU gets those of the next step while it computes."""

import contextlib
from collections.abc import Collection, Iterator
from typing import cast

import torch

from app.base.errors import StopRequested
from app.base.tasks import TaskName
from app.data.loading import Batch
from app.data.on_device.batches import CutBatch, is_cut, move_cut
from app.data.on_device.making import SampleMaker
from app.data.transforms import TrainTransform
from app.training.watch.step_clock import StepClock


class DeviceBatches:
    """The micro-batches of each step, in order, with images and needed targets on the device.

    On CUDA, copies go through a stream of their own. `prefetch`, called once the work of a step is
    queued, reads and copies the next step's batches while the GPU works; for that they must be in
    pinned memory. On other devices, batches are read when they are needed.
    """

    def __init__(
        self,
        batches: Iterator[Batch | CutBatch],
        tasks: Collection[TaskName],
        device: torch.device,
        clock: StepClock,
        transform: TrainTransform | None = None,
    ) -> None:
        """Prepare; reads nothing.

        Args:
            batches: In host memory, with at least as many as are taken.
            tasks: Tasks whose targets are needed; the other targets stay in host memory.
            device: The device to copy to.
            clock: Counts the time of a step spent waiting for `batches` and for copies.
            transform: What cut batches are to be made with; None where none are cut.
        """
        self._batches = batches
        self._tasks = tasks
        self._device = device
        self._clock = clock
        self._maker = None if transform is None else SampleMaker(transform, tasks)
        self._ahead: list[Batch] = []
        self._stream = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def take(self, num_batches: int) -> list[Batch]:
        """The next micro-batches, for use in the current stream.

        Raises:
            StopRequested: If asked to stop while they are not there.
        """
        self._read(num_batches)
        taken, self._ahead = self._ahead[:num_batches], self._ahead[num_batches:]
        with self._clock.part("transfer"):
            if self._stream is not None:
                current = torch.cuda.current_stream(self._device)
                current.wait_stream(self._stream)
                for batch in taken:
                    # Made in the other stream: without this their memory would be given to its
                    # next copies while work that is queued here still reads them.
                    for tensor in self._needed(batch).values():
                        tensor.record_stream(current)
        return taken

    def prefetch(self, num_batches: int) -> None:
        """Begin to copy the next micro-batches, if the device can copy while it computes."""
        # A stop is for `take` to meet: the step under way is done first.
        if self._stream is not None:
            with contextlib.suppress(StopRequested):
                self._read(num_batches)

    def _read(self, num_batches: int) -> None:
        while len(self._ahead) < num_batches:
            with self._clock.part("wait"):
                batch = next(self._batches)
            stream = contextlib.nullcontext() if self._stream is None else self._stream
            with stream:
                self._ahead.append(self._move(batch))

    def _move(self, batch: Batch | CutBatch) -> Batch:
        """The micro-batch on the device, made there if it was cut."""
        if is_cut(batch):
            assert self._maker is not None, "who asks for cut batches says how they are made"
            return self._maker.make(move_cut(batch, self._device), batch["windows"])
        whole = cast("Batch", batch)
        moved = {
            name: tensor.to(self._device, non_blocking=True)
            for name, tensor in self._needed(whole).items()
        }
        return {**whole, **moved}  # type: ignore[typeddict-item]

    def _needed(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"image": batch["image"], **{name: batch[name] for name in self._tasks}}
