"""Metrics of roof segments: overlap per class, roof against background, direction."""

import numpy as np
import torch
from torch import Tensor

from app.base.azimuth import class_to_degrees, class_vectors
from app.base.tasks import Task
from app.base.window import Window
from app.metrics.confusion import (
    ImageIous,
    Values,
    class_values,
    count_labels,
    find_occurring,
    mean_over,
    resolve_labels,
)
from app.metrics.definitions import MetricValue, attach_definitions
from app.metrics.planes import PlaneSums
from app.metrics.planes_of_photo import PlanesOfPhoto
from app.metrics.sums import Counts, ratio, round_for_exact_sum


class SegmentsMetrics:
    """Counts of the segments task over any number of batches.

    One table of labels against predictions holds everything but the angle. Its row of some roof,
    direction unknown, only tells roof from background.

    Args:
        task: The segments task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        # (num_labels, num_classes): row the target, column the prediction.
        self._counts: Counts = np.zeros((task.num_labels, task.num_classes), np.int64)
        self._azimuth_error_sum_deg = 0.0
        self._centres_deg = find_centres_deg(task)
        self._planes = PlaneSums(task, self._centres_deg)
        self._image_ious = ImageIous(task)

    @torch.no_grad()
    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            logits: (N, num_classes, H, W), any float dtype.
            target: (N, H, W) uint8, labels of the task, 255 unknown.
        """
        counts, is_pitched, directions = self._count(logits, target)
        self._image_ious.add(counts)
        self._planes.add(target, is_pitched, directions)

    def open_photo(self, height_px: int, width_px: int) -> "SegmentsOfPhoto":  # noqa: ARG002
        """To count a photo in parts: see SegmentsOfPhoto."""
        return SegmentsOfPhoto(self, width_px)

    def _count(self, logits: Tensor, target: Tensor) -> tuple[Counts, Tensor, Tensor]:
        """Count what single pixels tell.

        Returns:
            As `count_labels`; and what PlaneSums.add takes of pixels and their directions.
        """
        num_bins = self._task.azimuth_bins
        labels = target.to(logits.device).long()
        # max finds the same class as argmax and takes a third of its time on a CPU.
        prediction = logits.max(dim=1).indices
        counts = count_labels(self._task, prediction, labels)
        self._counts += counts.sum(axis=0)

        centres_deg = self._centres_deg.to(logits.device)
        is_pitched = ~centres_deg[labels].isnan() & (prediction < num_bins)
        directions = _expect_directions(logits[:, :num_bins].movedim(1, -1)[is_pitched])
        errors_deg = _azimuth_errors_deg(directions, centres_deg[labels[is_pitched]])
        self._azimuth_error_sum_deg += float(round_for_exact_sum(errors_deg).sum())
        return counts, is_pitched, directions

    def state(self) -> Tensor:
        """All sums, one-dimensional float64; states may be added."""
        parts = (self._image_ious.state(), self._planes.state(), [self._azimuth_error_sum_deg])
        return torch.from_numpy(np.concatenate([self._counts.ravel(), *parts]))

    def load_state(self, state: Tensor) -> None:
        """Replace all sums by those of a state."""
        sizes = [self._counts.size, len(self._image_ious.state()), len(self._planes.state())]
        counts, image_ious, planes, last = np.split(state.cpu().numpy(), np.cumsum(sizes))
        self._counts = counts.astype(np.int64).reshape(self._counts.shape)
        self._image_ious.load_state(image_ious)
        self._planes.load_state(planes)
        self._azimuth_error_sum_deg = float(last[0])

    def confusion_matrix(self) -> Counts:
        """(num_classes, num_classes) pixels, rows the target class, columns the predicted."""
        return resolve_labels(self._task, self._counts)

    def compute(self) -> dict[str, MetricValue]:
        """Every metric of the task by its name in the table."""
        values = self._class_values() | self._roof_values() | self._azimuth_values()
        return attach_definitions(
            self._task, values | self._image_ious.values() | self._planes.values()
        )

    def _class_values(self) -> Values:
        confusion = self.confusion_matrix()
        occurs = find_occurring(self._task, confusion)
        hits = confusion.diagonal()
        num_target = confusion.sum(axis=1)
        num_known = int(num_target[occurs].sum())
        return class_values(self._task, confusion) | {
            "mean_class_accuracy": mean_over(hits / np.maximum(num_target, 1), occurs),
            "pixel_accuracy": (ratio(hits[occurs].sum(), num_known), num_known),
        }

    def _roof_values(self) -> Values:
        background = self._task.background_class
        is_roof = np.array([background not in classes for classes in self._task.label_sets])
        num_target = int(self._counts[is_roof].sum())
        num_hits = int(self._counts[is_roof, :background].sum())
        num_false = int(self._counts[background, :background].sum())
        num_predicted = num_hits + num_false
        # Without roof in the targets there is no overlap to measure, as for any absent class.
        iou = ratio(num_hits, num_target + num_false) if num_target else None
        f1 = ratio(2 * num_hits, num_target + num_predicted) if num_target else None
        return {
            "roof_iou": (iou, num_target),
            "roof_precision": (ratio(num_hits, num_predicted), num_predicted),
            "roof_recall": (ratio(num_hits, num_target), num_target),
            "roof_f1": (f1, num_target),
        }

    def _azimuth_values(self) -> Values:
        num_bins = self._task.azimuth_bins
        num_target = int(
            self._counts[~self._centres_deg.isnan().numpy()[: len(self._counts)]].sum()
        )
        block = self.confusion_matrix()[:num_bins, :num_bins]
        num_both = int(block.sum())
        bins = np.arange(num_bins)
        num_exact = int(block.trace())
        # The bins lie on a circle: NNW is next to N.
        num_next = int(sum(block[bins, (bins + step) % num_bins].sum() for step in (-1, 1)))
        return {
            "azimuth_coverage": (ratio(num_both, num_target), num_target),
            "azimuth_accuracy": (ratio(num_exact, num_both), num_both),
            "azimuth_within_one_bin": (ratio(num_exact + num_next, num_both), num_both),
            "azimuth_right": (ratio(num_exact + num_next, num_target), num_target),
            "azimuth_error_deg": (ratio(self._azimuth_error_sum_deg, num_both), num_both),
        }


