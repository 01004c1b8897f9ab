"""Folders as people's tools leave them: read rightly, or refused in a line that says what to do."""

import json
import logging
import sqlite3

import numpy as np
import pytest
import rasterio
import shapely

from app.data.own.dataset import OwnDataset
from app.data.own.export_names import without_address
from tests.support.audit import make_audit, only
from tests.support.fakes import write_raster
from tests.support.own import (
    UTM,
    hip_roof,
    hip_roofs,
    message_of,
    place_of,
    write_layer,
    write_photo,
    write_village,
)


@pytest.fixture
def village(tmp_path):
    return write_village(tmp_path / "dataset")


@pytest.fixture(scope="module")
def roofs():
    """Planes of the village, and the bearings in which they run down."""
    return hip_roofs(6)


def num_directed(root):
    photos = OwnDataset(root, "all").catalogue.photos
    return sum(int(np.isfinite(photo.roofs.azimuth_deg).sum()) for photo in photos)


def test_layers_may_say_what_they_hold_in_a_part_of_their_names(village, roofs):
    (village / "roofs.gpkg").unlink()
    planes, bearings = roofs
    lines = [shapely.LineString(plane.exterior.coords[:2]) for plane in planes]
    path = write_layer(village / "roofs.gpkg", planes, layer="Roof_Planes", azimuth=bearings)
    kinds = ["Giebel"] * len(lines)
    write_layer(path, lines, layer="roof lines", append=True, kind=kinds)
    catalogue = OwnDataset(village, "all").catalogue
    assert [(layer.kind, layer.num_features) for layer in catalogue.layers] == [
        ("planes", 24), ("lines", 24),
    ]  # fmt: skip
    assert not catalogue.bad_features
    assert all(photo.roofs.is_rake.all() for photo in catalogue.photos)
    assert catalogue.contents[0].endswith("; lines: 24 rake")
    write_layer(path, planes, layer="old planes", append=True)
    assert f"no layer of planes in {path} (layers Roof_Planes, roof lines, old planes)" in (
        message_of(village)
    )


@pytest.mark.parametrize("write", ["{:.0f}°", "{:.1f} º", "{:.0f}˚", "{:.0f} deg", "{:.2f}"])
def test_azimuths_may_be_texts_with_a_unit_and_a_comma(village, roofs, write):
    planes, bearings = roofs
    (village / "roofs.gpkg").unlink()
    texts = [write.format(bearing).replace(".", ",") for bearing in bearings]
    write_layer(village / "planes.gpkg", planes, Azimuth_Dach=texts)
    assert num_directed(village) == 24


def test_points_of_the_compass_may_be_words(village):
    (village / "roofs.gpkg").unlink()
    planes = [plane for n in range(6) for plane in hip_roof(*place_of(n), 22.5)[0]]
    words = ["north-north-east", "East South East", "SSW", "wnw"] * 6
    write_layer(village / "planes.gpkg", planes, azimuth=words)
    (photo, *_) = OwnDataset(village, "all").catalogue.photos
    expected = [22.5, 112.5, 202.5, 292.5]
    assert sorted(photo.roofs.azimuth_deg % 360) == pytest.approx(expected, abs=0.01)


def test_what_is_no_azimuth_says_so_before_conventions_do(village, roofs):
    planes, bearings = roofs
    (village / "roofs.gpkg").unlink()
    # O is east in German, and west in French.
    stored = ["O" if bearing > 25 else f"{bearing}" for bearing in bearings]
    write_layer(village / "planes.gpkg", planes, azimuth=stored)
    message = message_of(village)
    assert "planes have an azimuth that is none (" in message
    assert "got azimuth O, expected degrees from -360 to 360, or N, NNE .. NNW" in message
    assert message.count("got azimuth O") == 1


