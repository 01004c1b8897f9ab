"""Damaged folders end in one line, and bad features are named by layer, id, photo and reason."""

import json

import numpy as np
import pytest
import shapely

from app.data.own.dataset import OwnDataset
from tests.support import own


@pytest.fixture
def village(tmp_path):
    return own.write_village(tmp_path / "dataset")


def rewrite(root, name="planes.gpkg", extra=(), **changes):
    """The village's planes in a file of their own, with some more."""
    (root / "roofs.gpkg").unlink()
    planes, bearings = own.hip_roofs(6)
    fields = {"azimuth": [*bearings, *[0.0] * len(extra)], **changes}
    return own.write_layer(root / name, [*planes, *extra], **fields)


def test_every_kind_of_bad_feature_is_set_aside_by_layer_id_photo_and_reason(village):
    east, north = own.place_of(2)
    at = np.array([east, north])
    extra = [
        None,
        shapely.Polygon(),
        shapely.Point(at),
        shapely.Polygon(np.add([(0, 0), (2, 0), (0, 2), (2, 2)], at)),
        shapely.Polygon(np.add([(0, 0, 1), (2, 0, 1), (2, 0, 4), (0, 0, 4)], (*at, 0))),
    ]
    _, bearings = own.hip_roofs(6)
    stored = [*bearings, *[0.0] * len(extra)]
    stored[5] = 9783740757026710.0
    rewrite(village, extra=extra, azimuth=stored)
    dataset = OwnDataset(village, "train", max_bad_fraction=0.5)
    bad = {feature.fid: feature for feature in dataset.catalogue.bad_features}
    assert {fid: feature.got.split(" (")[0] for fid, feature in bad.items()} == {
        25: "no geometry",
        26: "no geometry",
        27: "a Point, expected a polygon",
        28: "an invalid Polygon",
        29: "a shape without extent in plan, such as a wall",
        6: "azimuth 9783740757026710.0, expected degrees from -360 to 360, or N, NNE .. NNW: the "
        "plane is taken as some roof",
    }
    assert "Self-intersection" in bad[28].got
    assert bad[28].reason.startswith(
        f"{village}/planes.gpkg: layer planes, feature 28, on photo 2: got an invalid Polygon"
    )
    assert bad[6].photo == "1"
    assert all(feature.remedy for feature in bad.values())


def test_too_many_bad_features_stop_with_all_of_them(village):
    rewrite(village, extra=[None, None, None])
    assert "3 of 27 features cannot be used as they are, at most 1 may be bad" in own.message_of(
        village
    )
    assert "planes.gpkg: layer planes, feature 26: got no geometry;" in own.message_of(village)


def test_lines_of_unknown_kinds_are_named_and_unknown(village):
    east, north = own.place_of(0)
    lines = [shapely.LineString([(east, north), (east + 4, north)])] * 2
    own.write_layer(
        village / "roofs.gpkg", lines, layer="lines", append=True, kind=["ridge", "crest"]
    )
    (feature,) = OwnDataset(village, "train").catalogue.bad_features
    assert feature.place == f"{village}/roofs.gpkg: layer lines, feature 2, on photo 0"
    assert feature.got.startswith("kind crest, expected eave, rake, ridge, hip, valley or other")


def test_swapped_axes_are_recognised(village):
    planes, _ = own.hip_roofs(6)
    swapped = [
        shapely.transform(p, lambda xy: xy[:, ::-1])
        for p in own.moved(planes, own.UTM, "EPSG:4326")
    ]
    (village / "roofs.gpkg").unlink()
    own.write_layer(village / "planes.gpkg", swapped, "EPSG:4326")
    assert "got coordinates whose axes are swapped" in own.message_of(village)
    assert "planes.gpkg: layer planes: no plane lies on any of 6 photos" in own.message_of(village)


