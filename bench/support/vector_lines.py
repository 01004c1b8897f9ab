"""RID's vector lines, and how well lines derived from its masks agree with them."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from app.base.arrays import Mask8
from app.base.tasks import IGNORE_INDEX
from bench.support.environment import REAL_DATA

VECTOR_DIR: Final = REAL_DATA / "vector"

# Channel of the lines task, and the vector lines that it should be. Gutters are `eave`; verges,
# which nobody labelled, are part of `outline_other`: the outline of the planes that is no gutter.
TRUE_KINDS: Final[Mapping[str, tuple[int, tuple[str, ...]]]] = {
    "eave": (0, ("eave", "outline_other")),
    "ridge": (1, ("ridge",)),
    "hip": (2, ("hip",)),
    "valley": (3, ("valley",)),
}
TOLERANCE_PX: Final = 3  # 0.3 m


@dataclass
class Agreement:
    """Pixels of lines one pixel thick, over any number of images.

    Attributes:
        num_found: Pixels of derived lines.
        num_right: How many of these are near a true line.
        num_true: Pixels of true lines.
        num_hit: How many of these are near a derived line.
        num_unknown: Pixels of true lines that are not hit, where the target says unknown.
    """

    num_found: int = 0
    num_right: int = 0
    num_true: int = 0
    num_hit: int = 0
    num_unknown: int = 0

    @property
    def precision(self) -> float:
        """Share of the derived lines that are right."""
        return self.num_right / self.num_found

    @property
    def recall(self) -> float:
        """Share of the true lines that are found; unknown pixels count as missed."""
        return self.num_hit / self.num_true

    @property
    def unknown(self) -> float:
        """Share of the true lines that the target leaves open."""
        return self.num_unknown / self.num_true

    def add(self, target: Mask8, truth: Mask8) -> None:
        """Count one image.

        Args:
            target: (H, W) uint8: 1 on derived centre lines, 255 unknown, else 0.
            truth: (H, W) uint8: 1 on true lines one pixel thick, else 0.
        """
        found = (target == 1).astype(np.uint8)
        is_hit = (truth == 1) & (_near(found) == 1)
        self.num_found += int(found.sum())
        self.num_right += int(found[_near(truth) == 1].sum())
        self.num_true += int(truth.sum())
        self.num_hit += int(is_hit.sum())
        self.num_unknown += int(((truth == 1) & ~is_hit & (target == IGNORE_INDEX)).sum())


def read_vector_lines(path: Path, kinds: Collection[str]) -> Mask8:
    """(H, W) uint8: the vector lines of some kinds, one pixel thick."""
    document = json.loads(path.read_text())
    drawn = np.zeros((document["height"], document["width"]), np.uint8)
    for line in document["roof_lines"]:
        if line["kind"] in kinds:
            # As RID drew its masks: truncated, not rounded.
            points = np.floor(np.array(line["px"])).astype(np.int32)
            cv2.polylines(drawn, [points], isClosed=False, color=1)
    return drawn


def _near(lines: Mask8) -> Mask8:
    """(H, W) uint8: 1 within the tolerance of a line."""
    reach = np.arange(-TOLERANCE_PX, TOLERANCE_PX + 1)
    disk = (np.hypot(reach[:, None], reach) <= TOLERANCE_PX).astype(np.uint8)
    return cv2.dilate(lines, disk)
