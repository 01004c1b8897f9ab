"""Metrics of roof planes: overlap per class, roof against background, direction."""

import numpy as np
import torch
from torch import Tensor

from app.azimuth import NUM_BINS, class_to_degrees
from app.metrics.definitions import MetricValue, describe
from app.metrics.sums import Counts, ratio, round_for_exact_sum, to_counts
from app.tasks import BACKGROUND_CLASS, SOME_ROOF, find_task

_CLASS_NAMES = find_task("segments").class_names
_NUM_CLASSES = len(_CLASS_NAMES)
_NUM_TARGETS = SOME_ROOF + 1


class SegmentsMetrics:
    """Counts of the segments task over any number of batches.

    One confusion matrix holds all but the angle: its last row counts pixels of some roof of unknown
    direction, which say something about roof against background only.
    """

    def __init__(self) -> None:
        # (19, 18): row the target, column the prediction.
        self._counts: Counts = np.zeros((_NUM_TARGETS, _NUM_CLASSES), np.int64)
        self._azimuth_error_sum_deg = 0.0

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            logits: (N, 18, H, W), any float dtype.
            target: (N, H, W) uint8: 0..17, 18 some roof, 255 unknown.
        """
        target = target.to(logits.device).long()
        # max finds the same class as argmax and takes a third of its time on a CPU.
        prediction = logits.max(dim=1).indices
        is_known = target <= SOME_ROOF
        cells = target[is_known] * _NUM_CLASSES + prediction[is_known]
        counts = torch.bincount(cells, minlength=self._counts.size)
        self._counts += to_counts(counts).reshape(self._counts.shape)

        is_pitched = (target < NUM_BINS) & (prediction < NUM_BINS)
        errors_deg = _azimuth_errors_deg(
            logits[:, :NUM_BINS].movedim(1, -1)[is_pitched], target[is_pitched]
        )
        self._azimuth_error_sum_deg += float(round_for_exact_sum(errors_deg).sum())

    def state(self) -> Tensor:
        """All sums, (343,) float64; states of ranks may be added."""
        sums = np.append(self._counts.ravel(), self._azimuth_error_sum_deg)
        return torch.from_numpy(sums.astype(np.float64))

    def load_state(self, state: Tensor) -> None:
        """Replace all sums by those of a state."""
        self._counts = to_counts(state[:-1]).reshape(self._counts.shape)
        self._azimuth_error_sum_deg = float(state[-1])

    def confusion_matrix(self) -> Tensor:
        """(18, 18) int64 pixels, rows the target class, columns the predicted."""
        return torch.from_numpy(self._counts[:_NUM_CLASSES].copy())

    def compute(self) -> dict[str, MetricValue]:
        """Every metric of the task by its name in the table."""
        values = self._class_values() | self._roof_values() | self._azimuth_values()
        return describe("segments", values)

    def _class_values(self) -> dict[str, tuple[float | None, int]]:
        confusion = self._counts[:_NUM_CLASSES]
        hits = confusion.diagonal()
        num_target = confusion.sum(axis=1)
        num_union = num_target + confusion.sum(axis=0) - hits
        occurs = num_target > 0
        ious = hits / np.maximum(num_union, 1)
        accuracies = hits / np.maximum(num_target, 1)
        occurs_as_roof = occurs.copy()
        occurs_as_roof[BACKGROUND_CLASS] = False
        values: dict[str, tuple[float | None, int]] = {
            "miou": _mean_over(ious, occurs),
            "miou_no_background": _mean_over(ious, occurs_as_roof),
            "mean_class_accuracy": _mean_over(accuracies, occurs),
            "pixel_accuracy": (ratio(hits.sum(), num_target.sum()), int(num_target.sum())),
        }
        for class_id, class_name in enumerate(_CLASS_NAMES):
            value = float(ious[class_id]) if occurs[class_id] else None
            values[f"iou_{class_name}"] = (value, int(num_target[class_id]))
        return values

    def _roof_values(self) -> dict[str, tuple[float | None, int]]:
        background = self._counts[BACKGROUND_CLASS]
        roof = self._counts.sum(axis=0) - background
        num_hits = int(roof[:BACKGROUND_CLASS].sum())
        num_missed = int(roof[BACKGROUND_CLASS])
        num_false = int(background[:BACKGROUND_CLASS].sum())
        num_target, num_predicted = num_hits + num_missed, num_hits + num_false
        # Without roof in the targets there is no overlap to measure, as for any absent class.
        iou = ratio(num_hits, num_target + num_false) if num_target else None
        f1 = ratio(2 * num_hits, num_target + num_predicted) if num_target else None
        return {
            "roof_iou": (iou, num_target),
            "roof_precision": (ratio(num_hits, num_predicted), num_predicted),
            "roof_recall": (ratio(num_hits, num_target), num_target),
            "roof_f1": (f1, num_target),
        }

    def _azimuth_values(self) -> dict[str, tuple[float | None, int]]:
        num_target = int(self._counts[:NUM_BINS].sum())
        block = self._counts[:NUM_BINS, :NUM_BINS]
        num_both = int(block.sum())
        bins = np.arange(NUM_BINS)
        num_exact = int(block.trace())
        # The bins lie on a circle: NNW is next to N.
        num_next = int(sum(block[bins, (bins + step) % NUM_BINS].sum() for step in (-1, 1)))
        return {
            "azimuth_coverage": (ratio(num_both, num_target), num_target),
            "azimuth_accuracy": (ratio(num_exact, num_both), num_both),
            "azimuth_within_one_bin": (ratio(num_exact + num_next, num_both), num_both),
            "azimuth_error_deg": (ratio(self._azimuth_error_sum_deg, num_both), num_both),
        }


def _azimuth_errors_deg(logits: Tensor, target: Tensor) -> Tensor:
    """Angles between the expected and the true direction, (P,) float32 in [0, 180].

    Args:
        logits: (P, 16), of the azimuth classes.
        target: (P,) int64 in [0, 16).
    """
    # A softmax over all 18 classes would scale these sixteen alike, which turns no direction.
    probabilities = torch.softmax(logits.float(), dim=1)
    centres_deg = torch.from_numpy(class_to_degrees(np.arange(NUM_BINS))).to(probabilities)
    centres = torch.deg2rad(centres_deg)
    expected = torch.atan2(probabilities @ centres.sin(), probabilities @ centres.cos())
    difference_deg = torch.rad2deg(expected) - centres_deg[target]
    errors_deg = (torch.remainder(difference_deg + 180.0, 360.0) - 180.0).abs()
    # A network that has diverged points nowhere; one NaN must not hide all other pixels.
    return errors_deg.nan_to_num(nan=180.0)


def _mean_over(values: np.ndarray, chosen: np.ndarray) -> tuple[float | None, int]:
    num_chosen = int(chosen.sum())
    return ratio(values[chosen].sum(), num_chosen), num_chosen
