"""What a data worker does of a training sample: it reads, cuts, draws shapes, and decides by lot.

A window's photo is sent as the file has it, its labels at the window's scale, and what else has to
be done is said in numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats, Ints
from app.base.azimuth import NUM_BINS
from app.data.frame import Box, Frame
from app.data.geometry import frame_window
from app.data.line_bits import NUM_LINE_KINDS, UNKNOWN_BITS, pack_lines
from app.data.moving import (
    Labels,
    from_middles,
    is_one_value,
    nearest_places,
    scale_image,
)
from app.data.photometry import Light, draw_light
from app.data.reader import TrainReader
from app.data.sample import TARGETS, Sample
from app.data.transforms import TrainTransform

_Plane = npt.NDArray[Any]  # (H, W) uint8 or float32

# Of a photo that becomes much smaller too much would have to be sent: the worker makes it so. In
# pixels per pixel; Roofline's have twice as many a side.
_MAX_SHRINKING: Final = 4
_NO_POINTS: Final = np.zeros(0, np.int32)


class Drawn(NamedTuple):
    """Targets of a window that were drawn as it lies: both (S, S) uint8, with its margin.

    Attributes:
        segments: Before `relabelling`.
        line_bits: Centre lines, as `pack_lines` packs them.
    """

    segments: npt.NDArray[np.uint8]
    line_bits: npt.NDArray[np.uint8]


class Cut(NamedTuple):
    """A window of a photo, before it is turned.

    Attributes:
        image: (h, w, 3) uint8: of the box that the window needs, what lies in the photo; or all of
            the box at the window's scale, where that is much smaller.
        frame: The window; its size includes a margin.
        box: The box that the image is of.
        scaled_size: Rows and columns of the box at the window's scale.
        image_place: Row and column of the box at which `image` begins.
        labels: By plane (h, w), the box at the window's scale, what of it lies in the photo; or
            (1, 1) where all of it has one value. "lines" are bits where they are unknown.
        label_size: Rows and columns of `labels`.
        label_place: Row and column at which they begin in the scaled box.
        to_scaled: (2, 3): window (x, y, 1) to scaled box (x, y), counted from middles of pixels.
        points: (P,) int32: places of the pixels of centre lines in (4, S, S) of the window.
        drawn: Targets that stand above the labels wherever these are known; None for none.
        sample_id: The name by which a person finds the photo.
    """

    image: npt.NDArray[np.uint8]
    frame: Frame
    box: Box
    scaled_size: tuple[int, int]
    image_place: tuple[int, int]
    labels: Mapping[str, _Plane]
    label_size: tuple[int, int]
    label_place: tuple[int, int]
    to_scaled: Floats
    points: npt.NDArray[np.int32]
    drawn: Drawn | None
    sample_id: str

    @property
    def turned_classes(self) -> int:
        """Which of the 32 tables of `segments_after_turns` its segments need, in their order."""
        pose = self.frame.pose
        return 0 if self.drawn is not None else int(pose.flip) * NUM_BINS + pose.turn_bins


class CutSample(NamedTuple):
    """A training sample of which the rest is made on a device.

    Attributes:
        windows: A square number of them, row by row.
        light: For all of them together.
        sample_id: Names of all photos.
    """

    windows: tuple[Cut, ...]
    light: Light
    sample_id: str


@dataclass(frozen=True)
class CutTransform:
    """In place of TrainTransform where a device does the rest; its draws are the same.

    Attributes:
        whole: The transform that it stands for.
    """

    whole: TrainTransform

    def cut(self, reader: TrainReader, index: int, per_side: int, rng: np.random.Generator) -> Cut:
        """A window of one photo; arguments and errors as of TrainTransform.cut."""
        sample, pose, centre = self.whole.draw_place(reader, index, per_side, rng)
        size_px, gsd_m = self.whole.window_px(per_side), self.whole.gsd_m
        return cut_out(sample, frame_window(sample, pose, centre, size_px, gsd_m), gsd_m)

    def compose(self, windows: Sequence[Cut], rng: np.random.Generator) -> CutSample:
        """A training sample of one window or of several side by side, in one light."""
        side_px = self.whole.crop_size_px
        names = "+".join(window.sample_id for window in windows)
        return CutSample(tuple(windows), draw_light((side_px, side_px), rng), names)


def cut_out(sample: Sample, frame: Frame, gsd_m: float) -> Cut:
    """What is needed of a sample for a window; views of it where nothing has to be made.

    Args:
        sample: The photo.
        frame: Where the window lies in it; square.
        gsd_m: Metres per pixel of the window where zoom is 1.
    """
    moving = Labels.of(frame)
    box, height, width = moving.box, *sample["image"].shape[-2:]
    inside = np.s_[
        max(0, box.top) : max(0, box.top + box.height),
        max(0, box.left) : max(0, box.left + box.width),
    ]
    place = max(0, -box.top), max(0, -box.left)
    rows = _Scaled.of(box.top, box.height, moving.scaled_size[0], height)
    columns = _Scaled.of(box.left, box.width, moving.scaled_size[1], width)

    def scale(part: _Plane) -> _Plane:
        # Indices of both at once would take four times as long.
        part = part if rows.places is None else part[rows.places]
        return part if columns.places is None else part.take(columns.places, axis=1)

    labels: dict[str, _Plane] = {}
    for name, plane in TARGETS.items():
        if plane.num_channels is None:
            target = sample[name].numpy()
            labels[name] = target[:1, :1] if is_one_value(sample[name]) else scale(target[inside])
    points = _NO_POINTS
    if is_one_value(sample["lines"]):
        labels["lines"] = pack_lines(sample["lines"][:, :1, :1].numpy())
    else:
        if "line_bits" in sample:
            bits = sample["line_bits"].numpy()[inside]
        else:
            bits = pack_lines(sample["lines"].numpy()[:, *inside])
        labels["lines"] = scale(bits)
        points = _find_points(bits, place, moving)
    drawn = None
    if "drawing" in sample:
        targets = sample["drawing"].draw(frame.view(box, gsd_m))
        assert set(targets) == {"segments", "lines"}, "other targets would be lost"
        drawn = Drawn(targets["segments"].numpy(), pack_lines(targets["lines"].numpy()))
    image = sample["image"].permute(1, 2, 0).numpy()[inside]
    if box.height * box.width > _MAX_SHRINKING * math.prod(moving.scaled_size):
        image, place = scale_image(sample["image"], moving), (0, 0)
        box = Box(0, 0, *moving.scaled_size)
    return Cut(
        image=image,
        frame=frame,
        box=box,
        scaled_size=moving.scaled_size,
        image_place=place,
        labels=labels,
        label_size=(rows.number, columns.number),
        label_place=(rows.first, columns.first),
        to_scaled=from_middles(moving.to_scaled),
        points=points,
        drawn=drawn,
        sample_id=sample["sample_id"],
    )


class _Scaled(NamedTuple):
    """Rows, or columns, of a scaled box that lie in the photo.

    Attributes:
        places: (number,) the photo's, counted from the first one in the box; None for all in turn.
        first: The first one's place in the scaled box.
        number: How many.
    """

    places: Ints | None
    first: int
    number: int

    @classmethod
    def of(cls, begin: int, side: int, scaled_side: int, photo_side: int) -> Self:
        """Those of a box that begins at a row, or column, of the photo."""
        end = min(photo_side, begin + side)
        if side == scaled_side:
            return cls(None, max(0, -begin), end - max(0, begin))
        nearest = nearest_places(side, scaled_side) + begin
        first, last = np.searchsorted(nearest, (0, photo_side)).tolist()
        return cls(nearest[first:last] - max(0, begin), first, last - first)


def _find_points(
    bits: npt.NDArray[np.uint8], place: tuple[int, int], moving: Labels
) -> npt.NDArray[np.int32]:
    """Places in (4, S, S) of the window, of all centres of lines.

    Args:
        bits: (h, w), as `pack_lines` packs them.
        place: Row and column of the box at which they begin.
        moving: How labels come into the window.
    """
    found = np.flatnonzero(bits > UNKNOWN_BITS)
    y, x = np.divmod(found, bits.shape[1])
    rows, columns, is_inside = moving.move_points((y + place[0]) * moving.box.width + x + place[1])
    height, width = moving.frame.size
    places = (rows * width + columns)[is_inside]
    kinds = bits[y[is_inside], x[is_inside]] >> NUM_LINE_KINDS
    return np.concatenate(
        [places[kinds >> i & 1 == 1] + i * height * width for i in range(NUM_LINE_KINDS)]
    ).astype(np.int32)
