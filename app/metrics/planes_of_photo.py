"""Planes of a photo that comes in rectangles: their pieces, joined where they touch."""

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from app.base.arrays import Ints, Mask8
from app.base.window import Window
from app.metrics.plane_shares import MIN_PLANE_PX
from app.metrics.planes import PlaneSums, round_directions

# What no piece has.
_NONE = -1


class PlanesOfPhoto:
    """Planes of a photo, of which no more is kept than a row of pixels and the sums of the pieces.

    Args:
        sums: Where the planes count.
        width_px: Columns of the photo, and of the row that is kept.
    """

    def __init__(self, sums: PlaneSums, width_px: int) -> None:
        self._sums = sums
        # Of each piece: its label, its pixels, those that are found, and the sums of east and north
        # over these. A piece's number is its row; joined ones lead to the first of them.
        self._labels: list[int] = []
        self._areas: list[int] = []
        self._num_found: list[int] = []
        self._directions: list[npt.NDArray[np.float64]] = []
        self._joined: list[int] = []
        # Pieces above and left of the next rectangle.
        self._above: Ints = np.full(width_px, _NONE, np.int64)
        self._beside: Ints = np.zeros(0, np.int64)

    def add(self, window: Window, target: Tensor, is_pitched: Tensor, directions: Tensor) -> None:
        """Take in a rectangle; they come row by row and leave no gap.

        Args:
            window: Where it lies.
            target: (h, w) uint8, labels of the task, 255 unknown.
            is_pitched: (h, w) bool: pitched in the target and by prediction. P pixels.
            directions: (P, 2) float64, as PlaneSums.add takes them.
        """
        pieces = self._find_pieces(target.cpu().numpy())
        # Pixels pitched in the target tell a direction, so that each is of a piece.
        found, positions = np.unique(pieces[is_pitched.cpu().numpy()], return_inverse=True)
        num_found = np.bincount(positions)
        east, north = (np.bincount(positions, part) for part in round_directions(directions).T)
        for i, number in enumerate(found.tolist()):
            self._num_found[number] += int(num_found[i])
            self._directions[number] = np.array([east[i], north[i]])
        self._join(self._above[window.columns], pieces[0])
        if window.left > 0:
            self._join(self._beside, pieces[:, 0])
        self._above[window.columns] = pieces[-1]
        self._beside = pieces[:, -1].copy()

    def close(self) -> None:
        """Count the planes that are large enough."""
        roots = np.array([self._find_root(number) for number in range(len(self._labels))], np.int64)
        count = len(roots)
        areas = np.bincount(roots, self._areas, minlength=count).astype(np.int64)
        num_found = np.bincount(roots, self._num_found, minlength=count).astype(np.int64)
        directions = np.zeros((count, 2))
        np.add.at(directions, roots, np.array(self._directions).reshape(-1, 2))
        chosen = areas >= MIN_PLANE_PX
        if chosen.any():
            labels = np.array(self._labels, np.int64)
            self._sums.add_sums(
                labels[chosen], areas[chosen], num_found[chosen], directions[chosen]
            )

    def _find_pieces(self, target: Mask8) -> Ints:
        """(h, w): each pixel's piece, _NONE where it tells no direction; new pieces are noted."""
        pieces = np.full(target.shape, _NONE, np.int64)
        there = np.bincount(target.ravel(), minlength=256) > 0
        for label in np.flatnonzero(there & self._sums.is_direction).tolist():
            is_label = target == label
            _, own = cv2.connectedComponents(is_label.view(np.uint8), connectivity=4)
            own_of_pixel = own[is_label].astype(np.int64) - 1
            first = len(self._labels)
            pieces[is_label] = first + own_of_pixel
            areas = np.bincount(own_of_pixel).tolist()
            self._labels += [label] * len(areas)
            self._areas += areas
            self._num_found += [0] * len(areas)
            self._directions += [np.zeros(2)] * len(areas)
            self._joined += range(first, first + len(areas))
        return pieces

    def _join(self, one: Ints, other: Ints) -> None:
        """Join pieces of one label that touch along two lines of pixels."""
        touching = np.stack([one, other])[:, (one != _NONE) & (other != _NONE)]
        for a, b in np.unique(touching, axis=1).T.tolist():
            if self._labels[a] == self._labels[b]:
                first, second = sorted((self._find_root(a), self._find_root(b)))
                self._joined[second] = first

    def _find_root(self, number: int) -> int:
        while self._joined[number] != number:
            self._joined[number] = self._joined[self._joined[number]]
            number = self._joined[number]
        return number
