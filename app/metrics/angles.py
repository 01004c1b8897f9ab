"""Sums over errors of angles: how large they are, and whether what is stated of them holds."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from app.base.arrays import Floats
from app.metrics.confusion import Values
from app.metrics.sums import Counts, Sums, median, ratio, round_for_exact_sum

# Medians come from a histogram of such bins, by which they can be added up.
_BIN_DEG: Final = 0.1
_NUM_BINS: Final = 1801
# Standard deviations on either side of the mean that hold 90 % of a normal distribution.
_HALF_INTERVAL_SD: Final = 1.6448536269514722
_NUM_SUMS: Final = 5
# Stated probabilities are compared with shares within tenths.
_NUM_TENTHS: Final = 10
_EXACT_BITS: Final = 20


class AngleSums:
    """Sums over things that have an angle in truth.

    Args:
        limits_deg: Errors that are worth a share of their own.
    """

    def __init__(self, limits_deg: Sequence[float] = ()) -> None:
        self._limits_deg = tuple(limits_deg)
        # All; those with an answer; the sum of their errors; of those that state an interval and
        # whose truth is exact: all, and those that lie in it. Then those within each limit.
        self._sums: Sums = np.zeros(_NUM_SUMS + len(limits_deg), np.float64)
        self._histogram: Counts = np.zeros(_NUM_BINS, np.int64)

    def add(self, errors_deg: Floats, sd_deg: Floats, is_exact: bool) -> None:
        """Count angles.

        Args:
            errors_deg: (N,) errors in [0, 180]; NaN where there is no answer.
            sd_deg: (N,) stated standard deviations; NaN where none is stated.
            is_exact: Whether the true angles are; else their intervals are not looked at.
        """
        errors = errors_deg[np.isfinite(errors_deg)]
        exact = round_for_exact_sum(torch.from_numpy(errors)).numpy()
        states = np.isfinite(errors_deg) & np.isfinite(sd_deg) & is_exact
        in_interval = errors_deg[states] <= _HALF_INTERVAL_SD * sd_deg[states]
        self._sums += [
            len(errors_deg),
            len(errors),
            exact.sum(),
            states.sum(),
            in_interval.sum(),
            *((errors <= limit).sum() for limit in self._limits_deg),
        ]
        bins = np.rint(errors / _BIN_DEG).astype(np.int64)
        self._histogram += np.bincount(bins, minlength=_NUM_BINS)

    def state(self) -> Sums:
        """One-dimensional float64; states may be added."""
        return np.concatenate([self._sums, self._histogram.astype(np.float64)])

    def load_state(self, state: Sums) -> None:
        """Replace all sums by those of a state."""
        self._sums = state[: len(self._sums)].copy()
        self._histogram = state[len(self._sums) :].astype(np.int64)

    def values(self, name: str) -> Values:
        """Every metric of an angle of that name, but for its limits."""
        num_all, num_answered, total, num_stated, num_in_interval = self._sums[:_NUM_SUMS].tolist()
        count = int(num_answered)
        middle = median(np.arange(_NUM_BINS) * _BIN_DEG, self._histogram) if count else None
        return {
            f"{name}_coverage": (ratio(num_answered, num_all), int(num_all)),
            f"{name}_error_deg": (ratio(total, num_answered), count),
            f"{name}_error_median_deg": (middle, count),
            f"{name}_in_interval_90": (ratio(num_in_interval, num_stated), int(num_stated)),
        }

    def shares_within(self) -> list[tuple[float | None, int]]:
        """For each limit the share of the answers whose error is no larger, and their number."""
        num_answered = self._sums[1]
        return [(ratio(hits, num_answered), int(num_answered)) for hits in self._sums[_NUM_SUMS:]]


class ConfidenceSums:
    """Sums over things that are right or not, and of which somebody states how likely they are."""

    def __init__(self) -> None:
        # By tenths of the stated probability: how many, the probabilities' sum, and how many are
        # right.
        self._sums: Sums = np.zeros((_NUM_TENTHS, 3), np.float64)

    def add(self, stated: Floats, is_right: Floats) -> None:
        """Count things.

        Args:
            stated: (N,) probabilities in [0, 1] that they are right; NaN where none is stated.
            is_right: (N,) whether they are; where that is not known for sure, its probability.
        """
        known = np.isfinite(stated)
        exact = torch.from_numpy(np.stack((stated[known], is_right[known]), axis=1))
        rounded = round_for_exact_sum(exact, _EXACT_BITS).numpy()
        tenths = np.minimum((stated[known] * _NUM_TENTHS).astype(np.int64), _NUM_TENTHS - 1)
        np.add.at(self._sums, tenths, np.insert(rounded, 0, 1.0, axis=1))

    def state(self) -> Sums:
        """One-dimensional float64; states may be added."""
        return self._sums.ravel().copy()

    def load_state(self, state: Sums) -> None:
        """Replace all sums by those of a state."""
        self._sums = state.reshape(self._sums.shape).copy()

    def values(self) -> Values:
        """How far what is stated is from what is: in all, and tenth by tenth."""
        count, stated, right = self._sums.sum(axis=0)
        gap = np.abs(self._sums[:, 1] - self._sums[:, 2]).sum()
        return {
            "confidence_error": (ratio(stated - right, count), int(count)),
            "confidence_gap": (ratio(gap, count), int(count)),
        }
