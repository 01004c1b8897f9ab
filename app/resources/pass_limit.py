"""What the ranks of a run know of how many samples of a pass memory holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.base.errors import StopRequested


@dataclass(frozen=True)
class PassLimit:
    """For batch_size=auto, what one rank knows of how many samples of a pass memory holds.

    Attributes:
        found: Measured on this rank's host; None where this rank did not measure.
        recalled: Settled for the run that resumes here; None where no run resumes, or this rank's
            host has no checkpoints.
        was_stopped: Whether this rank was to measure, and was asked to stop before it knew.
    """

    found: int | None = None
    recalled: int | None = None
    was_stopped: bool = False


def agree_on_pass(limits: Sequence[PassLimit]) -> int | None:
    """The most samples of a pass for all ranks; None where none of them knows.

    Args:
        limits: Those of all ranks.

    Raises:
        StopRequested: If any was to measure and was asked to stop before it knew.
    """
    recalled = [limit.recalled for limit in limits if limit.recalled is not None]
    found = [limit.found for limit in limits if limit.found is not None]
    if not recalled and any(limit.was_stopped for limit in limits):
        raise StopRequested
    # A resumed run splits its steps as before, whatever hosts without its checkpoints found.
    return min(recalled or found, default=None)
