"""Roofs of a window as the shapes that people drew, cut to it."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from app.base.arrays import Flags, Floats, Ints
from app.base.tasks import LINE_KINDS
from app.data.own.drawing import Roofs
from app.data.own.fields import EAVE
from app.data.sample import DrawnShapes, View
from app.data.shapes import Shapes

_Polygons = npt.NDArray[np.object_]


def shapes_of_window(roofs: Roofs, view: View) -> DrawnShapes:
    """The shapes of a window, as Drawing.shapes.

    Args:
        roofs: What is labelled on the photo.
        view: The window.
    """
    frame = _Frame.of(view)
    planes, numbers = frame.cut_polygons(roofs.planes)
    azimuth_deg = roofs.azimuth_deg[numbers] + view.turn_deg
    drawn = _find_drawn(roofs) if roofs.has_lines[numbers].all() else {}
    return DrawnShapes(
        planes,
        -azimuth_deg if view.flip else azimuth_deg,
        roofs.pitch_deg[numbers],
        roofs.is_flat[numbers],
        frame.cut_polygons(roofs.hidden)[0],
        None if roofs.areas is None else frame.cut_polygons(roofs.areas)[0],
        {kind: frame.length_px(roofs.lines, chosen) * view.gsd_m for kind, chosen in drawn.items()},
    )


def _find_drawn(roofs: Roofs) -> dict[str, Flags]:
    """(L,) which lines are of a kind, by the kinds of lengths that the file tells."""
    chosen = {LINE_KINDS[kind]: roofs.line_kinds == kind for kind in roofs.drawn_kinds}
    outline = chosen.pop(LINE_KINDS[EAVE], None)
    if outline is not None:
        chosen["outline"] = outline
        if roofs.tells_rakes:
            chosen |= {"eave": outline & ~roofs.is_rake, "rake": roofs.is_rake}
    return chosen


class _Frame(NamedTuple):
    """A window, and how points of the photo come into it.

    Attributes:
        linear: (2, 2) of the map from photo x and y.
        shift: (2,) of it.
        border: The window's own.
        box: West, north, east, south of it in the photo.
    """

    linear: Floats
    shift: Floats
    border: BaseGeometry
    box: tuple[float, float, float, float]

    @classmethod
    def of(cls, view: View) -> "_Frame":
        height, width = view.size
        corners = np.array([(0, 0), (width, 0), (0, height), (width, height)])
        in_photo = corners @ view.to_photo[:, :2].T + view.to_photo[:, 2]
        linear: Floats = np.asarray(np.linalg.inv(view.to_photo[:, :2]), np.float64)
        shift = -linear @ view.to_photo[:, 2]
        (west, north), (east, south) = in_photo.min(axis=0), in_photo.max(axis=0)
        return cls(linear, shift, shapely.box(0, 0, width, height), (west, north, east, south))

    def move(self, points: Floats) -> Floats:
        """(P, 2) points of the photo in the window."""
        return np.asarray(points @ self.linear.T + self.shift, np.float64)

    def cut_polygons(self, shapes: Shapes) -> tuple[_Polygons, Ints]:
        """The polygons in the window, cut to it, and their numbers."""
        numbers = shapes.touching(self.box)
        whole = [shapes.polygon(int(number), self.move) for number in numbers]
        cut = shapely.intersection(np.array(whole, np.object_), self.border)
        kept = shapely.area(cut) > 0
        return np.array([_areas_of(shape) for shape in cut[kept]], np.object_), numbers[kept]

    def length_px(self, shapes: Shapes, chosen: Flags) -> float:
        """How long some of the lines are within the window."""
        touching = shapes.touching(self.box)
        parts: list[Any] = [
            shapely.LineString(self.move(part))
            for line in touching[chosen[touching]].tolist()
            for part in shapes.parts(line)
        ]
        inside = shapely.intersection(np.array(parts, np.object_), self.border)
        return float(shapely.length(inside).sum())


def _areas_of(shape: BaseGeometry) -> BaseGeometry:
    """A polygon, or several, of a shape that may hold lines too, as where a cut grazes an edge."""
    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape
    return shapely.union_all([part for part in shape.geoms if part.area > 0])
