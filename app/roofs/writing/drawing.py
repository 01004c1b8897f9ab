"""The photo with its planes and lines, as SVG takes them."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
import shapely

from app.base.arrays import Floats
from app.data.files.ground import find_system
from app.report.legend import css
from app.report.pictures import encode_photo
from app.roofs.model import Building, Plane, RoofLine, Roofs, by_building
from app.roofs.writing.colours import direction_colours, name_direction
from app.roofs.writing.drawn import (
    BuildingDrawing,
    Drawing,
    DrawnLine,
    DrawnPlane,
    Frame,
    Label,
    PhotoView,
)
from app.roofs.writing.lengths import find_pitched, is_on_slope

# Longest side of the photo on the page; a larger one is made smaller.
MAX_PHOTO_SIDE_PX: Final = 2400
# Of a building's picture: what is around it, its least width, and its width against its height.
_MARGIN: Final = 0.12
_MIN_WIDTH_M: Final = 6.0
_MIN_ASPECT, _MAX_ASPECT = 1.2, 2.0
_TEXT_SHARE: Final = 0.034  # of a picture's width
_MAX_BAR_SHARE: Final = 0.22
# Lines shorter than this share of a building's picture have no room for their length.
_MIN_LABELLED_SHARE: Final = 0.11
# A building smaller than this share of the photo would hide below its own number.
_MIN_NUMBERED_SHARE: Final = 0.02
# Lines over the whole photo are as wide as elsewhere where the usual building has this share of it.
_FULL_STROKE_SHARE: Final = 0.08
_MIN_STROKE: Final = 0.25


def draw(roofs: Roofs, view: PhotoView, describe: Callable[[Plane], str]) -> Drawing:
    """The photo with its roofs.

    Args:
        roofs: What is drawn.
        view: The photo.
        describe: A plane in a few words.
    """
    height, width = view.image.shape[:2]
    planes, lines = by_building(roofs.planes), by_building(roofs.lines)
    drawer = _Drawer(view, describe, find_pitched(roofs.planes))
    return Drawing(
        photo=encode_photo(view.image, MAX_PHOTO_SIDE_PX),
        whole=drawer.frame(0.0, 0.0, float(width), float(height)),
        north=f"{find_north_deg(roofs.crs, view):.1f}",
        stroke=f"{drawer.find_stroke(roofs.buildings):.2f}",
        buildings=[
            drawer.draw(building, planes[building.building_id], lines[building.building_id])
            for building in roofs.buildings
        ],
    )


def find_north_deg(crs: str | None, view: PhotoView) -> float:
    """Where true north is in the middle of the photo, degrees clockwise from up.

    Args:
        crs: Reference system of the photo; without one up is taken for north.
        view: The photo.
    """
    if crs is None:
        return 0.0
    height, width = view.image.shape[:2]
    from_px = ~view.to_px
    x, y = from_px @ (width / 2, height / 2)
    corner_x, corner_y = from_px @ (0.0, 0.0)
    reach = max(abs(x - corner_x), abs(y - corner_y))
    axes, _ = find_system(crs).axes(x, y, reach, reach)
    # A step in x and y that leads neither east nor west, and so north or south.
    dx, dy = -axes.y[0], axes.x[0]
    if axes.of_step(dx, dy)[1] < 0:
        dx, dy = -dx, -dy
    right = view.to_px.a * dx + view.to_px.b * dy
    down = view.to_px.d * dx + view.to_px.e * dy
    return math.degrees(math.atan2(right, -down))


class _Drawer:
    """Draws buildings onto a photo."""

    def __init__(
        self, view: PhotoView, describe: Callable[[Plane], str], pitched: frozenset[int]
    ) -> None:
        self._view = view
        self._describe = describe
        self._pitched = pitched
        self._colours = {name: css(colour) for name, colour in direction_colours().items()}

    def frame(self, x: float, y: float, width: float, height: float) -> Frame:
        """A part of the photo, without labels."""
        bar_m = _round_length_m(_MAX_BAR_SHARE * width * self._view.gsd_m)
        return Frame(
            round(x, 2),
            round(y, 2),
            round(width, 2),
            round(height, 2),
            bar=round(bar_m / self._view.gsd_m, 2),
            bar_text=f"{bar_m:g} m",
            text_size=round(_TEXT_SHARE * width, 2),
        )

    def find_stroke(self, buildings: Sequence[Building]) -> float:
        """Width of lines over all of the photo, of their width elsewhere."""
        if not buildings:
            return 1.0
        corners = shapely.bounds([self._to_px(building.polygon) for building in buildings])
        sides = (corners[:, 2:] - corners[:, :2]).max(axis=1)
        share = np.median(sides) / max(self._view.image.shape[:2])
        return float(np.clip(share / _FULL_STROKE_SHARE, _MIN_STROKE, 1.0))

    def draw(
        self, building: Building, planes: Sequence[Plane], lines: Sequence[RoofLine]
    ) -> BuildingDrawing:
        """A building."""
        outline = self._to_px(building.polygon)
        areas = [(plane, self._to_px(plane.polygon)) for plane in planes]
        strokes = [(line, self._to_px(line.line)) for line in lines]
        frame = self._around(*outline.bounds)
        least_px = _MIN_NUMBERED_SHARE * max(self._view.image.shape[:2])
        left, top, right, bottom = outline.bounds
        is_large = max(right - left, bottom - top) >= least_px
        drawn_lines = [
            DrawnLine(_line_path(stroke.coords), f"{line.kind}, {self._length(line)}", line.kind)
            for line, stroke in strokes
        ]
        return BuildingDrawing(
            building.building_id,
            [
                DrawnPlane(
                    _area_path(area),
                    self._describe(plane),
                    self._colours[name_direction(plane.azimuth_degrees)],
                )
                for plane, area in areas
            ],
            drawn_lines,
            "".join(line.path for line in drawn_lines),
            _place(outline, str(building.building_id)) if is_large else None,
            dataclasses.replace(
                frame,
                planes=[_place(area, str(plane.plane_id)) for plane, area in areas],
                lengths=[
                    _along(stroke, self._short_length(line))
                    for line, stroke in strokes
                    if stroke.length >= _MIN_LABELLED_SHARE * frame.width
                ],
            ),
        )

    def _length(self, line: RoofLine) -> str:
        if is_on_slope(line, self._pitched):
            return f"{line.length_m:.1f} m"
        return f"{line.ground_length_m:.1f} m in plan"

    def _short_length(self, line: RoofLine) -> str:
        if is_on_slope(line, self._pitched):
            return f"{line.length_m:.1f}"
        return f"({line.ground_length_m:.1f})"

    def _to_px(self, shape: shapely.Geometry) -> shapely.Geometry:
        matrix = self._view.to_px

        def move(points: Floats) -> Floats:
            x, y = points.T
            columns, rows = matrix.a * x + matrix.b * y, matrix.d * x + matrix.e * y
            return np.stack((columns + matrix.c, rows + matrix.f), axis=1)

        return shapely.transform(shape, move)

    def _around(self, left: float, top: float, right: float, bottom: float) -> Frame:
        """The part of the photo around a building."""
        width = max((right - left) * (1 + 2 * _MARGIN), _MIN_WIDTH_M / self._view.gsd_m)
        height = max((bottom - top) * (1 + 2 * _MARGIN), width / _MAX_ASPECT)
        width = max(width, height * _MIN_ASPECT)
        photo_height, photo_width = self._view.image.shape[:2]
        return self.frame(
            _within(photo_width, (left + right - width) / 2, width),
            _within(photo_height, (top + bottom - height) / 2, height),
            width,
            height,
        )


def _within(whole: float, start: float, length: float) -> float:
    """Where a stretch starts that is moved into another one; both in the middle if it is longer."""
    if length > whole:
        return (whole - length) / 2
    return min(max(start, 0.0), whole - length)


def _area_path(polygon: shapely.Polygon) -> str:
    rings = (polygon.exterior, *polygon.interiors)
    return "".join(_line_path(ring.coords[:-1]) + "Z" for ring in rings)


def _line_path(points: Iterable[tuple[float, ...]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y, *_ in points)


def _place(shape: shapely.Polygon | shapely.MultiPolygon, text: str) -> Label:
    """A text where there is most room for it."""
    tolerance = max(math.sqrt(shape.area) / 20, 1e-3)
    x, y = shapely.maximum_inscribed_circle(shape, tolerance=tolerance).coords[0]
    return Label(f"{x:.1f}", f"{y:.1f}", text)


def _along(line: shapely.LineString, text: str) -> Label:
    """A text on the middle of a line, never upside down."""
    middle = line.interpolate(0.5, normalized=True)
    (x0, y0), (x1, y1) = line.coords[0], line.coords[-1]
    turn = (math.degrees(math.atan2(y1 - y0, x1 - x0)) + 90.0) % 180.0 - 90.0
    return Label(f"{middle.x:.1f}", f"{middle.y:.1f}", text, f"{turn:.0f}")


def _round_length_m(most_m: float) -> float:
    """The longest of 1, 2, 5, 10, 20, 50 and so on that is no longer; also below 1."""
    power = 10.0 ** math.floor(math.log10(most_m))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= most_m)
