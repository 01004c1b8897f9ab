"""What a request asks for, and what it is told where it cannot be read."""

import pytest

from app.roofs.answers.question import (
    Question,
    check_photo_type,
    choose_answer_type,
    find_ending,
    read_question,
)
from app.roofs.answers.refusal import Refusal

GEOJSON, GPKG = "application/geo+json", "application/geopackage+sqlite3"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, GEOJSON),
        ("", GEOJSON),
        ("*/*", GEOJSON),
        ("application/*", GEOJSON),
        ("image/*", "image/tiff"),
        ("Image/PNG", "image/png"),
        (GPKG, GPKG),
        ("application/json, application/geo+json", "application/json"),
        ("application/geo+json;q=0.5, image/tiff", "image/tiff"),
        ("text/html, application/xml;q=0.9, */*;q=0.8", GEOJSON),
        ("*/*, image/png", "image/png"),  # named exactly
        ("application/geo+json;q=0, application/*", GPKG),
    ],
)
def test_the_type_that_a_client_likes_best(accept, expected):
    assert choose_answer_type(accept) == expected


@pytest.mark.parametrize("accept", ["text/csv", "application/geo+json;q=0", "image/png;q=high"])
def test_types_that_nobody_makes_are_refused(accept):
    with pytest.raises(Refusal, match=r"^Accept: got '.*', expected one of application/geo") as got:
        choose_answer_type(accept)
    assert got.value.status == 406


def test_attributes_are_read():
    attributes = "gsd_m=0.1; tta=8;name=house-1.a;layer=lines"
    assert read_question(GEOJSON, attributes) == Question(GEOJSON, "lines", 0.1, 8, "house-1.a")
    assert read_question(None, None) == Question(GEOJSON, "planes", None, 1, "photo")
    assert read_question("image/tiff", "").layer == "segments"
    assert read_question("application/json", "tta=2,gsd_m=0.2") == Question(
        "application/json", "", 0.2, 2
    )


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("gsd_m=12", "gsd_m is '12', expected 0.01 to 1 metres per pixel"),
        ("gsd_m=nan", "gsd_m is 'nan', expected 0.01 to 1 metres per pixel"),
        ("tta=3", "tta is '3', expected 1, 2, 4 or 8"),
        ("name=../a", "name is '../a', expected at most 100 letters"),
        ("name=", "name is '', expected at most 100 letters"),
        ("layer=height", "layer is 'height', expected one of planes, buildings, lines, all"),
        ("gsd_m", "got 'gsd_m', expected gsd_m=METRES, tta=1|2|4|8"),
        ("GSD=0.1", "got 'GSD=0.1', expected gsd_m=METRES"),
    ],
)
def test_attributes_that_cannot_be_used_are_refused(attributes, message):
    with pytest.raises(Refusal) as got:
        read_question(None, attributes)
    assert got.value.status == 400
    assert str(got.value).startswith(f"X-Amzn-SageMaker-Custom-Attributes: {message}")


def test_a_take_off_has_no_layers():
    with pytest.raises(Refusal, match="layer is 'planes', expected none for application/json"):
        read_question("application/json", "layer=planes")


def test_types_of_photos():
    assert check_photo_type("image/TIFF; profile=cog") == "image/tiff"
    with pytest.raises(Refusal, match=r"^Content-Type: got 'text/plain', expected one of ") as got:
        check_photo_type("text/plain")
    assert got.value.status == 415


@pytest.mark.parametrize(
    ("beginning", "photo_type", "ending"),
    [
        (b"II*\0\x08\0\0\0", "image/tiff", ".tif"), (b"MM\0*\0\0\0\x08", "image/tiff", ".tif"),
        (b"II+\0\x08\0\0\0", "application/x-image", ".tif"),
        (b"\x89PNG\r\n\x1a\n", "image/png", ".png"),
        (b"\xff\xd8\xff\xe0\0\x10JF", "application/x-image", ".jpg"),
    ],
)  # fmt: skip
def test_photos_are_known_by_their_beginning(beginning, photo_type, ending):
    assert find_ending(beginning, photo_type) == ending


@pytest.mark.parametrize(
    ("beginning", "photo_type", "message"),
    [
        (b"", "image/tiff", "body: got nothing, expected image/tiff"),
        (b"<html>", "image/png", "body: got bytes that are no TIFF, PNG or JPEG, expected"),
        (b"\x89PNG\r\n\x1a\n", "image/tiff", "body: got image/png, expected image/tiff"),
        (b"PK\3\4", "application/x-image", "body: got bytes that are no TIFF, PNG or JPEG, "),
    ],
)
def test_other_bytes_are_refused(beginning, photo_type, message):
    with pytest.raises(Refusal) as got:
        find_ending(beginning, photo_type)
    assert got.value.status == 400
    assert str(got.value).startswith(message)
