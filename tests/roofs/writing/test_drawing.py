"""Where north is on a photo, whatever its reference system and its turn."""

import math

import numpy as np
import pytest
import shapely
from pyproj import Proj, Transformer
from rasterio import Affine

from app.roofs.writing.drawing import draw, find_north_deg
from app.roofs.writing.drawn import PhotoView
from tests.support.roof_outputs import SIDE_PX, make_roofs, make_view

IMAGE = np.zeros((300, 400, 3), np.uint8)


def view_at(crs: str, longitude: float, latitude: float, step: float, turn_deg: float) -> PhotoView:
    """A photo around a place, turned clockwise on the grid."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    from_px = (
        Affine.translation(x, y)
        @ Affine.rotation(-turn_deg)
        @ Affine.scale(step, -step)
        @ Affine.translation(-200, -150)
    )
    return PhotoView(IMAGE, ~from_px, 0.1)


@pytest.mark.parametrize("turn_deg", [0.0, 90.0, 200.0])
@pytest.mark.parametrize(
    ("crs", "longitude", "latitude"),
    [("EPSG:25832", 11.55, 48.1), ("EPSG:2193", 168.35, -46.4), ("EPSG:3857", 11.55, 48.1)],
)
def test_north_is_true_north(crs: str, longitude: float, latitude: float, turn_deg: float) -> None:
    view = view_at(crs, longitude, latitude, 0.1, turn_deg)
    convergence = Proj(crs).get_factors(longitude, latitude).meridian_convergence
    expected = -convergence - turn_deg
    error = (find_north_deg(crs, view) - expected + 180) % 360 - 180
    assert abs(error) < 0.01


def test_north_in_degrees_is_along_the_meridian() -> None:
    # A photo in degrees, turned by 45 degrees of the grid: a degree of latitude is longer.
    view = view_at("EPSG:4326", 11.55, 60.0, 1e-6, 45.0)
    assert find_north_deg("EPSG:4326", view) == pytest.approx(-45.0, abs=0.01)


def test_without_a_reference_system_up_is_north() -> None:
    assert find_north_deg(None, PhotoView(IMAGE, Affine.rotation(30), 0.1)) == 0.0
    assert math.isclose(find_north_deg("EPSG:3857", view_at("EPSG:3857", 0, 0, 1.0, 0)), 0.0)


def test_pictures_of_buildings_stay_within_the_photo() -> None:
    view = make_view()
    drawing = draw(make_roofs(), view, lambda _: "")
    assert len(drawing.buildings) == 3
    for building in drawing.buildings:
        frame = building.frame
        assert 0 <= frame.x <= frame.x + frame.width <= SIDE_PX
        assert 0 <= frame.y <= frame.y + frame.height <= SIDE_PX
        assert frame.width >= frame.height
        assert building.number is not None
    # Numbers of planes lie on their planes; the hip roof's left one is around 8 m east.
    plane, label = make_roofs().planes[3], drawing.buildings[0].frame.planes[3]
    place = ~view.to_px @ (float(label.x), float(label.y))
    assert label.text == "4"
    assert plane.polygon.contains(shapely.Point(place))


def test_lines_are_thin_where_buildings_are_small() -> None:
    roofs, near = make_roofs(), make_view()
    # The same roofs in a photo of 10 times the side: the usual one is 100 px of 4000.
    far = PhotoView(np.zeros((4000, 4000, 3), np.uint8), near.to_px, near.gsd_m)
    assert draw(roofs, near, lambda _: "").stroke == "1.00"
    assert draw(roofs, far, lambda _: "").stroke == "0.31"
    # The garage, of 50 px, would hide below its number.
    numbers = [one.number is None for one in draw(roofs, far, lambda _: "").buildings]
    assert numbers == [False, False, True]


def test_the_scale_bar_is_a_round_length() -> None:
    bars = []
    for gsd_m in (0.01, 0.1, 0.3, 2.0):
        view = make_view()
        frame = draw(make_roofs(), PhotoView(view.image, view.to_px, gsd_m), lambda _: "").whole
        assert frame.bar <= 0.22 * SIDE_PX
        assert frame.bar * gsd_m == pytest.approx(float(frame.bar_text.removesuffix(" m")), 0.01)
        bars.append(frame.bar_text)
    assert bars == ["0.5 m", "5 m", "20 m", "100 m"]
