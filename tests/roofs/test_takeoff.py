"""Take-offs of hand-made roofs."""

import math

import pytest
import shapely

from app.roofs.buildings import main_azimuth_degrees
from app.roofs.model import Building, LineKind, Plane, RoofLine, Roofs
from app.roofs.takeoff import LineTotal, take_off


def plane(
    plane_id: int, azimuth: float | None, pitch: float | None, ground_m2: float, building: int = 1
) -> Plane:
    area = None if pitch is None else ground_m2 / math.cos(math.radians(pitch))
    polygon = shapely.box(0, 0, 1, 1)
    return Plane(plane_id, building, polygon, azimuth, 2.0, pitch, 1.0, area, ground_m2, 5.0, 0.9)


def line(line_id: int, kind: LineKind, length_m: float, building: int = 1) -> RoofLine:
    points = shapely.LineString([(0, 0), (1, 0)])
    return RoofLine(line_id, kind, points, length_m, length_m, 1, None, building, 0.9, 0.9)


PLANES = (
    plane(1, 0.0, 45.0, 50.0),
    plane(2, 180.0, 45.0, 40.0),
    plane(3, None, 0.0, 20.0),
    plane(4, 90.0, None, 30.0, building=2),
)
LINES = (
    line(1, "eave", 10.0),
    line(2, "eave", 5.5),
    line(3, "ridge", 10.0),
    line(4, "hip", 4.0, 2),
)
ROOFS = Roofs(
    "photo",
    "EPSG:25832",
    0.1,
    PLANES,
    LINES,
    (
        Building(1, shapely.box(0, 0, 1, 1), 110.0, 0.0),
        Building(2, shapely.box(0, 0, 1, 1), 30.0, 90.0),
    ),
)


def test_sums_of_a_building() -> None:
    taken = take_off(ROOFS)
    assert [building.building_id for building in taken.buildings] == [1, 2]
    sums = taken.buildings[0].sums
    assert sums.roof_facets == 3
    assert sums.ground_area_m2 == 110.0
    assert sums.area_m2 == pytest.approx(90 * math.sqrt(2) + 20)
    assert sums.unknown_pitch_ground_area_m2 == 0.0
    assert sums.eaves == LineTotal(2, 15.5)
    assert sums.ridges == LineTotal(1, 10.0)
    assert sums.hips == sums.valleys == sums.rakes == LineTotal(0, 0.0)
    assert sums.main_azimuth_degrees == pytest.approx(0.0)
    assert [(share.rise_per_12, share.degrees) for share in sums.pitch] == [
        (0, 0.0),
        (12, pytest.approx(45.0)),
    ]
    assert sums.pitch[1].area_m2 == pytest.approx(90 * math.sqrt(2))
    assert math.fsum(share.share for share in sums.pitch) == pytest.approx(1.0)


def test_what_has_no_pitch_is_told_apart() -> None:
    taken = take_off(ROOFS)
    other = taken.buildings[1].sums
    assert other.area_m2 is None
    assert other.pitch == ()
    assert other.unknown_pitch_ground_area_m2 == 30.0
    total = taken.total
    assert total.roof_facets == 4
    assert total.area_m2 == taken.buildings[0].sums.area_m2
    assert total.unknown_pitch_ground_area_m2 == 30.0
    assert total.ground_area_m2 == 140.0
    assert total.hips.length_m == 4.0


def test_main_direction_is_that_of_a_side_and_not_of_a_plane() -> None:
    planes = [plane(1, 355.0, 30.0, 30.0), plane(2, 5.0, 30.0, 30.0), plane(3, 180.0, 30.0, 50.0)]
    main = main_azimuth_degrees(planes)
    assert main is not None
    assert (main + 180) % 360 - 180 == pytest.approx(0.0, abs=1e-6)
    assert main_azimuth_degrees([plane(1, None, 0.0, 10.0)]) is None
