"""Photos in, answers out: the same as `predict` writes, and a line for what cannot be answered."""

import io
import json
import sqlite3

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from app.__main__ import main
from app.roofs.answers.answerer import load_answerer
from app.roofs.answers.question import read_question
from app.roofs.answers.refusal import Refusal
from tests.inference.test_predict import photo_of, write_photo
from tests.support.fakes import write_raster
from tests.support.models import write_model

pytestmark = pytest.mark.usefixtures("shallow")

GPKG = "application/geopackage+sqlite3"


@pytest.fixture(scope="module")
def model_dir(module_path):
    return write_model(module_path / "model", sharpness=10)


@pytest.fixture(scope="module")
def answerer(model_dir):
    return load_answerer(model_dir, "cpu", "fp32", max_photo_px=20_000)


@pytest.fixture(scope="module")
def photo(module_path):
    return write_photo(module_path / "house.tif").read_bytes()


@pytest.fixture(scope="module")
def predicted(module_path, model_dir, photo):
    """What `predict` writes of the photo."""
    path, out = module_path / "photos/house.tif", module_path / "out"
    path.parent.mkdir()
    path.write_bytes(photo)
    words = ["--precision=fp32", "--device=cpu", "--format=gpkg,geojson"]
    assert main(["predict", str(path), f"--model={model_dir}", f"--out={out}", *words]) == 0
    return {file.name: file.read_bytes() for file in out.iterdir()}


def ask(answerer, photo, accept=None, attributes="name=house", photo_type="image/tiff"):
    return answerer.answer(photo, photo_type, read_question(accept, attributes))


@pytest.mark.parametrize("layer", ["planes", "lines", "buildings"])
def test_geojson_is_that_of_predict(answerer, photo, predicted, layer):
    answer = ask(answerer, photo, attributes=f"name=house;layer={layer}")
    assert answer.content == predicted[f"house_{layer}.geojson"]
    assert answer.content_type == "application/geo+json"
    assert (answer.width_px, answer.height_px) == (96, 96)
    assert json.loads(answer.content)["features"]


def test_the_take_off_is_that_of_predict(answerer, photo, predicted):
    answer = ask(answerer, photo, "application/json")
    assert answer.content == predicted["house_takeoff.json"]


def test_all_layers_in_one(answerer, photo, predicted):
    content = json.loads(ask(answerer, photo, attributes="layer=all").content)
    layers = [feature["properties"]["layer"] for feature in content["features"]]
    for name in ("buildings", "planes", "lines"):
        features = json.loads(predicted[f"house_{name}.geojson"])["features"]
        assert layers.count(name) == len(features) > 0
    ids = [feature["id"] for feature in content["features"]]
    assert len(set(ids)) == len(ids)
    assert ids[0] == "buildings/1"


def test_a_geopackage_has_the_layers_of_predict(answerer, photo, predicted, tmp_path):
    tables = []
    for number, content in enumerate((ask(answerer, photo, GPKG).content,
                                      predicted["house_roofs.gpkg"])):  # fmt: skip
        path = tmp_path / f"{number}.gpkg"
        path.write_bytes(content)
        with sqlite3.connect(path) as database:
            tables.append(
                [database.execute(f"SELECT * FROM {name}").fetchall()
                 for name in ("buildings", "planes", "lines")]
            )  # fmt: skip
    assert tables[0] == tables[1]
    assert ask(answerer, photo, GPKG).content == ask(answerer, photo, GPKG).content


@pytest.mark.parametrize("layer", ["segments", "height"])
def test_rasters_have_the_pixels_of_predict(answerer, photo, predicted, layer):
    answer = ask(answerer, photo, "image/tiff", f"layer={layer}")
    with (
        rasterio.open(io.BytesIO(answer.content)) as got,
        rasterio.open(io.BytesIO(predicted[f"house_{layer}.tif"])) as expected,
    ):
        assert np.array_equal(got.read(), expected.read(), equal_nan=layer == "height")
        assert (got.transform, got.crs) == (expected.transform, expected.crs)


def test_a_picture_has_the_colours_of_the_classes(answerer, photo, predicted):
    answer = ask(answerer, photo, "image/png")
    with (
        rasterio.open(io.BytesIO(answer.content)) as got,
        rasterio.open(io.BytesIO(predicted["house_segments.tif"])) as expected,
    ):
        assert np.array_equal(got.read(1), expected.read(1))
        colours = expected.colormap(1)
        assert all(got.colormap(1)[number][:3] == colours[number][:3] for number in range(18))


def test_turns_change_the_answer(answerer, photo):
    once = ask(answerer, photo, "image/tiff", "layer=height").content
    twice = ask(answerer, photo, "image/tiff", "layer=height;tta=2").content
    with rasterio.open(io.BytesIO(twice)) as file:
        assert file.tags()["TTA"] == "2"
    assert once == ask(answerer, photo, "image/tiff", "layer=height;tta=1").content


