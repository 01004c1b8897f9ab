"""Roofs worked out by hand, the photo below them, and what says where they come from."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import numpy as np
import shapely
from rasterio import Affine

from app.roofs.model import Building, LineKind, Plane, RoofLine, Roofs
from app.roofs.writing.drawn import PhotoView
from app.roofs.writing.origin import Origin

UTM = "EPSG:25832"
# Around Munich, where the grid's north is 1.9 degrees clockwise of true north.
EAST, NORTH = 690_000.0, 5_334_000.0
GSD_M = 0.1
SIDE_PX = 400
ORIGIN = Origin("winter (sha256 0123abcd)", "roof-model 0.1.0", datetime(2026, 1, 2, tzinfo=UTC))
NO_HEIGHTS = "the model was not trained on heights"

Point = tuple[float, float]


def make_roofs(photo: str = "village", crs: str | None = UTM) -> Roofs:
    """A hip roof of 12 x 8 m at 45 degrees, a gable roof of 10 x 6 m at 30, and a flat garage.

    In plan 96, 60 and 15 m2. Of the hip roof: eaves 40 m, ridge 4 m, four hips of 6.93 m (5.66 in
    plan). Of the gable roof: eaves 20 m, ridge 10 m, four rakes of 3.46 m (3 in plan). Of the
    garage: eaves 16 m. Without crs in pixels of 0.1 m.
    """
    maker = _Maker(crs)
    maker.add_hip_roof((12.0, 28.0))
    maker.add_gable_roof((28.0, 28.0))
    maker.add_garage((20.0, 10.0))
    return Roofs(photo, crs, GSD_M, tuple(maker.planes), tuple(maker.lines), tuple(maker.buildings))


def without_heights(roofs: Roofs, plane_ids: range | None = None) -> Roofs:
    """The same of a model that says nothing about heights, of all planes or of some."""
    chosen = {plane.plane_id for plane in roofs.planes} if plane_ids is None else set(plane_ids)
    unknown: dict[str, Any] = dict.fromkeys(
        ("pitch_degrees", "pitch_sd_degrees", "area_m2", "height_m")
    )
    planes = [
        dataclasses.replace(plane, **unknown) if plane.plane_id in chosen else plane
        for plane in roofs.planes
    ]
    lines = [
        line
        if {line.left_plane_id, line.right_plane_id} - chosen - {None}
        else dataclasses.replace(line, length_m=line.ground_length_m)
        for line in roofs.lines
    ]
    return dataclasses.replace(roofs, planes=tuple(planes), lines=tuple(lines))


def with_cut_garage(roofs: Roofs) -> Roofs:
    """The same, the garage of which goes on beyond the photo."""
    *others, garage = roofs.buildings
    cut = dataclasses.replace(garage, is_cut=True)
    return dataclasses.replace(roofs, buildings=(*others, cut))


def no_roofs() -> Roofs:
    """A photo without any."""
    return Roofs("field", UTM, GSD_M, (), (), ())


def make_view(crs: str | None = UTM, side_px: int = SIDE_PX) -> PhotoView:
    """The 40 x 40 m around the roofs, north up."""
    scale = side_px / SIDE_PX
    image = np.full((side_px, side_px, 3), 127, np.uint8)
    from_px = Affine(GSD_M, 0, EAST, 0, -GSD_M, NORTH + SIDE_PX * GSD_M)
    to_px = Affine.identity() if crs is None else ~from_px
    return PhotoView(image, Affine.scale(scale) @ to_px, GSD_M / scale)


class _Maker:
    """Puts buildings onto a photo; places are metres east and north of its lower left corner."""

    def __init__(self, crs: str | None) -> None:
        self.planes: list[Plane] = []
        self.lines: list[RoofLine] = []
        self.buildings: list[Building] = []
        self._crs = crs

    def add_hip_roof(self, middle: Point) -> None:
        rise = 4.0
        corners = [(-6.0, 4.0), (6.0, 4.0), (6.0, -4.0), (-6.0, -4.0)]
        left, right = (-2.0, 0.0), (2.0, 0.0)
        a, b, c, d = corners
        first = len(self.planes) + 1
        for azimuth, ring in ((0.0, (a, b, right, left)), (90.0, (b, c, right)),
                              (180.0, (c, d, left, right)), (270.0, (d, a, left))):  # fmt: skip
            self._add_plane(middle, ring, azimuth, 45.0)
        for side in range(4):
            ends = corners[side], corners[(side + 1) % 4]
            self._add_line(middle, "eave", ends, (None, first + side))
        top = (left, right, right, left)
        for side in range(4):
            planes = first + side, first + (side - 1) % 4
            self._add_line(middle, "hip", (corners[side], top[side]), planes, rise)
        self._add_line(middle, "ridge", (left, right), (first, first + 2))
        self._close(middle, corners, 0.0)

    def add_gable_roof(self, middle: Point) -> None:
        rise = 3.0 * np.tan(np.radians(30.0))
        corners = [(-5.0, 3.0), (5.0, 3.0), (5.0, -3.0), (-5.0, -3.0)]
        left, right = (-5.0, 0.0), (5.0, 0.0)
        a, b, c, d = corners
        first = len(self.planes) + 1
        self._add_plane(middle, (a, b, right, left), 0.0, 30.0)
        self._add_plane(middle, (c, d, left, right), 180.0, 30.0)
        self._add_line(middle, "eave", (a, b), (None, first))
        self._add_line(middle, "eave", (c, d), (None, first + 1))
        for ends, plane in (((b, right), first), ((right, c), first + 1),
                            ((d, left), first + 1), ((left, a), first)):  # fmt: skip
            self._add_line(middle, "rake", ends, (None, plane), rise)
        self._add_line(middle, "ridge", (left, right), (first, first + 1))
        self._close(middle, corners, 0.0)

    def add_garage(self, middle: Point) -> None:
        corners = [(-2.5, 1.5), (2.5, 1.5), (2.5, -1.5), (-2.5, -1.5)]
        self._add_plane(middle, tuple(corners), None, 0.0)
        for side in range(4):
            ends = corners[side], corners[(side + 1) % 4]
            self._add_line(middle, "eave", ends, (None, len(self.planes)))
        self._close(middle, corners, None)

    def _add_plane(
        self, middle: Point, ring: tuple[Point, ...], azimuth: float | None, pitch: float
    ) -> None:
        ground_m2 = shapely.Polygon(ring).area
        self.planes.append(
            Plane(
                plane_id=len(self.planes) + 1,
                building_id=len(self.buildings) + 1,
                polygon=shapely.Polygon(self._places(middle, ring)),
                azimuth_degrees=azimuth,
                azimuth_sd_degrees=None if azimuth is None else 3.2,
                pitch_degrees=pitch,
                pitch_sd_degrees=1.5,
                area_m2=ground_m2 / float(np.cos(np.radians(pitch))),
                ground_area_m2=ground_m2,
                height_m=6.25,
                confidence=0.9375,
            )
        )

    def _add_line(
        self,
        middle: Point,
        kind: LineKind,
        ends: tuple[Point, Point],
        planes: tuple[int | None, int | None],
        rise_m: float = 0.0,
    ) -> None:
        ground_m = shapely.LineString(ends).length
        self.lines.append(
            RoofLine(
                line_id=len(self.lines) + 1,
                kind=kind,
                line=shapely.LineString(self._places(middle, ends)),
                length_m=float(np.hypot(ground_m, rise_m)),
                ground_length_m=ground_m,
                left_plane_id=planes[0],
                right_plane_id=planes[1],
                building_id=len(self.buildings) + 1,
                confidence=0.875,
                kind_confidence=0.75,
            )
        )

    def _close(self, middle: Point, ring: list[Point], main_azimuth: float | None) -> None:
        polygon = shapely.Polygon(self._places(middle, ring))
        area_m2 = shapely.Polygon(ring).area
        number = len(self.buildings) + 1
        self.buildings.append(Building(number, polygon, area_m2, main_azimuth))

    def _places(self, middle: Point, points: tuple[Point, ...] | list[Point]) -> np.ndarray:
        metres = np.array(points) + middle
        if self._crs is None:
            return np.array([0, SIDE_PX]) + metres * (1, -1) / GSD_M
        return np.add(metres, (EAST, NORTH))