class SegmentsOfPhoto:
    """Counts a photo by rectangles: the sums are those of the whole photo, to the last bit.

    Args:
        metrics: Where the photo counts.
        width_px: Columns of the photo.
    """

    def __init__(self, metrics: SegmentsMetrics, width_px: int) -> None:
        self._metrics = metrics
        self._counts: Counts | None = None
        self._planes = PlanesOfPhoto(metrics._planes, width_px)

    @torch.no_grad()
    def add(self, window: Window, logits: Tensor, target: Tensor) -> None:
        """Count a rectangle; they come row by row and leave no gap.

        Args:
            window: Where it lies.
            logits: (num_classes, h, w), any float dtype.
            target: (h, w) uint8.
        """
        counts, is_pitched, directions = self._metrics._count(logits[None], target[None])
        self._counts = counts if self._counts is None else self._counts + counts
        self._planes.add(window, target, is_pitched[0], directions)

    def close(self) -> None:
        """Count what only the whole photo tells."""
        if self._counts is not None:
            self._metrics._image_ious.add(self._counts)
        self._planes.close()


def find_centres_deg(task: Task) -> Tensor:
    """(256,) float32: the middle of the directions that a label admits; NaN where it tells none."""
    centres_deg = torch.full((256,), torch.nan)
    for label, classes in enumerate(task.label_sets):
        if max(classes) < task.azimuth_bins:
            # Of two neighbours the middle is half a bin after the first, also across north.
            first_deg = float(class_to_degrees(classes[0], task.azimuth_bins))
            centres_deg[label] = first_deg + (len(classes) - 1) * 180.0 / task.azimuth_bins
    return centres_deg


def _expect_directions(logits: Tensor) -> Tensor:
    """The expected unit vectors of pixels taken as pitched, (P, 2) float64: east and north.

    Args:
        logits: (P, num_bins), of the azimuth classes.
    """
    num_bins = logits.shape[1]
    if num_bins == 0:
        return logits.new_zeros(0, 2, dtype=torch.float64)
    # A softmax over all classes would scale those of directions alike, which turns no direction.
    probabilities = torch.softmax(logits.float(), dim=1).double()
    return probabilities @ torch.from_numpy(class_vectors(num_bins)).to(probabilities)


def _azimuth_errors_deg(directions: Tensor, target_deg: Tensor) -> Tensor:
    """Angles between the expected and the true direction, (P,) float64 in [0, 180].

    Args:
        directions: (P, 2) float64, expected unit vectors, east and north.
        target_deg: (P,) float32, true directions.
    """
    expected = torch.atan2(directions[:, 0], directions[:, 1])
    difference_deg = torch.rad2deg(expected) - target_deg
    errors_deg = (torch.remainder(difference_deg + 180.0, 360.0) - 180.0).abs()
    # A network that has diverged points nowhere; one NaN must not hide all other pixels.
    return errors_deg.nan_to_num(nan=180.0)
