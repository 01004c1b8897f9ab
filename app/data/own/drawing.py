"""Roofs of a photo as shapes, and how a window of them is drawn."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import shapely
import torch
from shapely.geometry.base import BaseGeometry
from torch import Tensor

from app.base.azimuth import degrees_to_class
from app.base.tasks import (
    BACKGROUND_CLASS,
    FLAT_CLASS,
    IGNORE_INDEX,
    LINE_KINDS,
    SOME_ROOF,
    TaskName,
)
from app.data.lines import lines_from_segments
from app.data.own.fields import EAVE, UNCLEAR
from app.data.sample import DrawnShapes, View
from app.data.shapes import Shapes, Stamp, fill, trace

# Around a window as much is drawn as lines between planes need, to be told from their ends.
_MARGIN_M: Final = 2.0
# Around a line of unknown kind nothing is known of lines.
_UNKNOWN_HALF_WIDTH_M: Final = 0.5
# Lines that people drew belong to planes as far off as this.
_REACH_M: Final = 0.5
_NUM_KINDS: Final = 4

_Floats = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.uint8]
_Flags = npt.NDArray[np.bool_]


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
    """

    planes: Shapes
    azimuth_deg: _Floats
    pitch_deg: _Floats
    is_flat: _Flags
    has_lines: _Flags
    hidden: Shapes
    areas: Shapes | None
    lines: Shapes
    line_kinds: npt.NDArray[np.int64]
    is_rake: _Flags
    tells_rakes: bool
    drawn_kinds: tuple[int, ...] = ()

    def draw(self, view: View) -> dict[TaskName, Tensor]:
        """Segments and centre lines of a window, as Drawing.draw."""
        margin_px = math.ceil(_MARGIN_M / view.gsd_m)
        canvas = _Canvas.of(view, margin_px)
        planes = self.planes.touching(canvas.box)
        segments = self._draw_segments(canvas, view, planes)
        derived = lines_from_segments(segments, view.gsd_m)
        lines = self._draw_lines(canvas, view, planes, segments, derived)
        inner = (slice(margin_px, -margin_px), slice(margin_px, -margin_px))
        return {
            "segments": torch.from_numpy(segments[inner].copy()),
            "lines": torch.from_numpy(lines[:, *inner].copy()),
        }

    def shapes(self, view: View) -> DrawnShapes:
        """The shapes of a window, as Drawing.shapes."""
        canvas = _Canvas.of(view, 0)
        planes, numbers = canvas.polygons(self.planes)
        azimuth_deg = self._turn(view, numbers)
        drawn = self._drawn_lines() if self.has_lines[numbers].all() else {}
        return DrawnShapes(
            planes,
            azimuth_deg,
            self.pitch_deg[numbers],
            self.is_flat[numbers],
            canvas.polygons(self.hidden)[0],
            None if self.areas is None else canvas.polygons(self.areas)[0],
            {
                kind: canvas.length_px(self.lines, chosen) * view.gsd_m
                for kind, chosen in drawn.items()
            },
        )

    def _drawn_lines(self) -> dict[str, _Flags]:
        """(L,) which lines are of a kind, by the kinds of lengths that the file tells."""
        chosen = {LINE_KINDS[kind]: self.line_kinds == kind for kind in self.drawn_kinds}
        outline = chosen.pop(LINE_KINDS[EAVE], None)
        if outline is not None:
            chosen["outline"] = outline
            if self.tells_rakes:
                chosen |= {"eave": outline & ~self.is_rake, "rake": self.is_rake}
        return chosen

    def _draw_segments(self, canvas: "_Canvas", view: View, planes: npt.NDArray[np.int64]) -> _Mask:
        segments = np.full(canvas.size, IGNORE_INDEX, np.uint8)
        if self.areas is not None:
            for stamp in canvas.stamps(self.areas, self.areas.touching(canvas.box)):
                stamp.put(segments, BACKGROUND_CLASS)
        for stamp in canvas.stamps(self.hidden, self.hidden.touching(canvas.box)):
            stamp.put(segments, IGNORE_INDEX)
        labels = self._labels(view, planes)
        for plane, label in zip(planes, labels, strict=True):
            for stamp in canvas.stamps(self.planes, [plane]):
                stamp.put(segments, int(label))
        return segments

    def _labels(self, view: View, planes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(P,) classes of planes in a turned window: turned in degrees, and only then sorted."""
        turned = self._turn(view, planes)
        known = np.isfinite(turned)
        labels = np.where(self.is_flat[planes], FLAT_CLASS, SOME_ROOF)
        labels[known] = degrees_to_class(turned[known])
        return labels

    def _turn(self, view: View, planes: npt.NDArray[np.int64]) -> _Floats:
        """(P,) azimuths of planes in a turned window."""
        turned = self.azimuth_deg[planes] + view.turn_deg
        return -turned if view.flip else turned

    def _draw_lines(
        self,
        canvas: "_Canvas",
        view: View,
        planes: npt.NDArray[np.int64],
        segments: _Mask,
        derived: _Mask,
    ) -> _Mask:
        """Lines that people drew where a roof has any, else those that follow from planes."""
        if not self.has_lines[planes].any():
            return derived
        lines = np.repeat(((segments == IGNORE_INDEX) * np.uint8(IGNORE_INDEX))[None], 4, axis=0)
        centres = np.zeros((UNCLEAR + 1, *canvas.size), np.uint8)
        for line in self.lines.touching(canvas.box):
            trace(centres[self.line_kinds[line]], canvas.moved(self.lines, int(line)), 1)
        lines[:, widen(centres[UNCLEAR], _UNKNOWN_HALF_WIDTH_M / view.gsd_m)] = IGNORE_INDEX
        lines[centres[:UNCLEAR].view(np.bool_)] = 1
        for kind in range(_NUM_KINDS):
            if kind not in self.drawn_kinds:
                lines[kind] = derived[kind]
        without = planes[~self.has_lines[planes]]
        if len(without):
            others = np.zeros(canvas.size, np.uint8)
            for stamp in canvas.stamps(self.planes, without):
                stamp.put(others, 1)
            beside = widen(others, _REACH_M / view.gsd_m) & ~centres[:UNCLEAR].any(axis=0)
            lines[:, beside] = derived[:, beside]
        return lines


def widen(mask: _Mask, radius_px: float) -> _Flags:
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

    linear: _Floats
    shift: _Floats
    size: tuple[int, int]
    box: tuple[float, float, float, float]

    @classmethod
    def of(cls, view: View, margin_px: int) -> "_Canvas":
        height, width = (side + 2 * margin_px for side in view.size)
        corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) - margin_px
        in_photo: _Floats = corners @ view.to_photo[:, :2].T + view.to_photo[:, 2]
        linear: _Floats = np.asarray(np.linalg.inv(view.to_photo[:, :2]), np.float64)
        shift = margin_px - linear @ view.to_photo[:, 2]
        (west, north), (east, south) = in_photo.min(axis=0), in_photo.max(axis=0)
        return cls(linear, shift, (height, width), (west, north, east, south))

    def move(self, points: _Floats) -> _Floats:
        """(P, 2) points of the photo in the canvas."""
        return np.asarray(points @ self.linear.T + self.shift, np.float64)

    def moved(self, shapes: Shapes, shape: int) -> list[_Floats]:
        """A shape's rings or parts in the canvas."""
        return [self.move(part) for part in shapes.parts(shape)]

    def polygons(self, shapes: Shapes) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64]]:
        """The polygons of a canvas without margin, cut to it, and their numbers."""
        numbers = shapes.touching(self.box)
        whole = [shapes.polygon(int(number), self.move) for number in numbers]
        cut = shapely.intersection(np.array(whole, np.object_), self._frame())
        kept = shapely.area(cut) > 0
        polygons = np.array([_areas_of(shape) for shape in cut[kept]], np.object_)
        return polygons, numbers[kept]

    def length_px(self, shapes: Shapes, chosen: _Flags) -> float:
        """How long some of the lines are within a canvas without margin."""
        touching = shapes.touching(self.box)
        parts = [
            part for line in touching[chosen[touching]] for part in self.moved(shapes, int(line))
        ]
        lines = np.array([shapely.LineString(part) for part in parts], np.object_)
        return float(shapely.length(shapely.intersection(lines, self._frame())).sum())

    def _frame(self) -> BaseGeometry:
        return shapely.box(0, 0, self.size[1], self.size[0])

    def stamps(self, shapes: Shapes, chosen: Iterable[int]) -> Iterator[Stamp]:
        """The pixels of polygons."""
        for shape in chosen:
            stamp = fill(self.moved(shapes, int(shape)), self.size)
            if stamp is not None:
                yield stamp


def _areas_of(shape: BaseGeometry) -> BaseGeometry:
    """A polygon, or several, of a shape that may hold lines too, as where a cut grazes an edge."""
    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape
    return shapely.union_all([part for part in shape.geoms if part.area > 0])
