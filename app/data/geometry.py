"""Where a training window lies in its photo, how it is turned and zoomed, and what labels become.

One affine map per window. Photos are averaged over areas before they are turned, so that nothing
aliases; labels keep their values (nearest); centre lines are moved as points, so that no gap opens
and nothing is drawn twice. Labels that are shapes are drawn last. Beyond the photo there is its
reflection, with unknown labels.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from app.base.arrays import Floats
from app.base.azimuth import NUM_BINS
from app.base.tasks import IGNORE_INDEX, segments_after_turns
from app.data.sample import TARGETS, PlaneName, Sample, View, draw_known, drawn, make_planes

# RID has 0.099 m where 0.1 m is asked for: resampling would blur every photo and gain nothing.
SAME_GSD_TOLERANCE = 0.03

_BIN_DEG = 360 / NUM_BINS
_QUARTER_BINS = NUM_BINS // 4
_SEGMENTS_AFTER_TURNS = segments_after_turns()
# Share of windows that are turned and zoomed freely; the others are flipped and turned by quarters,
# which is exact to the pixel and quicker.
_FREE_SHARE = 0.5
_MAX_ZOOM = 1.25
# Class ids alone do not say how near a plane is to the edge of its bin: 2 degrees relabel 3 % of
# RID's roof area wrongly, 5 degrees 8 %.
_MAX_SMALL_ANGLE_DEG = 2.0

_Plane = npt.NDArray[Any]  # uint8 or float32; (H, W), of the image (H, W, 3)


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
        return self.turn_bins % _QUARTER_BINS == 0 and self.small_angle_deg == 0

    def span(self, side: float) -> float:
        """Side of the upright square of the photo that encloses a window of that side."""
        return side * (abs(math.cos(self.angle)) + abs(math.sin(self.angle))) / self.zoom


def draw_pose(rng: np.random.Generator, *, may_shrink: bool = True) -> Pose:
    """A random pose.

    Args:
        rng: Source of the draws.
        may_shrink: Whether things may appear smaller than they are. False where the photo is no
            larger than its window, which would then show more from beyond the photo.
    """
    flip = bool(rng.random() < 0.5)
    if rng.random() >= _FREE_SHARE:
        return Pose(turn_bins=_QUARTER_BINS * int(rng.integers(4)), flip=flip)
    log_zoom = math.log(_MAX_ZOOM)
    return Pose(
        turn_bins=int(rng.integers(NUM_BINS)),
        small_angle_deg=float(rng.uniform(-_MAX_SMALL_ANGLE_DEG, _MAX_SMALL_ANGLE_DEG)),
        zoom=math.exp(rng.uniform(-log_zoom if may_shrink else 0.0, log_zoom)),
        flip=flip,
    )


def pixel_ratio(sample: Sample, gsd_m: float) -> float:
    """Photo pixels per pixel of a window at the given ground sampling distance."""
    ratio = gsd_m / sample["gsd_m"]
    return 1.0 if abs(ratio - 1) <= SAME_GSD_TOLERANCE else ratio


def draw_centre(
    sample: Sample, pose: Pose, size_px: int, gsd_m: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Row and column around which a window shows as little as possible from beyond the photo."""
    half = pose.span(size_px) * pixel_ratio(sample, gsd_m) / 2
    height, width = sample["image"].shape[-2:]
    low_row, low_column = min(half, height / 2), min(half, width / 2)
    row = rng.uniform(low_row, height - low_row)
    column = rng.uniform(low_column, width - low_column)
    return float(row), float(column)


def cut_window(
    sample: Sample, pose: Pose, centre: tuple[float, float], size_px: int, gsd_m: float
) -> Sample:
    """A square window of a sample.

    Args:
        sample: With centre lines one pixel thick.
        pose: Pose of the content.
        centre: Row and column of the photo in the middle of the window; (0, 0) is the upper left
            corner of the upper left pixel.
        size_px: Side of the window.
        gsd_m: Metres per pixel of the window where zoom is 1.

    Returns:
        A new sample of size_px x size_px. Lines are centre lines still.
    """
    ratio = pixel_ratio(sample, gsd_m) / pose.zoom
    return _warp(sample, _Frame(pose, centre, (size_px, size_px), ratio), gsd_m)


def resample_whole(sample: Sample, gsd_m: float) -> Sample:
    """The whole sample at another ground sampling distance; drawn only where that is the same."""
    ratio = pixel_ratio(sample, gsd_m)
    if ratio == 1:
        return drawn(sample)
    height, width = sample["image"].shape[-2:]
    size = size_at(height, width, ratio)
    return _warp(sample, _Frame(Pose(), (height / 2, width / 2), size, ratio), gsd_m)


def size_at(height: int, width: int, ratio: float) -> tuple[int, int]:
    """Rows and columns of a whole photo at another distance, by its pixels per pixel there."""
    return max(1, round(height / ratio)), max(1, round(width / ratio))