def test_too_many_bad_features_are_shown_by_a_few(village, roofs):
    planes, _ = roofs
    (village / "roofs.gpkg").unlink()
    write_layer(village / "planes.gpkg", planes, azimuth=["?"] * 24)
    message = message_of(village)
    assert message.count("got azimuth ?") == 3
    assert message.endswith("; and 21 more, which check-data --own lists")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"slope": ["6/12"] * 24}, "field slope: 24 of 24 values are no degrees, such as 6/12"),
        ({"flat": ["vielleicht"] + ["nein"] * 23}, "field flat: 1 of 24 values are neither true"),
        ({"tilt": [0.0] * 24}, "every plane is flat by a pitch of 0 to 3 degrees or by its flag"),
    ],
)
def test_other_fields_that_mean_nothing_are_said(village, roofs, fields, expected):
    planes, bearings = roofs
    (village / "roofs.gpkg").unlink()
    write_layer(village / "planes.gpkg", planes, azimuth=bearings, **fields)
    (doubt,) = OwnDataset(village, "train").doubts
    assert expected in doubt


def test_flat_may_be_said_in_german(village, roofs):
    planes, bearings = roofs
    (village / "roofs.gpkg").unlink()
    flags = ["ja"] * 4 + ["nein"] * 20
    write_layer(village / "planes.gpkg", planes, azimuth=bearings, flat=flags)
    photos = OwnDataset(village, "all").catalogue.photos
    assert [int(photo.roofs.is_flat.sum()) for photo in photos] == [4, 0, 0, 0, 0, 0]


def open_database(path):
    database = sqlite3.connect(path, isolation_level=None)
    for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):  # asked by triggers
        database.create_function(name, 1, lambda _: 0)
    return database


def save_into_a_log(database):
    database.execute("PRAGMA journal_mode=wal")
    database.execute("DELETE FROM planes WHERE fid = 24")


def change_half(database):
    database.execute("PRAGMA cache_size=1")
    database.execute("BEGIN IMMEDIATE")
    database.execute("DELETE FROM planes WHERE fid = 24")
    database.execute("CREATE TABLE more (content)")
    for _ in range(100):  # until what memory does not hold is written
        database.execute("INSERT INTO more VALUES (randomblob(4000))")


@pytest.mark.parametrize(
    ("end", "change", "num_planes"), [("-wal", save_into_a_log, 23), ("-journal", change_half, 24)]
)
def test_a_geopackage_that_another_program_holds_is_read_whole_and_left_alone(
    village, end, change, num_planes
):
    path = village / "roofs.gpkg"
    database = open_database(path)
    change(database)
    files = {name: (village / name).read_bytes() for name in (path.name, f"{path.name}{end}")}
    database.close()
    # As a copy made meanwhile, or after a crash: nobody else has the file open.
    for name, content in files.items():
        (village / name).write_bytes(content)
    planes = OwnDataset(village, "all").catalogue.layers[0]
    assert (planes.num_features, planes.path) == (num_planes, path)
    assert {each.name: each.read_bytes() for each in village.glob("roofs*")} == files


def test_a_log_that_is_no_file_is_refused(village):
    (village / "roofs.gpkg-wal").mkdir()
    assert "roofs.gpkg-wal: got a folder, expected a file" in message_of(village)


def test_shapes_of_no_use_say_why(village, roofs):
    (village / "roofs.gpkg").unlink()
    planes = [shapely.GeometryCollection([plane]) for plane in roofs[0]]
    write_layer(village / "planes.gpkg", planes)
    assert "such as 1: a GeometryCollection, expected a polygon" in message_of(village)


def test_a_photo_whose_infrared_is_called_alpha_is_set_aside(village):
    with rasterio.open(village / "photos/3.tif") as photo:
        bands, transform = photo.read(), photo.transform
    infrared = np.full_like(bands[:1], 90)
    write_raster(
        village / "photos/3.tif", np.concatenate((bands, infrared)),
        crs=UTM, transform=transform, photometric="RGB", alpha="YES",
    )  # fmt: skip
    (bad,) = OwnDataset(village, "all").missing
    assert bad.sample_id == "3"
    assert "got alpha between 90 and 90, most of it neither 0 nor 255" in bad.reason


