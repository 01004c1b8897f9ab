"""Metrics of heights: size, bias and spread of the errors in metres."""

import math

import numpy as np
import torch
from torch import Tensor

from app.base.tasks import Task
from app.metrics.definitions import DEPTH_REGIONS, ROOF_REGION, MetricValue, attach_definitions
from app.metrics.known import known_mask
from app.metrics.sums import Counts, Sums, median, ratio, round_for_exact_sum, to_counts

# Bins of the histogram of errors; errors beyond its ends count in the last bins.
_BIN_M = 0.01
_LARGEST_BIN = 6000
_NUM_BINS = 2 * _LARGEST_BIN + 1
_LARGEST_ERROR_M = 1000.0

_MIN_HEIGHT_M = 0.5
# Below it a ratio of heights says more about noise than about the network.
_MIN_HEIGHT_FOR_RATIO_M = 1.0
_DELTA_1 = 1.25


class DepthMetrics:
    """Counts and sums of the depth task over any number of batches.

    Args:
        task: The depth task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        num_regions = len(DEPTH_REGIONS)
        # Per region: the sums of error, absolute error and squared error.
        self._sums: Sums = np.zeros((num_regions, 3), np.float64)
        self._histograms: Counts = np.zeros((num_regions, _NUM_BINS), np.int64)
        # Over pixels above 1 m: their number, the sum of relative errors, those within 1.25.
        self._relative: Sums = np.zeros(3, np.float64)

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor, is_roof: Tensor) -> None:
        """Count a batch.

        Args:
            logits: (N, 1, H, W), any float dtype: predicted metres.
            target: (N, H, W) float32, metres; NaN where unknown. Heights that are impossible count
                as unknown, as in the loss.
            is_roof: (N, H, W) bool, from the target of segments; False where that is unknown.
        """
        is_known = known_mask("depth", target)
        height = target[is_known].to(logits.device)
        error = logits[:, 0].float()[is_known.to(logits.device)] - height
        # A network that has diverged counts as 1 km off: a very bad score, but a number.
        error = error.nan_to_num(nan=_LARGEST_ERROR_M).clamp(-_LARGEST_ERROR_M, _LARGEST_ERROR_M)
        error = round_for_exact_sum(error)
        bins = torch.round(error / _BIN_M).clamp(-_LARGEST_BIN, _LARGEST_BIN).long() + _LARGEST_BIN
        regions = (
            torch.ones_like(height, dtype=torch.bool),
            height > _MIN_HEIGHT_M,
            is_roof[is_known].to(logits.device),
        )
        for i, region in enumerate(regions):
            chosen = error[region]
            sums = torch.stack([chosen.sum(), chosen.abs().sum(), chosen.square().sum()])
            self._sums[i] += sums.cpu().numpy()
            self._histograms[i] += to_counts(torch.bincount(bins[region], minlength=_NUM_BINS))

        is_tall = height > _MIN_HEIGHT_FOR_RATIO_M
        height, error = height[is_tall].double(), error[is_tall]
        predicted = height + error
        is_near = (predicted < _DELTA_1 * height) & (height < _DELTA_1 * predicted)
        relative = round_for_exact_sum(error.abs() / height)
        self._relative += [len(height), float(relative.sum()), int(is_near.sum())]

    def state(self) -> Tensor:
        """All sums, (36015,) float64; states of ranks may be added."""
        return torch.from_numpy(
            np.concatenate([self._sums.ravel(), self._histograms.ravel(), self._relative])
        )

    def load_state(self, state: Tensor) -> None:
        """Replace all sums by those of a state."""
        # A copy, so that the next update leaves the caller's tensor alone.
        sums, histograms, relative = np.split(
            state.cpu().numpy().copy(),
            [self._sums.size, self._sums.size + self._histograms.size],
        )
        self._sums = sums.reshape(self._sums.shape)
        self._histograms = histograms.astype(np.int64).reshape(self._histograms.shape)
        self._relative = relative

    def compute(self) -> dict[str, MetricValue]:
        """Every metric of the task by its name in the table.

        Those of roof are left out where no pixel has a height and is roof in the labels: a dataset
        that labels heights need not label planes, and then they can never be measured.
        """
        values: dict[str, tuple[float | None, int]] = {}
        for prefix, sums, histogram in zip(
            DEPTH_REGIONS, self._sums, self._histograms, strict=True
        ):
            num_pixels = int(histogram.sum())
            mean_square = ratio(sums[2], num_pixels)
            rmse = None if mean_square is None else math.sqrt(mean_square)
            values[f"{prefix}bias_m"] = (ratio(sums[0], num_pixels), num_pixels)
            values[f"{prefix}mae_m"] = (ratio(sums[1], num_pixels), num_pixels)
            values[f"{prefix}rmse_m"] = (rmse, num_pixels)
            values[f"{prefix}nmad_m"] = (_nmad_m(histogram), num_pixels)
        num_tall, relative_sum, num_near = self._relative
        values["abs_rel"] = (ratio(relative_sum, num_tall), int(num_tall))
        values["delta_1"] = (ratio(num_near, num_tall), int(num_tall))
        metrics = attach_definitions(self._task, values)
        has_roof = metrics[f"{ROOF_REGION}mae_m"].support > 0
        return {
            name: metric
            for name, metric in metrics.items()
            if has_roof or not name.startswith(ROOF_REGION)
        }


def _nmad_m(histogram: Counts) -> float | None:
    """1.4826 times the median distance from the median, off by at most 1.5 cm; None without pixels.

    The factor makes it the standard deviation where errors are normally distributed.
    """
    if not histogram.any():
        return None
    errors_m = (np.arange(_NUM_BINS) - _LARGEST_BIN) * _BIN_M
    distances_m = np.abs(errors_m - median(errors_m, histogram))
    order = np.argsort(distances_m)
    return 1.4826 * median(distances_m[order], histogram[order])