class _Box(NamedTuple):
    """An upright box of the photo; may reach beyond it."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class _Frame:
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

    def box(self) -> _Box:
        """The part of the photo that is needed: exactly the window where it is upright."""
        if self.pose.is_upright:
            height, width = (max(1, round(side * self.ratio)) for side in self.size)
            top, left = (
                math.floor(middle - side / 2 + 0.5)
                for middle, side in zip(self.centre, (height, width), strict=True)
            )
            return _Box(top, left, height, width)
        cos, sin = abs(math.cos(self.pose.angle)), abs(math.sin(self.pose.angle))
        rows = (self.size[0] * cos + self.size[1] * sin) * self.ratio
        columns = (self.size[1] * cos + self.size[0] * sin) * self.ratio
        margin = 1 + math.ceil(self.ratio)  # interpolation looks one pixel further
        top, left = (
            math.floor(middle - side / 2) - margin
            for middle, side in zip(self.centre, (rows, columns), strict=True)
        )
        return _Box(top, left, math.ceil(rows) + 2 * margin, math.ceil(columns) + 2 * margin)

    def scaled_size(self, box: _Box) -> tuple[int, int]:
        """Rows and columns of the box once it is resampled; then only the turn is left."""
        if self.pose.is_upright:
            return self.size
        shrinking = max(1.0, self.ratio)
        return math.ceil(box.height / shrinking), math.ceil(box.width / shrinking)

    def to_scaled(self, box: _Box, scaled_size: tuple[int, int]) -> Floats:
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

    def view(self, box: _Box, gsd_m: float) -> View:
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


def _warp(sample: Sample, frame: _Frame, gsd_m: float) -> Sample:
    """The window of a frame, image and all targets."""
    box = frame.box()
    scaled_size = frame.scaled_size(box)
    to_scaled = frame.to_scaled(box, scaled_size)

    def move_labels(plane: _Plane, unknown: float) -> _Plane:
        part = _cut(plane, box, unknown)
        part = _resize(part, scaled_size, cv2.INTER_NEAREST_EXACT)
        return _turn(part, frame, to_scaled, cv2.INTER_NEAREST, unknown)

    def move_lines(kind: _Plane) -> _Plane:
        moved = move_labels(np.where(kind == 1, 0, kind).astype(np.uint8), IGNORE_INDEX)
        y, x = np.divmod(np.flatnonzero(_cut(kind, box, 0) == 1), box.width)
        scale = np.array([scaled_size[1] / box.width, scaled_size[0] / box.height])
        points = (np.stack((x, y), axis=1) + 0.5) * scale - to_scaled[:, 2]
        x, y = np.floor(np.linalg.solve(to_scaled[:, :2], points.T)).astype(np.int64)
        inside = (x >= 0) & (x < frame.size[1]) & (y >= 0) & (y < frame.size[0])
        moved[y[inside], x[inside]] = 1
        return moved

    image: _Plane = cv2.merge([_cut(band, box, None) for band in sample["image"].numpy()])
    if box.height > scaled_size[0]:
        image = shrink(image, scaled_size)
    else:
        image = _resize(image, scaled_size, cv2.INTER_LINEAR)
    image = _turn(image, frame, to_scaled, cv2.INTER_LINEAR, None)
    moved: dict[PlaneName, _Plane] = {"image": np.ascontiguousarray(image.transpose(2, 0, 1))}
    for name, plane in TARGETS.items():
        target: _Plane = sample[name].numpy()
        moved[name] = (
            move_labels(target, plane.unknown)
            if plane.num_channels is None
            else np.stack([move_lines(kind) for kind in target])
        )
    turned = _SEGMENTS_AFTER_TURNS[int(frame.pose.flip), frame.pose.turn_bins]
    moved["segments"] = turned[moved["segments"]]
    moved["depth"] = moved["depth"] * np.float32(frame.pose.zoom)
    planes = make_planes(lambda name: torch.from_numpy(moved[name]))
    if "drawing" in sample:
        targets = draw_known(sample["drawing"], frame.view(box, gsd_m), planes)
        planes = make_planes(lambda name: planes["image"] if name == "image" else targets[name])
    return {
        **planes,
        "dataset": sample["dataset"],
        "sample_id": sample["sample_id"],
        "gsd_m": gsd_m,
    }


def _cut(plane: _Plane, box: _Box, beyond: float | None) -> _Plane:
    """The box of (H, W); beyond the photo the given value, or None for the photo's reflection."""
    bottom, right = box.top + box.height, box.left + box.width
    part = plane[max(0, box.top) : max(0, bottom), max(0, box.left) : max(0, right)]
    pads = (
        max(0, -box.top), max(0, bottom - plane.shape[0]),
        max(0, -box.left), max(0, right - plane.shape[1]),
    )  # fmt: skip
    if not any(pads):
        return part
    if beyond is None:
        return cv2.copyMakeBorder(part, *pads, cv2.BORDER_REFLECT_101)
    return cv2.copyMakeBorder(part, *pads, cv2.BORDER_CONSTANT, value=beyond)


def shrink(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The image made smaller; every pixel contributes, so that nothing aliases.

    Areas are averaged with weights that fall off towards the neighbours' middles; plain averages,
    as of OpenCV's INTER_AREA, take four times as long.

    Args:
        image: (H, W, 3).
        size: Rows and columns, at most the image's.
    """
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    small = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return small[0].permute(1, 2, 0).numpy()


def _resize(plane: _Plane, size: tuple[int, int], interpolation: int) -> _Plane:
    if plane.shape[:2] == size:
        return plane
    return cv2.resize(plane, (size[1], size[0]), interpolation=interpolation)


def _turn(
    plane: _Plane, frame: _Frame, to_scaled: Floats, interpolation: int, beyond: float | None
) -> _Plane:
    """The window's content turned and flipped; contiguous and its own memory."""
    if frame.pose.is_upright:
        quarters = -(frame.pose.turn_bins // _QUARTER_BINS) % 4  # rot90 turns the other way
        turned = np.rot90(plane, quarters)
        return np.array(turned[:, ::-1] if frame.pose.flip else turned, order="C")
    # OpenCV counts from the centres of pixels.
    matrix = to_scaled.copy()
    matrix[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5
    border = cv2.BORDER_REFLECT_101 if beyond is None else cv2.BORDER_CONSTANT
    return cv2.warpAffine(
        plane,
        matrix,
        (frame.size[1], frame.size[0]),
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=border,
        borderValue=0 if beyond is None else beyond,
    )
