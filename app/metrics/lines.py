"""Metrics of roof lines: which of the drawn lines exist, and which of the existing are drawn."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.base.arrays import Mask8
from app.base.tasks import IGNORE_INDEX, Task
from app.base.window import Window
from app.metrics.definitions import (
    LINE_THRESHOLDS,
    LINE_TOLERANCES_PX,
    MetricValue,
    attach_definitions,
)
from app.metrics.sums import Counts, ratio, to_counts
from app.metrics.thinning import Bits, thin_bits

_AT_HALF: Final = LINE_THRESHOLDS.index(0.5)
_THRESHOLD_LOGITS: Final = np.array([np.log(t / (1 - t)) for t in LINE_THRESHOLDS], np.float32)
# A pixel's bits by the number of thresholds that its logit is above: the masks are nested.
_BITS_BELOW: Final = np.array([2**n - 1 for n in range(len(LINE_THRESHOLDS) + 1)], np.uint64)
# The bit after those of the thresholds: the target.
_TARGET_BIT: Final = np.uint64(2 ** len(LINE_THRESHOLDS))

_NUM_TOLERANCES: Final = len(LINE_TOLERANCES_PX)
_MARGIN_PX: Final = max(LINE_TOLERANCES_PX)
_BESIDE: Final = np.ones((3, 3), np.uint8)
# Of a photo that comes in parts: what a part is thinned with on each side, and its columns.
_AROUND_PX: Final = 64
_COUNTED_SIDE_PX: Final = 1024
_ALL: Final = (slice(None), slice(None))


class LinesMetrics:
    """Counts of the lines task over any number of batches.

    Prediction and target are thinned to centre lines one pixel wide, whose pixels are matched
    within a tolerance. A pixel may match many, unlike in boundary benchmarks that pair them off.

    Args:
        task: The lines task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        # Per kind and threshold: predicted pixels, target pixels, then the matched of each per
        # tolerance.
        self._counts: Counts = np.zeros(
            (task.num_classes, len(LINE_THRESHOLDS), 2 + 2 * _NUM_TOLERANCES), np.int64
        )

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            logits: (N, 4, H, W), any float dtype.
            target: (N, 4, H, W) uint8: 1 on a line, 0 off it, 255 unknown or beside a line.
        """
        values = logits.float().contiguous().cpu().numpy()
        targets = target.cpu().numpy()
        for image_logits, image_target in zip(values, targets, strict=True):
            for kind in range(self._task.num_classes):
                levels = find_levels(image_logits[kind])
                self._counts[kind] += count_matches(levels, image_target[kind])

    def open_photo(self, height_px: int, width_px: int) -> "LinesOfPhoto":
        """To count a photo in parts: see LinesOfPhoto."""
        return LinesOfPhoto(self._counts, height_px, width_px)

    def state(self) -> Tensor:
        """All sums, (608,) float64; states of ranks may be added."""
        return torch.from_numpy(self._counts.ravel().astype(np.float64))

    def load_state(self, state: Tensor) -> None:
        """Replace all sums by those of a state."""
        self._counts = to_counts(state).reshape(self._counts.shape)

    def compute(self) -> dict[str, MetricValue]:
        """Every metric of the task by its name in the table."""
        values = _values("", self._counts.sum(axis=0))
        for kind, kind_counts in zip(self._task.class_names, self._counts, strict=True):
            values |= _values(f"{kind}_", kind_counts)
        return attach_definitions(self._task, values)


class LinesOfPhoto:
    """Counts a photo by rectangles.

    Lines are thinned with what is around: the counts are those of the whole photo but for masks
    that are wider than _AROUND_PX on both sides of the line at which the photo is cut, whose middle
    may move there. Kept are the rows that are not counted yet, a byte for each kind and pixel of
    prediction and target.

    Args:
        counts: (num_classes, 19, 8) int64, to which the photo's are added.
        height_px: Rows of the photo.
        width_px: Columns of the photo.
    """

    def __init__(self, counts: Counts, height_px: int, width_px: int) -> None:
        self._counts = counts
        self._height_px, self._width_px = height_px, width_px
        # From row _top on: the levels of find_levels, and the targets; (2, kinds, rows, width).
        self._kept: Mask8 = np.zeros((2, len(counts), 0, width_px), np.uint8)
        self._top = 0
        self._num_counted = 0

    def add(self, window: Window, logits: Tensor, target: Tensor) -> None:
        """Take in a rectangle; they come row by row and leave no gap.

        Args:
            window: Where it lies.
            logits: (num_classes, h, w), any float dtype.
            target: (num_classes, h, w) uint8.
        """
        bottom = window.top + window.height
        num_missing = bottom - self._top - self._kept.shape[2]
        if num_missing > 0:
            empty = np.zeros((*self._kept.shape[:2], num_missing, self._width_px), np.uint8)
            self._kept = np.concatenate([self._kept, empty], axis=2)
        rows = slice(window.top - self._top, bottom - self._top)
        values = logits.float().contiguous().cpu().numpy()
        self._kept[0, :, rows, window.columns] = find_levels(values)
        self._kept[1, :, rows, window.columns] = target.cpu().numpy()
        is_complete = window.left + window.width == self._width_px
        end = self._height_px if bottom == self._height_px else bottom - _AROUND_PX
        if is_complete and end > self._num_counted:
            self._count_rows(self._num_counted, end)

    def close(self) -> None:
        """Nothing is left to count: the last rectangle completed the photo."""

    def _count_rows(self, start: int, end: int) -> None:
        """Count the rows from start to end, and forget what the next ones do not need."""
        for left in range(0, self._width_px, _COUNTED_SIDE_PX):
            right = min(left + _COUNTED_SIDE_PX, self._width_px)
            low = max(0, left - _AROUND_PX)
            columns = slice(low, right + _AROUND_PX)
            inner = (slice(start - self._top, end - self._top), slice(left - low, right - low))
            for kind, counts in enumerate(self._counts):
                levels, target = self._kept[:, kind, :, columns]
                counts += count_matches(levels, target, inner)
        self._num_counted = end
        first = max(0, end - _AROUND_PX)
        self._kept = self._kept[:, :, first - self._top :].copy()
        self._top = first


def find_levels(logits: npt.NDArray[np.float32]) -> Mask8:
    """How many of the thresholds each logit is above, uint8; 0 where NaN."""
    levels = np.zeros(logits.shape, np.uint8)
    is_any = logits > _THRESHOLD_LOGITS[0]
    levels[is_any] = np.searchsorted(_THRESHOLD_LOGITS, logits[is_any])
    return levels


def count_matches(levels: Mask8, target: Mask8, inner: tuple[slice, slice] = _ALL) -> Counts:
    """Centre-line pixels of one kind in one image, and how many of them match, by threshold.

    Args:
        levels: (H, W) uint8, as of find_levels.
        target: (H, W) uint8: 1, 0 or 255.
        inner: The rows and columns whose pixels count; the others are only what is around.

    Returns:
        (19, 8) int64: predicted, target, predicted that match at each tolerance, target that match.
    """
    counts = np.zeros((len(LINE_THRESHOLDS), 2 + 2 * _NUM_TOLERANCES), np.int64)
    line = (target == 1).astype(np.uint8)
    scored = find_scored(target)
    counted = np.zeros_like(scored)
    counted[inner] = 1
    scored &= counted
    if not scored.any():
        return counts
    # Thinned before anything is masked out: a mask's edge would move the centre.
    centres = thin_bits(_pack_masks(levels, line))
    target_centre = (centres >= _TARGET_BIT).astype(np.uint8)
    predicted = np.flatnonzero((centres % _TARGET_BIT) * np.pad(scored, _MARGIN_PX))
    true = np.flatnonzero(target_centre & np.pad(counted, _MARGIN_PX))
    bits = centres.ravel()
    counts[:, 0], counts[:, 1] = _count_bits(bits[predicted]), len(true)
    for i, tolerance_px in enumerate(LINE_TOLERANCES_PX):
        # Dilation by all offsets of at most that length: the same as a distance transform and a
        # comparison, in a twentieth of the time.
        disc = _disc(tolerance_px)
        is_near = cv2.dilate(target_centre, disc).ravel()[predicted] > 0
        counts[:, 2 + i] = _count_bits(bits[predicted[is_near]])
        rows, columns = np.nonzero(disc)
        around = (rows - tolerance_px) * centres.shape[1] + columns - tolerance_px
        near = np.bitwise_or.reduce(bits[true[:, None] + around], axis=1)
        counts[:, 2 + _NUM_TOLERANCES + i] = _count_bits(near)
    return counts


def find_scored(target: Mask8) -> Mask8:
    """Where lines of a kind may be drawn rightly or wrongly.

    The ring of ignored pixels beside a line shields the loss from the annotator's jitter. Here a
    tolerance does that, so pixels of the ring count as known: otherwise a line drawn 2 px off would
    count as nothing predicted.

    Args:
        target: (H, W) uint8: 1, 0 or 255.

    Returns:
        (H, W) uint8, 1 or 0.
    """
    beside = cv2.dilate((target == 1).astype(np.uint8), _BESIDE)
    return np.asarray((target != IGNORE_INDEX).astype(np.uint8) | beside, np.uint8)


def _pack_masks(levels: Mask8, line: Mask8) -> Bits:
    """The masks of all thresholds and that of the target as bits, with a margin of nothing.

    The margin is as wide as the largest tolerance, so that no disc wraps around to the other side.
    """
    bits = line * _TARGET_BIT
    is_any = levels > 0
    bits[is_any] += _BITS_BELOW[levels[is_any]]
    return np.pad(bits, _MARGIN_PX)


def _count_bits(bits: Bits) -> Counts:
    """(19,) int64: in how many pixels the bit of each threshold is set."""
    in_bytes = bits.astype("<u8").view(np.uint8).reshape(-1, 8)
    unpacked = np.unpackbits(in_bytes, axis=1, count=len(LINE_THRESHOLDS), bitorder="little")
    counts: Counts = unpacked.sum(axis=0, dtype=np.int64)
    return counts


def _disc(radius_px: int) -> Mask8:
    y, x = np.mgrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    disc: Mask8 = (x * x + y * y <= radius_px * radius_px).astype(np.uint8)
    return disc


def _values(prefix: str, counts: Counts) -> dict[str, tuple[float | None, int]]:
    """Metrics of one kind of line, from (19, 8) counts with a row per threshold."""
    num_predicted, num_target = (int(count) for count in counts[_AT_HALF, :2])
    values: dict[str, tuple[float | None, int]] = {}
    for i, tolerance_px in enumerate(LINE_TOLERANCES_PX):
        scores = [_score(row, i) for row in counts]
        precision, recall, f1 = scores[_AT_HALF]
        values[f"{prefix}precision_{tolerance_px}px"] = (precision, num_predicted)
        values[f"{prefix}recall_{tolerance_px}px"] = (recall, num_target)
        values[f"{prefix}f1_{tolerance_px}px"] = (f1, num_target)
        best_f1, threshold = _find_best([f1 for _, _, f1 in scores])
        values[f"{prefix}ods_f1_{tolerance_px}px"] = (best_f1, num_target)
        values[f"{prefix}ods_threshold_{tolerance_px}px"] = (threshold, num_target)
    return values


def _score(counts: Counts, i: int) -> tuple[float | None, float | None, float | None]:
    """Precision, recall and F1 at the i-th tolerance, of (8,) counts."""
    precision = ratio(counts[2 + i], counts[0])
    recall = ratio(counts[2 + _NUM_TOLERANCES + i], counts[1])
    return precision, recall, _f1(precision, recall)


def _f1(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean; None where no line was to be found."""
    if recall is None:
        return None
    # If no line is predicted, precision is undefined, but F1 is 0: all lines are missed.
    if recall == 0:
        return 0.0
    return ratio(2 * precision * recall, precision + recall) if precision is not None else None


def _find_best(f1s: list[float | None]) -> tuple[float | None, float | None]:
    """The largest F1, and its threshold: of equal ones that nearest 0.5, then the lower."""
    candidates = [(f1, -abs(i - _AT_HALF), i) for i, f1 in enumerate(f1s) if f1 is not None]
    if not candidates:
        return None, None
    best_f1, _, best = max(candidates, key=lambda candidate: candidate[:2])
    return best_f1, LINE_THRESHOLDS[best]
