"""A window in a photo: how it is turned, zoomed and flipped, and which pixels it needs."""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from app.base.arrays import Floats
from app.base.azimuth import NUM_BINS
from app.data.sample import View

_BIN_DEG: Final = 360 / NUM_BINS
QUARTER_BINS: Final = NUM_BINS // 4


@dataclass(frozen=True)
class Pose:
    """How the content of a window is turned, zoomed and flipped, in this order.

    Attributes:
        turn_bins: Clockwise turns by 22.5 degrees, in [0, 16).
        small_angle_deg: Further clockwise degrees, which change no label.
        zoom: How much larger things appear. Heights grow with them, so that slopes stay.
        flip: Mirrored left-right.
    """

    turn_bins: int = 0
    small_angle_deg: float = 0.0
    zoom: float = 1.0
    flip: bool = False

    @property
    def angle(self) -> float:
        """All of the clockwise turn, radians."""
        return math.radians(self.turn_bins * _BIN_DEG + self.small_angle_deg)

    @property
    def is_upright(self) -> bool:
        """Whether rows and columns stay rows and columns, to the pixel."""
        return self.turn_bins % QUARTER_BINS == 0 and self.small_angle_deg == 0

    def span(self, side: float) -> float:
        """Side of the upright square of the photo that encloses a window of that side."""
        return side * (abs(math.cos(self.angle)) + abs(math.sin(self.angle))) / self.zoom


class Box(NamedTuple):
    """An upright box of the photo; may reach beyond it."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Frame:
    """A window, and where in the photo it lies.

    Attributes:
        pose: Pose of the content.
        centre: Row and column of the photo in its middle.
        size: Rows and columns of the window.
        ratio: Photo pixels per window pixel.
    """

    pose: Pose
    centre: tuple[float, float]
    size: tuple[int, int]
    ratio: float

    def box(self) -> Box:
        """The part of the photo that is needed: exactly the window where it is upright."""
        if self.pose.is_upright:
            height, width = (max(1, round(side * self.ratio)) for side in self.size)
            top, left = (
                math.floor(middle - side / 2 + 0.5)
                for middle, side in zip(self.centre, (height, width), strict=True)
            )
            return Box(top, left, height, width)
        cos, sin = abs(math.cos(self.pose.angle)), abs(math.sin(self.pose.angle))
        rows = (self.size[0] * cos + self.size[1] * sin) * self.ratio
        columns = (self.size[1] * cos + self.size[0] * sin) * self.ratio
        margin = 1 + math.ceil(self.ratio)  # interpolation looks one pixel further
        top, left = (
            math.floor(middle - side / 2) - margin
            for middle, side in zip(self.centre, (rows, columns), strict=True)
        )
        return Box(top, left, math.ceil(rows) + 2 * margin, math.ceil(columns) + 2 * margin)

    def scaled_size(self, box: Box) -> tuple[int, int]:
        """Rows and columns of the box once it is resampled; then only the turn is left."""
        if self.pose.is_upright:
            return self.size
        shrinking = max(1.0, self.ratio)
        return math.ceil(box.height / shrinking), math.ceil(box.width / shrinking)

    def to_scaled(self, box: Box, scaled_size: tuple[int, int]) -> Floats:
        """(2, 3): window (x, y, 1) to resampled box (x, y), counted from corners of pixels."""
        scale = np.array([scaled_size[1] / box.width, scaled_size[0] / box.height])
        centre = np.array([self.centre[1] - box.left, self.centre[0] - box.top]) * scale
        linear = _turn_back(self.pose)
        if self.pose.is_upright:
            centre = np.array([scaled_size[1] / 2, scaled_size[0] / 2])
        else:
            linear = linear * self.ratio * scale[:, None]
        middle = np.array([self.size[1] / 2, self.size[0] / 2])
        return np.column_stack((linear, centre - linear @ middle))

    def view(self, box: Box, gsd_m: float) -> View:
        """The window, for shapes given in pixels of the photo."""
        height, width = self.scaled_size(box)
        scale = np.array([[width / box.width], [height / box.height]])
        to_photo = self.to_scaled(box, (height, width)) / scale
        to_photo[:, 2] += box.left, box.top
        return View(to_photo, self.size, math.degrees(self.pose.angle), self.pose.flip, gsd_m)


def _turn_back(pose: Pose) -> Floats:
    """(2, 2): an offset (x, y) in the window to the one in the photo, but for scale."""
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    mirror = -1.0 if pose.flip else 1.0
    return np.array([[cos * mirror, sin], [-sin * mirror, cos]])
