"""Metrics of whole roof planes: which way each runs down by all of its pixels together."""

from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from app.base.arrays import Flags, Floats, Ints, Mask8
from app.base.azimuth import degrees_to_class
from app.base.tasks import Task
from app.metrics.confusion import Values
from app.metrics.plane_shares import MIN_PLANE_PX, RIGHT_WITHIN_DEG
from app.metrics.sums import Sums, ratio, round_for_exact_sum

# The parts of a direction are rounded to 2^-20, less than 0.0001 degrees: a float64 adds them
# exactly over 2^33 pixels, so no order of them turns a plane.
_DIRECTION_BITS: Final = 20


def round_directions(directions: Tensor) -> Floats:
    """(P, 2), exact to add up in any order; NaN, which is no direction, as 0.

    Args:
        directions: (P, 2) float64, east and north.
    """
    rounded = round_for_exact_sum(directions.nan_to_num(nan=0.0), _DIRECTION_BITS)
    exact: Floats = rounded.cpu().numpy()
    return exact


class PlaneSums:
    """Sums over the planes of targets, over any number of images.

    A plane is a piece of one label of direction whose pixels touch along their sides. Two planes of
    one label that touch count as one, since their true direction is the same.

    Args:
        task: The segments task.
        centres_deg: (256,) float32: the middle of the directions that a label admits; NaN where it
            tells none.

    Attributes:
        is_direction: (256,) whether a label tells a direction.
    """

    def __init__(self, task: Task, centres_deg: Tensor) -> None:
        self._task = task
        self._centres_deg = centres_deg.double().numpy()
        self.is_direction: Flags = ~np.isnan(self._centres_deg)
        # Number of all planes and of those seen, by one pixel or more; of those seen: the area, the
        # sum of area times error, and the area with the right direction. Numbers of planes found,
        # by more than half of their pixels, and of those of them that run down right.
        self._sums: Sums = np.zeros(7, np.float64)

    def add(self, target: Tensor, is_pitched: Tensor, directions: Tensor) -> None:
        """Count the planes of a batch.

        Args:
            target: (N, H, W) uint8, labels of the task, 255 unknown.
            is_pitched: (N, H, W) bool: pitched in the target and by prediction. P pixels.
            directions: (P, 2) float64, east and north of the expected direction of each of those
                pixels, in their order; NaN is no direction.
        """
        rounded = round_directions(directions)
        ends = is_pitched.sum(dim=(1, 2)).cumsum(0).cpu().numpy()
        parts = np.split(rounded, ends[:-1])
        images = zip(target.cpu().numpy(), is_pitched.cpu().numpy(), parts, strict=True)
        for image_target, image_is_pitched, part in images:
            planes, labels, areas = self._find_planes(image_target)
            if len(labels):
                self._add_planes(planes[image_is_pitched], part, labels, areas)

    def state(self) -> Sums:
        """(7,) float64; states may be added."""
        return self._sums.copy()

    def load_state(self, sums: Sums) -> None:
        """Replace all sums by those of a state."""
        self._sums = sums.copy()

    def values(self) -> Values:
        """Every metric of planes by its name in the table."""
        num_planes, num_seen, area, error_sum_deg, exact_area, num_found, num_right = self._sums
        return {
            "plane_coverage": (ratio(num_seen, num_planes), int(num_planes)),
            "plane_recall": (ratio(num_found, num_planes), int(num_planes)),
            "plane_right": (ratio(num_right, num_planes), int(num_planes)),
            "plane_azimuth_accuracy": (ratio(exact_area, area), int(num_seen)),
            "plane_azimuth_error_deg": (ratio(error_sum_deg, area), int(num_seen)),
        }

    def _find_planes(self, target: Mask8) -> tuple[Ints, Ints, Ints]:
        """The planes of an image that are large enough, numbered from 1.

        Returns:
            (H, W): each pixel's plane, 0 where none. (K,): their labels. (K,): their pixels.
        """
        planes = np.zeros(target.shape, np.int64)
        labels: list[int] = []
        areas: list[int] = []
        num_pixels = np.bincount(target.ravel(), minlength=256)
        is_large = (num_pixels >= MIN_PLANE_PX) & self.is_direction
        for label in np.flatnonzero(is_large).tolist():
            is_label = target == label
            num_pieces, pieces = cv2.connectedComponents(is_label.view(np.uint8), connectivity=4)
            piece_of_pixel = pieces[is_label]
            numbers = np.zeros(num_pieces, np.int64)
            for piece, area in enumerate(np.bincount(piece_of_pixel).tolist()):
                if area >= MIN_PLANE_PX:
                    labels.append(label)
                    areas.append(area)
                    numbers[piece] = len(labels)
            planes[is_label] = numbers[piece_of_pixel]
        return planes, np.array(labels, np.int64), np.array(areas, np.int64)

    def _add_planes(self, planes: Ints, directions: Floats, labels: Ints, areas: Ints) -> None:
        """Count the planes of an image.

        Args:
            planes: (P,) plane of each pixel that is pitched and predicted as pitched; 0 for none.
            directions: (P, 2) of the same pixels, exact to add up.
            labels: (K,) of the planes.
            areas: (K,) of the planes, in pixels.
        """
        num_planes = len(labels)
        num_pixels = np.bincount(planes, minlength=num_planes + 1)[1:]
        east, north = (
            np.bincount(planes, weights=part, minlength=num_planes + 1)[1:] for part in directions.T
        )
        self.add_sums(labels, areas, num_pixels, np.stack([east, north], axis=1))

    def add_sums(self, labels: Ints, areas: Ints, num_pixels: Ints, directions: Floats) -> None:
        """Count planes whose pixels are added up.

        Args:
            labels: (K,) of the planes.
            areas: (K,) of the planes, in pixels; all large enough.
            num_pixels: (K,) those of their pixels that are predicted as pitched.
            directions: (K, 2) sums over those pixels, east and north.
        """
        num_planes = len(labels)
        east, north = directions.T
        azimuth_deg = np.degrees(np.arctan2(east, north))
        errors_deg = np.abs((azimuth_deg - self._centres_deg[labels] + 180.0) % 360.0 - 180.0)
        bins = degrees_to_class(azimuth_deg, self._task.azimuth_bins)
        is_exact = np.array(
            [one in self._task.label_sets[label] for one, label in zip(bins, labels, strict=True)]
        )
        # Pixels that cancel out, or have no direction, point nowhere, which counts as the largest
        # error.
        points_nowhere = (east == 0) & (north == 0)
        errors_deg[points_nowhere] = 180.0
        errors_deg = round_for_exact_sum(torch.from_numpy(errors_deg)).numpy()
        is_seen, is_found = num_pixels > 0, 2 * num_pixels > areas
        # A sure vote for the direction beside is exactly one step off, but for the rounding.
        is_right = errors_deg.round(2) <= RIGHT_WITHIN_DEG
        self._sums += [
            num_planes,
            is_seen.sum(),
            areas[is_seen].sum(),
            (areas * errors_deg)[is_seen].sum(),
            areas[is_seen & is_exact & ~points_nowhere].sum(),
            is_found.sum(),
            (is_found & is_right).sum(),
        ]