def test_photos_of_other_bits_are_known_at_the_start(village):
    for number in range(6):
        with rasterio.open(village / f"photos/{number}.tif") as photo:
            bands, transform = photo.read(), photo.transform
        write_raster(
            village / f"photos/{number}.tif", bands.astype(np.uint16) * 257,
            crs=UTM, transform=transform, photometric="RGB",
        )  # fmt: skip
    message = message_of(village)
    assert "none of 6 photos can be used, such as: " in message
    assert message.count("got 3 bands of uint16") == 3
    assert "`gdal_translate -ot Byte -scale 0.tif eight_bits.tif`" in message


def world(village, name, text="0.1\n0\n0\n-0.1\n690000\n5334000\n"):
    """A PNG without a place in the third photo's stead, and a world file."""
    with rasterio.open(village / "photos/3.tif") as photo:
        bands = photo.read()
    (village / "photos/3.tif").unlink()
    write_raster(village / "photos/3.png", bands)
    (village / f"photos/{name}").write_text(text)
    return OwnDataset(village, "all")


def test_a_world_file_of_another_name_is_named_with_the_right_one(village):
    (bad,) = world(village, "3.tfw").missing
    assert "if 3.tfw is its world file, call it 3.pgw or 3.pngw or 3.wld" in bad.reason


def test_a_world_file_in_another_system_than_the_shapes_says_whose_was_taken(village):
    (bad,) = world(village, "3.PGW", "0.1\n0\n0\n-0.1\n1e9\n5334000\n").missing
    assert (
        "got no coordinate reference system, and in EPSG:25832, that of the shapes," in bad.reason
    )


def test_where_photos_should_lie_is_said(village):
    (village / "photos").rename(village / "images")
    assert f"got images; roofs.gpkg in {village}, expected .tif, .jpg or .png files in photos/" in (
        message_of(village)
    )
    (village / "images/2024").mkdir()
    (village / "images").rename(village / "photos")
    for photo in (village / "photos").glob("*.tif"):
        photo.rename(village / "photos/2024" / photo.name)
    assert f"got 2024 in {village}/photos, expected" in message_of(village)
    assert "name the folder that this file is in" in message_of(village / "roofs.gpkg")


def test_another_json_beside_the_shapes_may_be_moved_away(village):
    (village / "about.json").write_text(json.dumps({"author": "me"}))
    assert "a JSON file of another kind" in message_of(village)
    assert message_of(village).endswith(
        "move it away, or export it again as COCO 1.0, with polygons"
    )


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("photos\\7.jpg", "photos\\7.jpg"),
        ("/home/me/photos/7.jpg", "/home/me/photos/7.jpg"),
        ("C:\\photos\\7.jpg", "C:\\photos\\7.jpg"),
        ("is it?d=so.jpg", "is it?d=so.jpg"),
        ("/data/local-files/?d=my%20roofs%2F7.jpg", "my roofs/7.jpg"),
        ("/data/upload/3/1a2b3c4d-7.jpg", "/data/upload/3/1a2b3c4d-7.jpg"),
        ("s3://bucket/roofs/7.jpg", "/roofs/7.jpg"),
        ("https://host/my%20roofs/7.jpg?X-Amz-Signature=a%2Fb", "/my roofs/7.jpg"),
        ("http://[host/7.jpg", "http://[host/7.jpg"),
    ],
)
def test_names_that_are_addresses_lead_to_the_photo(name, path):
    assert without_address(name) == path


def test_the_audit_shows_a_line_that_names_no_remedy_as_what_is_wrong(tmp_path):
    village = write_village(tmp_path / "dataset")
    write_photo(village / "photos/9.jpg.tif", *place_of(9))
    (village / "splits.csv").write_text("photo,split\n0,train\n1,validation\n")
    severity, _, what = only(make_audit(tmp_path)("own"), "cannot be used")
    assert severity == "error"
    assert what.startswith(f"Own roofs: {village}/splits.csv: row 2: got 1,validation, expected")


def test_reading_warns_of_nothing_that_is_in_order(village, caplog):
    caplog.set_level(logging.WARNING)
    OwnDataset(village, "train").tell()
    assert not caplog.records
