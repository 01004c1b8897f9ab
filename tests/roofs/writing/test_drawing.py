"""Where north is on a photo, whatever its reference system and its turn."""

import math

import numpy as np
import pytest
from pyproj import Proj, Transformer
from rasterio import Affine

from app.roofs.writing.drawing import PhotoView, find_north_deg

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
