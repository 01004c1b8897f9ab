"""Micro-batches on the device that trains; a GPU gets those of the next step while it computes."""

import contextlib
from collections.abc import Collection, Iterator

import torch

from app.base.tasks import TaskName
from app.data.loading import Batch
from app.training.watch.step_clock import StepClock


class DeviceBatches:
    """What a step trains on, in order, with the images and the targets of its tasks on the device.

    On CUDA, copies go through a stream of their own: asked for with `prefetch` once the work of a
    step is queued, the next step's batches are read and copied while that work is done. They must
    come from pinned memory for that. Elsewhere nothing is asked for before it is needed.
    """

    def __init__(
        self,
        batches: Iterator[Batch],
        tasks: Collection[TaskName],
        device: torch.device,
        clock: StepClock,
    ) -> None:
        """Prepare; reads nothing.

        Args:
            batches: In host memory, with at least as many as are taken.
            tasks: Whose targets are needed; those of others stay where they are.
            device: Where to.
            clock: Counts what waiting for `batches` and for copies takes of a step.
        """
        self._batches = batches
        self._tasks = tasks
        self._device = device
        self._clock = clock
        self._ahead: list[Batch] = []
        self._stream = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def take(self, num_batches: int) -> list[Batch]:
        """The next ones, for use in the current stream."""
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
        """Begin to copy the next ones, if the device can do so beside its work."""
        if self._stream is not None:
            self._read(num_batches)

    def _read(self, num_batches: int) -> None:
        while len(self._ahead) < num_batches:
            with self._clock.part("wait"):
                batch = next(self._batches)
            stream = contextlib.nullcontext() if self._stream is None else self._stream
            with stream:
                moved = {
                    name: tensor.to(self._device, non_blocking=True)
                    for name, tensor in self._needed(batch).items()
                }
            self._ahead.append({**batch, **moved})  # type: ignore[typeddict-item]

    def _needed(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"image": batch["image"], **{name: batch[name] for name in self._tasks}}
