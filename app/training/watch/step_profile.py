"""One step of a run watched tensor by tensor, where the run is asked to."""

from collections.abc import Iterator
from typing import Any

from app.training.state import StepResult, TrainingState
from app.training.watch.tensor_memory import StepMemoryWatch, read_outside_gib


class StepProfiler:
    """Watches a run's second step: the first makes the optimizer's state, and is like no other.

    Attributes:
        profile: As StepMemoryWatch.to_json; None until it is there.
    """

    def __init__(self, state: TrainingState, *, is_wanted: bool) -> None:
        """Prepare.

        Args:
            state: The training that is watched.
            is_wanted: Whether a step is watched at all.
        """
        self.profile: dict[str, Any] | None = None
        self._state = state
        self._first_step = state.step
        self._is_wanted = is_wanted

    def watch(self, steps: Iterator[StepResult]) -> Iterator[StepResult]:
        """The same steps, one of them watched."""
        state = self._state
        while True:
            if self._is_wanted and self.profile is None and state.step > self._first_step:
                watch = StepMemoryWatch(state.model, state.optimizer, state.ema.module)
                with watch:
                    result = next(steps, None)
                if result is not None:
                    self.profile = watch.to_json(read_outside_gib())
            else:
                result = next(steps, None)
            if result is None:
                return
            yield result