def test_another_reference_system_than_the_file_says_is_recognised(village):
    (village / "roofs.gpkg").unlink()
    own.write_layer(village / "planes.fgb", own.hip_roofs(6)[0], "EPSG:25833")
    assert "got coordinates of EPSG:25832 in a file that says EPSG:25833" in own.message_of(village)
    assert "`ogr2ogr -a_srs EPSG:25832 right.gpkg planes.fgb`" in own.message_of(village)


def test_shapes_of_another_place_say_where_both_are(village):
    (village / "roofs.gpkg").unlink()
    far = [
        shapely.transform(plane, lambda xy: np.add(xy, (5000, 0))) for plane in own.hip_roofs(6)[0]
    ]
    own.write_layer(village / "planes.gpkg", far)
    assert "got planes in (69499" in own.message_of(village)
    assert "where 0.tif lies; see that both are of one place" in own.message_of(village)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("planes.gpkg", b"", "got an empty file, expected one of the format gpkg; export it again"),
        ("planes.geojson", b'{"type": "FeatureCollection", "features": [', "cannot be read"),
        ("planes.fgb", b"fgb\x03fgb\x00 and then nothing", "got no layers, expected a whole file"),
        ("planes.shp", b"PK\x03\x04", "got a file that begins with b'PK"),
        ("buildings.geojson", b"{}", "call it planes, lines, areas or roofs, or move it away"),
    ],
)
def test_damaged_files_end_in_one_line(village, name, content, expected):
    (village / "roofs.gpkg").unlink()
    (village / name).write_bytes(content)
    assert expected in own.message_of(village)
    assert f"{village}/{name}" in own.message_of(village)


def test_missing_parts_are_said(tmp_path):
    assert "folder not found" in own.message_of(tmp_path / "nowhere")
    (tmp_path / "photos").mkdir()
    assert (
        f"no photos in {tmp_path}/photos: got nothing in {tmp_path}/photos, expected .tif, .jpg or "
        ".png files in photos/ itself; move or convert them; no shapes in"
        in own.message_of(tmp_path)
    )
    own.write_photo(tmp_path / "photos/1.tif", *own.place_of(0))
    own.write_layer(tmp_path / "roofs.gpkg", own.hip_roofs(6)[0], layer="roof_polygons")
    own.write_layer(tmp_path / "roofs.gpkg", own.hip_roofs(6)[0], layer="buildings", append=True)
    assert "got the layers roof_polygons, buildings, expected one called planes" in own.message_of(
        tmp_path
    )


def test_a_layer_that_is_there_twice_and_one_without_a_system(village):
    planes, bearings = own.hip_roofs(6)
    own.write_layer(
        village / "planes.geojson", own.moved(planes, own.UTM, "EPSG:4326"), "EPSG:4326"
    )
    assert "two layers of planes" in own.message_of(village)
    (village / "planes.geojson").unlink()
    (village / "roofs.gpkg").unlink()
    own.write_layer(village / "planes.shp", planes, azimuth=bearings)
    (village / "planes.prj").unlink()
    assert "planes.shp: layer planes names no coordinate reference system" in own.message_of(
        village
    )


def test_lines_without_kinds_are_refused(village):
    line = shapely.LineString([own.place_of(0), own.place_of(1)])
    own.write_layer(village / "roofs.gpkg", [line], layer="lines", append=True, name=["a"])
    assert "layer lines: got the fields name, expected kind" in own.message_of(village)


def test_a_photo_that_cannot_be_used_is_set_aside_and_named(village):
    (village / "photos/3.tif").write_bytes(b"no photo")
    (village / "photos/9.png").write_bytes((village / "photos/2.tif").read_bytes())
    dataset = OwnDataset(village, "train")
    assert {bad.sample_id for bad in dataset.missing} == {"3", "9"}
    assert all("\n" not in bad.reason for bad in dataset.missing)
    assert len(dataset.catalogue.photos) == 5


def test_a_vector_file_that_leads_elsewhere_is_refused(village):
    outside = village.parent / "outside.geojson"
    outside.write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    (village / "roofs.gpkg").unlink()
    (village / "planes.geojson").symlink_to(outside)
    assert "a link that leads out of the dataset's folder" in own.message_of(village)
