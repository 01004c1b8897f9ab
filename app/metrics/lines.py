"""Metrics of roof lines: how much of the drawn is there, and how much of what is there is drawn."""

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.metrics.definitions import LINE_TOLERANCES_PX, MetricValue, describe
from app.metrics.sums import Counts, ratio, to_counts
from app.tasks import IGNORE_INDEX, Task

_Mask = npt.NDArray[np.uint8]

_NUM_TOLERANCES = len(LINE_TOLERANCES_PX)
_BESIDE = np.ones((3, 3), np.uint8)


class LinesMetrics:
    """Counts of the lines task over any number of batches.

    Prediction and target are thinned to centre lines one pixel wide, whose pixels are matched
    within a tolerance. A pixel may match many, unlike in boundary benchmarks that pair them off.

    Args:
        task: Its kinds of lines.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        # Per kind: predicted pixels, target pixels, then the matched of each per tolerance.
        self._counts: Counts = np.zeros((task.num_classes, 2 + 2 * _NUM_TOLERANCES), np.int64)

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            logits: (N, 4, H, W), any float dtype.
            target: (N, 4, H, W) uint8: 1 on a line, 0 off it, 255 unknown or beside a line.
        """
        # A logit above 0 is a probability above 0.5.
        predictions = (logits > 0).to(torch.uint8).contiguous().cpu().numpy()
        targets = target.cpu().numpy()
        for image_prediction, image_target in zip(predictions, targets, strict=True):
            for kind in range(self._task.num_classes):
                self._counts[kind] += count_matches(image_prediction[kind], image_target[kind])

    def state(self) -> Tensor:
        """All sums, (32,) float64; states of ranks may be added."""
        return torch.from_numpy(self._counts.ravel().astype(np.float64))

    def load_state(self, state: Tensor) -> None:
        """Replace all sums by those of a state."""
        self._counts = to_counts(state).reshape(self._counts.shape)

    def compute(self) -> dict[str, MetricValue]:
        """Every metric of the task by its name in the table."""
        values = _values("", self._counts.sum(axis=0))
        for kind, kind_counts in zip(self._task.class_names, self._counts, strict=True):
            values |= _values(f"{kind}_", kind_counts)
        return describe(self._task, values)


def thin(mask: _Mask) -> _Mask:
    """The centre lines of a mask, one pixel wide, by Guo and Hall's method.

    Not Zhang and Suen's, the library's default: it erases straight lines 3 px wide that run at 135
    degrees. The mask is padded since the library leaves lines thick on the image's border.

    Args:
        mask: (H, W) uint8, 0 or 1.

    Returns:
        (H, W) uint8, 0 or 1.
    """
    padded = np.pad(mask * 255, 1).astype(np.uint8)
    thinned = cv2.ximgproc.thinning(padded, thinningType=cv2.ximgproc.THINNING_GUOHALL)
    return (thinned[1:-1, 1:-1] // 255).astype(np.uint8)


def count_matches(prediction: _Mask, target: _Mask) -> Counts:
    """Centre-line pixels of one kind in one image, and how many of them match.

    Args:
        prediction: (H, W) uint8, 1 where a line is predicted.
        target: (H, W) uint8: 1, 0 or 255.

    Returns:
        (8,) int64: predicted, target, predicted that match at each tolerance, target that match.
    """
    line = (target == 1).astype(np.uint8)
    # The ring of ignored pixels beside a line spares the loss the annotator's jitter. Here the
    # tolerance does that, and what lies there is known: without it, a line drawn 2 px off would
    # count as nothing predicted.
    scored = (target != IGNORE_INDEX).astype(np.uint8) | cv2.dilate(line, _BESIDE)
    if not scored.any():
        return np.zeros(2 + 2 * _NUM_TOLERANCES, np.int64)
    # Thinned before anything is masked out: a mask's edge would move the centre.
    predicted_centre, target_centre = thin(prediction), thin(line)
    scored_centre = predicted_centre & scored
    pairs = [(scored_centre, target_centre), (target_centre, predicted_centre)]
    matched = [
        cv2.countNonZero(centre & cv2.dilate(other, _disc(tolerance_px)))
        for centre, other in pairs
        for tolerance_px in LINE_TOLERANCES_PX
    ]
    totals = [cv2.countNonZero(centre) for centre, _ in pairs]
    return np.array(totals + matched, np.int64)


def _disc(radius_px: int) -> _Mask:
    # Dilation by all offsets of at most that length: the same as a distance transform and a
    # comparison, in a twentieth of the time.
    y, x = np.mgrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    disc: _Mask = (x * x + y * y <= radius_px * radius_px).astype(np.uint8)
    return disc


def _values(prefix: str, counts: Counts) -> dict[str, tuple[float | None, int]]:
    num_predicted, num_target = int(counts[0]), int(counts[1])
    predicted_matched, target_matched = counts[2:].reshape(2, _NUM_TOLERANCES)
    values: dict[str, tuple[float | None, int]] = {}
    for i, tolerance_px in enumerate(LINE_TOLERANCES_PX):
        precision = ratio(predicted_matched[i], num_predicted)
        recall = ratio(target_matched[i], num_target)
        values[f"{prefix}precision_{tolerance_px}px"] = (precision, num_predicted)
        values[f"{prefix}recall_{tolerance_px}px"] = (recall, num_target)
        values[f"{prefix}f1_{tolerance_px}px"] = (_f1(precision, recall), num_target)
    return values


def _f1(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean; None where no line was to be found."""
    if recall is None:
        return None
    # Lines missed altogether are a score of 0, though nothing predicted has no precision.
    if recall == 0:
        return 0.0
    return ratio(2 * precision * recall, precision + recall) if precision is not None else None
