"""How far a run is, on a terminal: a bar with epoch, loss and the time that the run has left."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Never, TypeVar

from tqdm import tqdm

from app.base.logs import ForgivingStream
from app.base.units import describe_duration

# A first step pays for what is done once.
_LEAST_STEPS: Final = 3
_REFRESH_S: Final = 0.1
_FORM: Final = "{desc} {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt}{postfix}"

_Item = TypeVar("_Item")


class Pace:
    """Mean times of steps and validations, and how long the rest of a run takes at this pace."""

    def __init__(self) -> None:
        self._num_steps = 0
        self._steps_s = 0.0
        self._validation_s: float | None = None

    def add_step(self, seconds: float) -> None:
        """Take in a step."""
        self._num_steps += 1
        if self._num_steps > 1:
            self._steps_s += seconds

    def add_validation(self, seconds: float) -> None:
        """Take in a validation; the last one counts, since they are alike."""
        self._validation_s = seconds

    @property
    def step_s(self) -> float | None:
        """Mean seconds of a step; None before there are enough to tell."""
        if self._num_steps < _LEAST_STEPS:
            return None
        return self._steps_s / (self._num_steps - 1)

    def describe_left(self, num_steps: int, num_validations: int) -> str:
        """How long a run has left, in words; empty before that can be told.

        Args:
            num_steps: Steps that are left of the run.
            num_validations: Validations that are left.
        """
        if self.step_s is None:
            return ""
        steps_s = num_steps * self.step_s
        if self._validation_s is not None:
            left_s = steps_s + num_validations * self._validation_s
            return f"{describe_duration(left_s)} left"
        plural = "s" if num_validations > 1 else ""
        return f"{describe_duration(steps_s)} and {num_validations} validation{plural} left"


class RunBar:
    """Shows how far a run is, where stderr is a terminal; does nothing elsewhere.

    Args:
        num_epochs: Of the whole run.
        steps_per_epoch: Optimizer steps.
        is_first: Whether this process is the one that people hear.
    """

    def __init__(self, num_epochs: int, steps_per_epoch: int, *, is_first: bool) -> None:
        self._num_epochs = num_epochs
        self._steps_per_epoch = steps_per_epoch
        self._is_shown = is_first and sys.stderr is not None and sys.stderr.isatty()
        self._pace = Pace()

    def steps(
        self, steps: Iterable[_Item], epoch: int, num_left: int, loss: Callable[[], float | None]
    ) -> Iterator[_Item]:
        """The same steps, each shown once it was taken in.

        Args:
            steps: Steps of an epoch.
            epoch: Number of the epoch, from 1.
            num_left: How many steps come.
            loss: Mean loss of the epoch so far; None before there is any.
        """
        if not self._is_shown:
            yield from steps
            return
        done = max(0, self._steps_per_epoch - num_left)
        with self._open(f"epoch {epoch}/{self._num_epochs}", done + num_left, done) as bar:
            begun_s = time.monotonic()
            for number, step in enumerate(steps, start=1):
                yield step
                now_s = time.monotonic()
                self._pace.add_step(now_s - begun_s)
                begun_s = now_s
                bar.set_postfix_str(self._describe(epoch, num_left - number, loss()), False)
                bar.update()

    def validation(self, photos: Iterable[_Item], epoch: int, num_photos: int) -> Iterator[_Item]:
        """The same photos, each shown once it was scored.

        Args:
            photos: Photos that are scored.
            epoch: Number of the epoch, from 1; 0 for the initial model.
            num_photos: How many there are.
        """
        if not self._is_shown:
            yield from photos
            return
        begun_s = time.monotonic()
        place = f"after epoch {epoch}/{self._num_epochs}" if epoch else "the initial model"
        with self._open(f"validating {place}", num_photos) as bar:
            for photo in photos:
                yield photo
                bar.update()
        self._pace.add_validation(time.monotonic() - begun_s)

    def _open(self, title: str, total: int, done: int = 0) -> "tqdm[Never]":
        return tqdm(
            desc=title,
            total=total,
            initial=done,
            mininterval=_REFRESH_S,
            leave=False,
            file=ForgivingStream(sys.stderr),
            dynamic_ncols=True,
            bar_format=_FORM,
        )

    def _describe(self, epoch: int, num_steps: int, loss: float | None) -> str:
        num_epochs = self._num_epochs - epoch
        step_s = self._pace.step_s
        parts = [
            "" if loss is None else f"loss {loss:.3f}",
            "" if step_s is None else f"{step_s:.2g} s a step",
            self._pace.describe_left(
                num_steps + num_epochs * self._steps_per_epoch, num_epochs + 1
            ),
        ]
        return ", ".join(part for part in parts if part)
