"""How the image and the labels of a photo come into a window's frame."""

import functools
import math
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from app.base.arrays import Flags, Floats, Ints
from app.base.tasks import IGNORE_INDEX, segments_after_turns
from app.data.frame import QUARTER_BINS, Box, Frame
from app.data.sample import TARGETS, Plane, PlaneName, Sample, draw_known, make_planes

_SEGMENTS_AFTER_TURNS: Final = segments_after_turns()

_Plane = npt.NDArray[Any]  # uint8 or float32; (H, W), of the image (H, W, 3)


def move(sample: Sample, frame: Frame, gsd_m: float) -> Sample:
    """The window of a frame, image and all targets.

    The image's colours lie side by side in memory.

    Args:
        sample: The photo.
        frame: Where the window lies in it.
        gsd_m: Metres per pixel of the window where zoom is 1.
    """
    labels = Labels.of(frame)
    moved: dict[PlaneName, _Plane] = {"image": _move_image(sample["image"], labels)}
    for name, plane in TARGETS.items():
        target = sample[name]
        if is_one_value(target):
            moved[name] = labels.move_constant(target, plane)
        elif plane.num_channels is None:
            moved[name] = labels.move(target.numpy(), plane.unknown)
        else:
            moved[name] = labels.move_lines(target.numpy())
    turned = _SEGMENTS_AFTER_TURNS[int(frame.pose.flip), frame.pose.turn_bins]
    moved["segments"] = np.asarray(cv2.LUT(moved["segments"], turned), np.uint8)
    if frame.pose.zoom != 1:
        moved["depth"] = moved["depth"] * np.float32(frame.pose.zoom)
    planes = make_planes(lambda name: torch.from_numpy(moved[name]))
    planes["image"] = planes["image"].permute(2, 0, 1)
    if "drawing" in sample:
        targets = draw_known(sample["drawing"], frame.view(labels.box, gsd_m), planes)
        image = planes["image"]
        planes = make_planes(lambda name: image if name == "image" else targets[name])
    return {
        **planes,
        "dataset": sample["dataset"],
        "sample_id": sample["sample_id"],
        "gsd_m": gsd_m,
    }


def is_one_value(plane: torch.Tensor) -> bool:
    """Whether a plane is a single value in memory that is seen everywhere."""
    if any(plane.stride()[-2:]):
        return False
    first, *others = plane[..., 0, 0].reshape(-1).tolist()
    return all(other == first for other in others)


def _move_image(image: torch.Tensor, labels: "Labels") -> _Plane:
    """The window of (3, H, W) as (h, w, 3), contiguous."""
    part = scale_image(image, labels)
    return _turn(part, labels.frame, labels.to_scaled, cv2.INTER_LINEAR, None)


def scale_image(image: torch.Tensor, labels: "Labels") -> _Plane:
    """The box that a window needs of (3, H, W), at the window's scale, as (h, w, 3).

    Photos are read and kept with their colours side by side, as all that is done to them needs.
    """
    box, size = labels.box, labels.scaled_size
    pixels = image.permute(1, 2, 0).numpy()
    if pixels.strides[1:] == (3, 1):
        part = _cut(pixels, box, None)
    else:
        part = cv2.merge([_cut(band, box, None) for band in image.numpy()])
    is_smaller = box.height > size[0]
    return shrink(part, size) if is_smaller else _resize(part, size, cv2.INTER_LINEAR)


