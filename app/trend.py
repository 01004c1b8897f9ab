"""Does a loss fall: its slope over the steps, and how sure that is.

Ordinary least squares on the loss of each step. Neighbouring steps are alike (samples come again,
averages move slowly), so the standard error is that of fewer, independent steps: their number is
divided by (1 + r) / (1 - r), with r the correlation of a residual with the next one.

Source: Bayley and Hammersley (1946), "The effective number of independent observations in an
autocorrelated time series".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

Verdict = Literal["yes", "no", "too short to say"]

# Of a run's steps, the first ones, in which the loss falls from its random start.
_SKIPPED_SHARE: Final = 0.1
_MIN_STEPS: Final = 8
# A fall by less of the loss over the whole run would not matter.
_RELEVANT_SHARE: Final = 0.1


@dataclass(frozen=True)
class Trend:
    """How a loss went over a run.

    Attributes:
        slope: Change of the loss in 100 steps; None where there are too few to tell.
        stderr: Its standard error.
        change: From the mean of the first fifth of all steps to that of the last, as a share of the
            first; None likewise.
        verdict: Whether the loss converges.
    """

    slope: float | None
    stderr: float | None
    change: float | None
    verdict: Verdict

    def describe(self) -> str:
        """For a table: the slope with the half width of its 95 % interval."""
        if self.slope is None or self.stderr is None:
            return "unknown"
        return f"{self.slope:+.3f} +- {1.96 * self.stderr:.3f}"


def find_trend(steps: Sequence[int], losses: Sequence[float]) -> Trend:
    """The trend of a loss.

    "yes": the 95 % interval of the slope lies below zero. "no": it lies above, or includes zero and
    rules out a fall that would matter, a tenth of the loss over the run.

    Args:
        steps: Numbers of the steps, rising.
        losses: As many.
    """
    num_steps = len(steps)
    first = math.ceil(_SKIPPED_SHARE * num_steps)
    if num_steps - first < _MIN_STEPS:
        return Trend(None, None, None, "too short to say")
    x = np.asarray(steps[first:], dtype=np.float64)
    y = np.asarray(losses[first:], dtype=np.float64)
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    residuals = y - y.mean() - slope * x
    spread = float(residuals @ residuals)
    likeness = float(residuals[1:] @ residuals[:-1] / spread) if spread > 0 else 0.0
    likeness = min(max(likeness, 0.0), 0.99)
    num_independent = len(x) * (1 - likeness) / (1 + likeness)
    if num_independent <= 2:
        stderr = math.inf
    else:
        stderr = math.sqrt(spread / len(x) * num_independent / (num_independent - 2))
        stderr *= math.sqrt(len(x) / num_independent) / math.sqrt(float(x @ x))
    fifth = max(1, num_steps // 5)
    begin, end = float(np.mean(losses[:fifth])), float(np.mean(losses[-fifth:]))
    low, high = slope - 1.96 * stderr, slope + 1.96 * stderr
    relevant = -_RELEVANT_SHARE * abs(float(y.mean())) / (steps[-1] - steps[first])
    verdict: Verdict = "too short to say"
    if high < 0:
        verdict = "yes"
    elif low > 0 or low > relevant:
        verdict = "no"
    change = (end - begin) / begin if begin else None
    return Trend(100 * slope, 100 * stderr, change, verdict)
