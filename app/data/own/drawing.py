"""Roofs of a photo as shapes, and how a window of them is drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.base.arrays import Flags, Floats, Ints, Mask8
from app.base.azimuth import NUM_BINS, degrees_to_class
from app.base.tasks import (
    BACKGROUND_CLASS,
    FLAT_CLASS,
    IGNORE_INDEX,
    LINE_KINDS,
    SOME_ROOF,
    TaskName,
)
from app.data.lines import lines_from_segments
from app.data.own.clusters import LINE_REACH_M
from app.data.own.fields import UNCLEAR
from app.data.sample import View
from app.data.shapes import Shapes, Stamp, fill_some, trace_some

# Around a window as much is drawn as lines between planes need, to be told from their ends.
_MARGIN_M: Final = 2.0
# Around a line of unknown kind nothing is known of lines.
_UNKNOWN_HALF_WIDTH_M: Final = 0.5


@dataclass(frozen=True)
class Roofs:
    """What is labelled on a photo, in its columns and rows.

    Attributes:
        planes: N polygons, the larger ones first: a dormer stands on a plane.
        azimuth_deg: (N,) degrees clockwise from the photo's up in which each runs down; NaN where
            it is flat or nobody knows.
        pitch_deg: (N,) tilt against the horizontal; NaN where nobody knows.
        is_flat: (N,).
        has_lines: (N,) whether somebody drew the lines of its roof.
        hidden: Polygons of which something is wrong: what they cover is not known.
        areas: Polygons in which every roof is labelled; None where nobody said.
        lines: L lines.
        line_kinds: (L,) channel of the lines task; UNCLEAR where the kind is not known.
        is_rake: (L,) whether it is a rake, of those of the eaves' channel.
        tells_rakes: Whether the file tells rakes from eaves at all.
        drawn_kinds: Channels of which the file draws any line; the others follow from planes.
        azimuth_bins: Directions that the network tells apart. With fewer than 16 a plane has the
            class in the middle of its coarser direction, found from its degrees: it is never "one
            of two".
    """

    planes: Shapes
    azimuth_deg: Floats
    pitch_deg: Floats
    is_flat: Flags
    has_lines: Flags
    hidden: Shapes
    areas: Shapes | None
    lines: Shapes
    line_kinds: npt.NDArray[np.int64]
    is_rake: Flags
    tells_rakes: bool
    drawn_kinds: tuple[int, ...] = ()
    azimuth_bins: int = NUM_BINS

    @property
    def show_anything(self) -> bool:
        """Whether there is a plane or an area."""
        return bool(len(self.planes)) or bool(self.areas is not None and len(self.areas))

    def draw(self, view: View) -> dict[TaskName, Tensor]:
        """Segments and centre lines of a window, as Drawing.draw."""
        margin_px = math.ceil(_MARGIN_M / view.gsd_m)
        canvas = _Canvas.of(view, margin_px)
        ground = self._draw_ground(canvas)
        planes = canvas.stamps(self.planes)
        numbers = np.array([number for number, _ in planes], np.int64)

        def draw_planes(num_bins: int) -> Mask8:
            segments = ground.copy()
            labels = self._labels(view, numbers, num_bins).tolist()
            for (_, stamp), label in zip(planes, labels, strict=True):
                stamp.put(segments, label)
            return segments

        fine = draw_planes(NUM_BINS)
        segments = fine if self.azimuth_bins == NUM_BINS else draw_planes(self.azimuth_bins)
        lines = self._draw_lines(canvas, planes, fine, view.gsd_m)
        inner = (slice(margin_px, -margin_px), slice(margin_px, -margin_px))
        return {
            "segments": torch.from_numpy(segments[inner].copy()),
            "lines": torch.from_numpy(lines[:, *inner].copy()),
        }

    def _draw_ground(self, canvas: "_Canvas") -> Mask8:
        """What is known where no plane is."""
        ground = np.full(canvas.size, IGNORE_INDEX, np.uint8)
        if self.areas is not None:
            for _, stamp in canvas.stamps(self.areas):
                stamp.put(ground, BACKGROUND_CLASS)
        for _, stamp in canvas.stamps(self.hidden):
            stamp.put(ground, IGNORE_INDEX)
        return ground

    def _labels(self, view: View, planes: Ints, num_bins: int) -> Ints:
        """(P,) classes of planes in a turned window: turned in degrees, and only then sorted."""
        turned = self.azimuth_deg[planes] + view.turn_deg
        turned = -turned if view.flip else turned
        known = np.isfinite(turned)
        labels = np.where(self.is_flat[planes], FLAT_CLASS, SOME_ROOF)
        labels[known] = degrees_to_class(turned[known], num_bins) * (NUM_BINS // num_bins)
        return labels

    def _draw_lines(
        self,
        canvas: "_Canvas",
        planes: Sequence[tuple[int, Stamp]],
        segments: Mask8,
        gsd_m: float,
    ) -> Mask8:
        """Lines that people drew where a roof has any, else those that follow from planes."""
        without = [stamp for number, stamp in planes if not self.has_lines[number]]
        if len(without) == len(planes):
            return lines_from_segments(segments, gsd_m)
        unknown = (segments == IGNORE_INDEX) * np.uint8(IGNORE_INDEX)
        lines = np.repeat(unknown[None], len(LINE_KINDS), axis=0)
        never_drawn = [kind for kind in range(len(LINE_KINDS)) if kind not in self.drawn_kinds]
        # They take as long as all the rest.
        derived = lines_from_segments(segments, gsd_m) if without or never_drawn else lines
        lines[never_drawn] = derived[never_drawn]
        centres = np.zeros((UNCLEAR + 1, *canvas.size), np.uint8)
        touching = self.lines.touching(canvas.box)
        for kind, centre in enumerate(centres):
            of_kind = touching[self.line_kinds[touching] == kind]
            trace_some(centre, self.lines, of_kind, canvas.move, 1)
        lines[:, widen(centres[UNCLEAR], _UNKNOWN_HALF_WIDTH_M / gsd_m)] = IGNORE_INDEX
        drawn = centres[:UNCLEAR].view(np.bool_)
        lines[drawn] = 1
        if without:
            others = np.zeros(canvas.size, np.uint8)
            for stamp in without:
                stamp.put(others, 1)
            beside = widen(others, LINE_REACH_M / gsd_m) & ~drawn.any(axis=0)
            lines[:, beside] = derived[:, beside]
        return lines


def widen(mask: Mask8, radius_px: float) -> Flags:
    """The pixels within a distance of those that are set."""
    if not mask.any():
        return mask.astype(np.bool_)
    distance = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= radius_px, np.bool_)


class _Canvas(NamedTuple):
    """A window with a margin, and how pixels of the photo come into it.

    Attributes:
        linear: (2, 2) of the map from photo x and y.
        shift: (2,) of it.
        size: Rows and columns.
        box: West, north, east, south of it in the photo.
    """

    linear: Floats
    shift: Floats
    size: tuple[int, int]
    box: tuple[float, float, float, float]

    @classmethod
    def of(cls, view: View, margin_px: int) -> "_Canvas":
        height, width = (side + 2 * margin_px for side in view.size)
        corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) - margin_px
        in_photo: Floats = corners @ view.to_photo[:, :2].T + view.to_photo[:, 2]
        linear: Floats = np.asarray(np.linalg.inv(view.to_photo[:, :2]), np.float64)
        shift = margin_px - linear @ view.to_photo[:, 2]
        (west, north), (east, south) = in_photo.min(axis=0), in_photo.max(axis=0)
        return cls(linear, shift, (height, width), (west, north, east, south))

    def stamps(self, shapes: Shapes) -> list[tuple[int, Stamp]]:
        """The polygons of which pixels are in the canvas: their numbers and these pixels."""
        return fill_some(shapes, shapes.touching(self.box), self.move, self.size)

    def move(self, points: Floats) -> Floats:
        """(K, 2) corners in the photo, in the canvas."""
        # Not a product of matrices, whose last bits depend on how many points there are.
        x, y = points[:, :1], points[:, 1:]
        moved: Floats = x * self.linear[:, 0] + y * self.linear[:, 1] + self.shift
        return moved
