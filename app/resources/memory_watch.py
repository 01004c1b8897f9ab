"""Warn of memory before the kernel acts: when it is nearly full, and when it rises without end."""

import logging
import statistics
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Final

_log = logging.getLogger(__name__)

FULL_SHARE: Final = 0.85
# Epochs to leave out and to compare; the first one still fills caches and heaps.
_NUM_WARM_UP_EPOCHS: Final = 1
_MIN_EPOCHS: Final = 4
_MAX_EPOCHS: Final = 20
# Share of the steps from one epoch to the next that must lead upwards.
_RISING_SHARE: Final = 0.75
# Smaller rises are noise of the allocator, even if a thousand of them would add up to much.
_MIN_RISE_SHARE: Final = 0.002
_REMEDY: Final = (
    "lower num_workers, prefetch_factor or crop_size_px, lower batch_size and raise "
    "grad_accum_steps by the same factor, or set checkpoint_activations=true"
)


class MemoryWatch:
    """Sees what a job uses; each of its warnings is logged once."""

    def __init__(self, limit_gib: float) -> None:
        """Prepare.

        Args:
            limit_gib: What the job may use.
        """
        self._limit_gib = limit_gib
        self._peaks_gib: list[float] = []
        self._epoch_peak_gib = 0.0
        self._told_full = False
        self._told_rise = False

    def see(self, use_gib: float) -> None:
        """Note how much memory is in use now."""
        self._epoch_peak_gib = max(self._epoch_peak_gib, use_gib)
        if self._told_full or use_gib < FULL_SHARE * self._limit_gib:
            return
        self._told_full = True
        _log.warning(
            "memory: %.2f GiB of the limit of %.2f GiB are in use (%.0f %%), and the kernel ends "
            "the job at the limit; %s",
            use_gib,
            self._limit_gib,
            100 * use_gib / self._limit_gib,
            _REMEDY,
        )

    def close_epoch(self, num_epochs_left: int) -> None:
        """Take note that an epoch has ended.

        Args:
            num_epochs_left: Epochs still to come.
        """
        self._peaks_gib.append(self._epoch_peak_gib)
        self._epoch_peak_gib = 0.0
        peaks_gib = self._peaks_gib[_NUM_WARM_UP_EPOCHS:][-_MAX_EPOCHS:]
        if self._told_rise or len(peaks_gib) < _MIN_EPOCHS:
            return
        rise_gib = find_rise(peaks_gib)
        if rise_gib < _MIN_RISE_SHARE * self._limit_gib:
            return
        num_epochs_to_limit = (self._limit_gib - peaks_gib[-1]) / rise_gib
        if num_epochs_to_limit > num_epochs_left:
            return
        self._told_rise = True
        _log.warning(
            "memory: the peak rises steadily, from %.2f to %.2f GiB in %d epochs, %.0f MiB an "
            "epoch: at that rate it reaches the limit of %.2f GiB in %.0f epochs, before the end; "
            "lower num_workers, and report what the data is like: something is kept",
            peaks_gib[0],
            peaks_gib[-1],
            len(peaks_gib),
            1024 * rise_gib,
            self._limit_gib,
            max(0.0, num_epochs_to_limit),
        )


def find_rise(values: Sequence[float]) -> float:
    """By how much values rise from one to the next; 0 where they do not do so steadily.

    The median of the slopes between all pairs (Theil and Sen), which single spikes do not move.

    Args:
        values: At least two, in order.
    """
    ups = sum(later > earlier for earlier, later in pairwise(values))
    if ups < _RISING_SHARE * (len(values) - 1):
        return 0.0
    pairs = combinations(range(len(values)), 2)
    return max(0.0, statistics.median((values[j] - values[i]) / (j - i) for i, j in pairs))
