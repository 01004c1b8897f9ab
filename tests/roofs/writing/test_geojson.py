"""GeoJSON as RFC 7946 has it, and pixels as plain JSON."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import Transformer

from app.base.errors import DataError
from app.roofs.model import Building, Plane, Roofs
from app.roofs.writing.columns import camel_case
from app.roofs.writing.geojson import write_geojson
from tests.support.roof_outputs import (
    NO_HEIGHTS,
    ORIGIN,
    UTM,
    make_roofs,
    no_roofs,
    without_heights,
)

NAMES = ["village_buildings.geojson", "village_planes.geojson", "village_lines.geojson"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("geojson")
    paths = write_geojson(folder, make_roofs(), ORIGIN)
    assert [path.name for path in paths] == NAMES
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def read(folder: Path, roofs: Roofs, ending: str = "planes.geojson") -> Any:
    write_geojson(folder, roofs, ORIGIN)
    return json.loads((folder / f"{roofs.photo}_{ending}").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_rules_of_rfc_7946(name: str, texts: dict[str, str]) -> None:
    document = json.loads(texts[name])
    assert document["type"] == "FeatureCollection"
    assert "crs" not in document  # section 4
    points = []
    for feature in document["features"]:
        assert feature["type"] == "Feature"
        assert {"type", "id", "bbox", "properties", "geometry"} == set(feature)
        # Section 7.1: members of other objects must not be there.
        assert set(feature["geometry"]) == {"type", "coordinates"}
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        assert feature["bbox"] == list(shape.bounds)  # section 5: west, south, east, north
        for part in shapely.get_parts(shape):
            if part.geom_type == "Polygon":  # section 3.1.6
                assert part.exterior.is_ccw
                assert part.exterior.coords[0] == part.exterior.coords[-1]
        points.append(shapely.get_coordinates(shape))
    longitude, latitude = np.concatenate(points).T
    box = [longitude.min(), latitude.min(), longitude.max(), latitude.max()]
    assert document["bbox"] == box
    ids = [feature["id"] for feature in document["features"]]
    assert ids == list(range(1, len(ids) + 1))
    # Longitude first, and no more than 7 digits (section 11.2 warns of more).
    assert 11.5 < longitude.min() < longitude.max() < 11.6
    assert 48.1 < latitude.min() < latitude.max() < 48.2
    assert max(len(digits) for digits in re.findall(r"\d\d\.(\d+)", texts[name])) <= 7


def test_places_are_those_of_the_photo(texts: dict[str, str]) -> None:
    to_utm = Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    features = json.loads(texts["village_planes.geojson"])["features"]
    for feature, plane in zip(features, make_roofs().planes, strict=True):
        found = shapely.transform(
            shapely.geometry.shape(feature["geometry"]),
            lambda points: np.stack(to_utm.transform(*points.T), axis=1),
        )
        assert found.hausdorff_distance(plane.polygon) < 0.02


def test_names_are_as_googles(texts: dict[str, str]) -> None:
    document = json.loads(texts["village_planes.geojson"])
    assert document["features"][1]["properties"] == {
        "planeId": 2,
        "buildingId": 1,
        "azimuthDegrees": 90.0,
        "azimuthSdDegrees": 3.2,
        "pitchDegrees": 45.0,
        "pitchSdDegrees": 1.5,
        "areaMeters2": 22.63,
        "groundAreaMeters2": 16.0,
        "heightMeters": 6.25,
        "confidence": 0.938,
    }
    assert document["features"][6]["properties"]["azimuthDegrees"] is None
    assert document["photo"] == "village"
    assert document["model"] == ORIGIN.model
    ridge = json.loads(texts["village_lines.geojson"])["features"][8]["properties"]
    assert ridge == {
        "lineId": 9,
        "kind": "ridge",
        "lengthMeters": 4.0,
        "groundLengthMeters": 4.0,
        "leftPlaneId": 1,
        "rightPlaneId": 3,
        "buildingId": 1,
        "confidence": 0.875,
        "kindConfidence": 0.75,
    }
    assert camel_case("main_azimuth_degrees") == "mainAzimuthDegrees"


def test_other_readers_take_it_for_wgs84(tmp_path: Path, texts: dict[str, str]) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(texts["village_planes.geojson"])
    info = pyogrio.read_info(path)
    assert info["crs"] == "EPSG:4326"
    assert info["features"] == 7


def test_equal_roofs_make_equal_bytes(tmp_path: Path, texts: dict[str, str]) -> None:
    paths = write_geojson(tmp_path, make_roofs(), ORIGIN)
    assert {path.name: path.read_text(encoding="utf-8") for path in paths} == texts


def test_what_is_not_known_is_null_and_says_why(tmp_path: Path) -> None:
    roofs = without_heights(make_roofs())
    origin = type(ORIGIN)(ORIGIN.model, ORIGIN.software, ORIGIN.stamp, NO_HEIGHTS)
    write_geojson(tmp_path, roofs, origin)
    document = json.loads((tmp_path / "village_planes.geojson").read_text())
    assert document["noHeights"] == NO_HEIGHTS
    assert {feature["properties"]["pitchDegrees"] for feature in document["features"]} == {None}


def test_north_is_zero_degrees_and_not_360(tmp_path: Path) -> None:
    roofs = one_plane(shapely.box(690_000, 5_334_000, 690_010, 5_334_010), UTM, 359.97)
    assert read(tmp_path, roofs)["features"][0]["properties"]["azimuthDegrees"] == 0.0


def test_no_roofs_have_no_box(tmp_path: Path) -> None:
    document = read(tmp_path, no_roofs())
    assert document["features"] == []
    assert "bbox" not in document


def test_a_plane_on_the_date_line_is_cut(tmp_path: Path) -> None:
    # Taveuni, Fiji, in UTM 60 south: 180 degrees is at about 819 km east.
    to_utm = Transformer.from_crs("EPSG:4326", "EPSG:32760", always_xy=True)
    east, north = to_utm.transform(180.0, -16.8)
    square = shapely.box(east - 10, north - 5, east + 10, north + 5)
    document = read(tmp_path, one_plane(square, "EPSG:32760"))
    (feature,) = document["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    shape = shapely.geometry.shape(feature["geometry"])
    western, eastern = sorted(shape.geoms, key=lambda part: -part.centroid.x)
    assert western.bounds[2] == 180.0
    assert eastern.bounds[0] == -180.0
    assert western.area + eastern.area == pytest.approx(20 * 10 / 111_320**2 / 0.957, rel=0.02)
    assert all(part.exterior.is_ccw for part in shape.geoms)
    # Section 5.2: west is the larger.
    assert feature["bbox"] == document["bbox"]
    assert feature["bbox"][0] > 179.999
    assert feature["bbox"][2] < -179.999


def test_pixels_are_not_called_geojson(tmp_path: Path) -> None:
    (path,) = write_geojson(tmp_path, make_roofs(crs=None), ORIGIN)
    assert path.name == "village_roofs_pixels.json"
    document = json.loads(path.read_text())
    assert "type" not in document
    assert document["note"].startswith("Not GeoJSON: the photo has no georeference.")
    assert [len(document[name]) for name in ("buildings", "planes", "lines")] == [3, 7, 20]
    garage = document["planes"][6]
    assert garage["groundAreaMeters2"] == 15.0
    # 20 m east, 10 m north of the lower left corner of 400 px of 0.1 m; 5 x 3 m.
    assert shapely.Polygon(garage["pixels"][0]).bounds == (175.0, 285.0, 225.0, 315.0)


def test_a_site_without_a_place_on_earth_is_refused(tmp_path: Path) -> None:
    site = 'LOCAL_CS["site",UNIT["metre",1]]'
    with pytest.raises(DataError, match=r"no map leads to longitude and latitude.*leave out"):
        write_geojson(tmp_path, make_roofs(crs=site), ORIGIN)


def one_plane(polygon: shapely.Polygon, crs: str, azimuth: float = 0.0) -> Roofs:
    plane = Plane(1, 1, polygon, azimuth, 1.0, None, None, None, polygon.area, None, 1.0)
    building = Building(1, polygon, polygon.area, azimuth)
    return Roofs("one", crs, 0.1, (plane,), (), (building,))