class Labels(NamedTuple):
    """How labels come into a frame: by their nearest pixel, lines as points.

    Attributes:
        frame: The frame.
        box: The part of the photo that it needs.
        scaled_size: As `Frame.scaled_size`.
        to_scaled: As `Frame.to_scaled`.
    """

    frame: Frame
    box: Box
    scaled_size: tuple[int, int]
    to_scaled: Floats

    @classmethod
    def of(cls, frame: Frame) -> "Labels":
        """Those of a frame."""
        box = frame.box()
        scaled_size = frame.scaled_size(box)
        return cls(frame, box, scaled_size, frame.to_scaled(box, scaled_size))

    def move(self, plane: _Plane, unknown: float) -> _Plane:
        """The window of (H, W)."""
        return self._move_part(_cut(plane, self.box, unknown), unknown)

    def move_constant(self, target: torch.Tensor, plane: Plane) -> _Plane:
        """The window of a target that holds one value."""
        value = target[(0,) * target.ndim].item()
        is_known = value != plane.unknown and not math.isnan(value)
        height, width = target.shape[-2:]
        if not is_known or not self._reaches_beyond(height, width):
            moved: _Plane = plane.filled(value, *self.frame.size)[0].numpy()
            return moved
        is_inside = self._move_part(self._inside(height, width), 0).view(np.bool_)
        kind = target.numpy().dtype
        one = np.where(is_inside, kind.type(value), kind.type(plane.unknown))
        return one if plane.num_channels is None else np.stack([one] * plane.num_channels)

    def move_lines(self, lines: _Plane) -> _Plane:
        """The window of (C, H, W) centre lines.

        All kinds are moved at once, each as a bit that says where it is unknown.
        """
        parts = [_cut(kind, self.box, IGNORE_INDEX) for kind in lines]
        # Of 0, 1 and IGNORE_INDEX, the last alone has the highest bit.
        bits = functools.reduce(
            np.bitwise_or, ((part & 128) >> (7 - i) for i, part in enumerate(parts))
        )
        moved_bits = self._move_part(bits, (1 << len(parts)) - 1)
        moved = np.empty((len(parts), *self.frame.size), np.uint8)
        for i, (target, part) in enumerate(zip(moved, parts, strict=True)):
            cv2.LUT(moved_bits, _bit_table(i), dst=target)
            y, x, inside = self.move_points(np.flatnonzero(part == 1))
            target[y[inside], x[inside]] = 1
        return moved

    def _move_part(self, part: _Plane, unknown: float) -> _Plane:
        part = _resize(part, self.scaled_size, cv2.INTER_NEAREST_EXACT)
        return _turn(part, self.frame, self.to_scaled, cv2.INTER_NEAREST, unknown)

    def move_points(self, places: Ints) -> tuple[Ints, Ints, Flags]:
        """Rows and columns in the window of places in the box, and which are not beyond it."""
        y, x = np.divmod(places, self.box.width)
        scale = np.array(
            [self.scaled_size[1] / self.box.width, self.scaled_size[0] / self.box.height]
        )
        points = (np.stack((x, y), axis=1) + 0.5) * scale - self.to_scaled[:, 2]
        x, y = np.floor(np.linalg.solve(self.to_scaled[:, :2], points.T)).astype(np.int64)
        height, width = self.frame.size
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return y, x, inside

    def _inside(self, height: int, width: int) -> _Plane:
        """The box, 1 where the photo is, else 0."""
        box = self.box
        inside = np.zeros((box.height, box.width), np.uint8)
        bottom, right = max(0, height - box.top), max(0, width - box.left)
        inside[max(0, -box.top) : bottom, max(0, -box.left) : right] = 1
        return inside

    def _reaches_beyond(self, height: int, width: int) -> bool:
        box = self.box
        is_inside = box.top >= 0 and box.left >= 0
        return not (is_inside and box.top + box.height <= height and box.left + box.width <= width)


@functools.cache
def _bit_table(bit: int) -> _Plane:
    """(256,) uint8: unknown where a bit is set, else 0."""
    is_set = (np.arange(256) >> bit & 1).astype(np.bool_)
    return np.where(is_set, np.uint8(IGNORE_INDEX), np.uint8(0))


def _cut(plane: _Plane, box: Box, beyond: float | None) -> _Plane:
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
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    small = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return small[0].permute(1, 2, 0).numpy()


def _resize(plane: _Plane, size: tuple[int, int], interpolation: int) -> _Plane:
    if plane.shape[:2] == size:
        return plane
    return cv2.resize(plane, (size[1], size[0]), interpolation=interpolation)


def _turn(
    plane: _Plane, frame: Frame, to_scaled: Floats, interpolation: int, beyond: float | None
) -> _Plane:
    """The window's content turned and flipped; contiguous and its own memory."""
    if frame.pose.is_upright:
        return _turn_quarters(plane, frame.pose.turn_bins // QUARTER_BINS, flip=frame.pose.flip)
    matrix = from_middles(to_scaled)
    border = cv2.BORDER_REFLECT_101 if beyond is None else cv2.BORDER_CONSTANT
    return cv2.warpAffine(
        plane,
        matrix,
        (frame.size[1], frame.size[0]),
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=border,
        borderValue=0 if beyond is None else beyond,
    )


def from_middles(to_scaled: Floats) -> Floats:
    """(2, 3): the map between places counted from middles of pixels, as OpenCV does."""
    matrix = to_scaled.copy()
    matrix[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5
    return matrix


@functools.lru_cache(maxsize=256)
def nearest_places(num_from: int, num_to: int) -> Ints:
    """(num_to,): the rows, or columns, that cv2.resize takes as the nearest; not to write to."""
    numbers = np.arange(num_from, dtype=np.float32)[None]
    nearest = cv2.resize(numbers, (num_to, 1), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(nearest[0], np.int64)


def _turn_quarters(plane: _Plane, quarters: int, *, flip: bool) -> _Plane:
    """The content turned clockwise by quarters, then mirrored left-right; its own memory.

    OpenCV is several times as quick as NumPy here.
    """
    is_transposed = quarters % 2 == 1
    if is_transposed:
        plane = cv2.transpose(plane)
    # A quarter turn clockwise is a transposition, mirrored left-right.
    is_mirrored, is_upside_down = (quarters in (1, 2)) != flip, quarters in (2, 3)
    if is_mirrored or is_upside_down:
        return cv2.flip(plane, -1 if is_mirrored and is_upside_down else int(is_mirrored))
    return plane if is_transposed else np.array(plane, order="C")