def test_without_georeference_it_is_not_called_geojson(answerer, tmp_path):
    photo = write_raster(tmp_path / "a.png", photo_of()).read_bytes()
    answer = ask(answerer, photo, attributes="gsd_m=0.1", photo_type="image/png")
    assert answer.content_type == "application/json"
    assert json.loads(answer.content)["note"].startswith("Not GeoJSON: the photo has no georef")


def test_a_photo_of_one_pixel_is_answered(answerer, tmp_path):
    photo = write_photo(tmp_path / "a.tif", photo_of()[:, :1, :1]).read_bytes()
    answer = ask(answerer, photo)
    assert (answer.width_px, answer.height_px) == (1, 1)
    assert json.loads(answer.content)["type"] == "FeatureCollection"


def test_doubts_are_told(answerer, tmp_path):
    place = {"transform": Affine(0.4, 0, 691000, 0, -0.4, 5334000)}
    photo = write_photo(tmp_path / "a.tif", photo_of()[:, :20, :20], **place).read_bytes()
    assert any("it has 0.4 m per pixel" in doubt for doubt in ask(answerer, photo).doubts)


def test_a_file_is_moved_and_nothing_is_left(answerer, photo, tmp_path, monkeypatch):
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = tmp_path / "upload"
    path.write_bytes(photo)
    assert ask(answerer, path).content == ask(answerer, photo).content
    assert not path.exists()
    with pytest.raises(Refusal):
        ask(answerer, photo[:2000])
    assert list(scratch.iterdir()) == []


def refuse(answerer, photo, **options):
    with pytest.raises(Refusal) as got:
        ask(answerer, photo, **options)
    assert "/" not in str(got.value).partition(":")[0]  # no folder that nobody knows
    return got.value.status, str(got.value)


def test_bytes_cut_off_are_refused(answerer, photo):
    status, line = refuse(answerer, photo[: len(photo) // 2])
    assert status == 422
    assert line.startswith("house.tif: got an unreadable file (")


def test_a_photo_without_scale_is_refused(answerer, tmp_path):
    photo = write_raster(tmp_path / "a.png", photo_of()).read_bytes()
    assert refuse(answerer, photo, photo_type="image/png") == (
        422,
        "house.png: got no word of its scale, expected a georeference in the file; give metres per "
        "pixel in the header X-Amzn-SageMaker-Custom-Attributes: gsd_m=0.1",
    )


def test_a_photo_of_other_bands_is_refused(answerer, tmp_path):
    photo = write_photo(tmp_path / "a.tif", photo_of()[:1]).read_bytes()
    status, line = refuse(answerer, photo)
    assert status == 422
    assert line.startswith("house.tif: got 1 band of uint8 (gray), expected 3 bands")


def test_a_place_that_is_none_is_refused(answerer, tmp_path):
    photo = write_photo(
        tmp_path / "a.tif", transform=Affine(0.1, 0, 1e9, 0, -0.1, 1e9)
    ).read_bytes()
    assert refuse(answerer, photo)[0] == 422


@pytest.mark.parametrize(
    ("pixels", "transform", "words"),
    [
        ((3, 200, 200), {}, "house.tif: got 200 x 200 px, expected at most 20000 px in all"),
        (
            (3, 60, 60),
            {"transform": Affine(1, 0, 691000, 0, -1, 5334000)},
            "house.tif: got 600 x 600 px at 0.1 m, expected at most 20000 px in all; send it in",
        ),
    ],
    ids=["as it is", "at the model's scale"],
)
def test_more_pixels_than_fit_are_refused_by_the_header(
    answerer, tmp_path, pixels, transform, words
):
    photo = write_photo(tmp_path / "a.tif", np.zeros(pixels, np.uint8), **transform).read_bytes()
    status, line = refuse(answerer, photo)
    assert status == 422
    assert line.startswith(words)


def test_a_bomb_is_refused_before_it_is_unpacked(answerer, tmp_path):
    """50,000 x 50,000 px in some kilobytes."""
    path = tmp_path / "a.tif"
    size = {"height": 50_000, "width": 50_000, "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:25832", "transform": Affine(0.1, 0, 0, 0, -0.1, 0)}
    stored = {"driver": "GTiff", "sparse_ok": True, "tiled": True, "compress": "deflate"}
    rasterio.open(path, "w", **size, **place, **stored).close()
    assert path.stat().st_size < 2_000_000
    status, line = refuse(answerer, path.read_bytes())
    assert status == 422
    assert line.startswith("house.tif: got 50000 x 50000 px, expected at most 20000 px")


def test_what_the_model_was_not_taught_is_refused(answerer, photo):
    status, line = refuse(
        answerer, photo, accept="image/tiff", attributes="layer=superstructures;name=house"
    )
    assert status == 422
    assert "layer is superstructures, but the model was not trained on it; expected one of" in line
