"""Where the time of a training step goes, and how the loss fell over the steps.

On a GPU work is queued, so the clock would tell when it was asked for, not when it was done: parts
are timed by events in the device's own queue, read once the step has waited for its result anyway.
So waiting for data counts as far as the device is idle meanwhile.
"""

import contextlib
import time
from collections.abc import Iterator

import torch

from app.resources.steps import PARTS, Part


class StepClock:
    """Seconds of each part of the step under way."""

    def __init__(self, device: torch.device) -> None:
        """Prepare.

        Args:
            device: Where the work is done.
        """
        self._device = device
        self._seconds: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
        self._events: list[tuple[Part, torch.cuda.Event, torch.cuda.Event]] = []
        self._started_s = time.perf_counter()

    @contextlib.contextmanager
    def part(self, name: Part) -> Iterator[None]:
        """Count what is done inside as a part of the step; parts do not lie inside each other."""
        if self._device.type == "cuda":
            start, end = _event(), _event()
            start.record()
            yield
            end.record()
            self._events.append((name, start, end))
            return
        before_s = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - before_s

    def close_step(self) -> dict[str, float]:
        """Seconds of the step that ends here: "step" for all of it, and those of PARTS."""
        if self._events:
            self._events[-1][2].synchronize()
        for name, start, end in self._events:
            self._seconds[name] += start.elapsed_time(end) / 1000
        now_s = time.perf_counter()
        closed = {"step": now_s - self._started_s, **{str(k): v for k, v in self._seconds.items()}}
        self._events.clear()
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._started_s = now_s
        return closed

    def restart(self) -> None:
        """Begin a step now; the time since the last one went into a validation or a checkpoint."""
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._events.clear()
        self._started_s = time.perf_counter()


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
