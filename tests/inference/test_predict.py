"""Photos in, rasters out: the values in them, what is done again, and what fails."""

import json
import logging
import shutil

import numpy as np
import pytest
import rasterio
import torch
from rasterio import Affine

from app.base.azimuth import class_to_degrees
from app.base.errors import CheckpointError, ConfigError
from app.data.colours import KnownColours, measure_colours
from app.inference.predict import Request, find_photos, predict_photos
from app.inference.record import RECORD_FILE
from app.inference.trained import load_network
from app.model.devices import Compute
from app.model.export import DESCRIPTION_FILE, MODEL_FILE, load_exported_model
from tests.support.fakes import gable, photograph, write_raster
from tests.support.models import write_model
from tests.support.synthetic import files_of

pytestmark = pytest.mark.usefixtures("shallow")

COMPUTE = Compute(torch.device("cpu"))
UTM = Affine(0.1, 0, 691000, 0, -0.1, 5334000)
SIDE = 96
NAMES = ("segments", "lines", "height", "uncertainty")
NEVER = lambda: False  # noqa: E731


@pytest.fixture(scope="module")
def model_dir(module_path):
    return write_model(module_path / "model", sharpness=10)


@pytest.fixture(scope="module")
def network(model_dir):
    return load_network(model_dir, 1, COMPUTE)


def photo_of(seed=0, side=SIDE):
    return photograph(gable(side, 45.0 * seed), seed)


def write_photo(path, pixels=None, **options):
    place = {"transform": UTM, "crs": "EPSG:32632"}
    return write_raster(path, photo_of() if pixels is None else pixels, **{**place, **options})


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def predict(network, photos, out, stop=NEVER, **options):
    out.mkdir(exist_ok=True)
    return predict_photos(network, find_photos(photos, out), Request(out, **options), stop)


@pytest.fixture(scope="module")
def expected(model_dir):
    """What the network says of a photo when it is asked directly."""
    model, _ = load_exported_model(model_dir)
    with torch.inference_mode():
        logits = model.eval()(torch.from_numpy(photo_of())[None])
    return {name: values[0] for name, values in logits.items()}


def test_rasters_hold_what_the_network_says(tmp_path, network, expected):
    photo = write_photo(tmp_path / "house.tif")
    assert predict(network, [photo], tmp_path / "out") == 0
    segments, lines, height, doubts = (read(tmp_path / f"out/house_{n}.tif") for n in NAMES)
    shares = expected["segments"].softmax(0).numpy()
    assert (segments[0] == shares.argmax(0)).mean() > 0.999
    assert np.abs(lines / 200 - expected["lines"].sigmoid().numpy()).max() <= 0.0026
    assert np.abs(height - expected["depth"].numpy()).max() <= 0.0025
    angles = np.radians(class_to_degrees(np.arange(16)))
    east, north = (np.tensordot(part, shares[:16], 1) for part in (np.sin(angles), np.cos(angles)))
    agreement = np.hypot(east, north) / shares[:16].sum(0)
    is_roof = (segments[0] != 17) & (segments[0] == shares.argmax(0))
    assert doubts.shape[0] == 5
    for band, values in zip(doubts[[0, 1]], (shares.max(0), 1 - shares[17]), strict=True):
        assert np.abs(band / 200 - values).max() <= 0.0026
    assert np.abs(doubts[2] / 200 - agreement)[is_roof].max() <= 0.0026
    assert (doubts[2][segments[0] == 17] == 255).all()
    for band, values in zip(doubts[3:], (east, north), strict=True):
        assert np.abs(band * 0.01 - 1 - values).max() <= 0.0051


def test_turns_and_flips_add_the_spread_of_heights(tmp_path, model_dir):
    network = load_network(model_dir, 2, COMPUTE)
    photo = write_photo(tmp_path / "house.tif")
    assert predict(network, [photo], tmp_path / "out") == 0
    pixels = torch.from_numpy(photo_of())[None]
    with torch.inference_mode():
        model = network.predictor.model
        heights = torch.stack((model(pixels)["depth"], model(pixels.flip(-1))["depth"].flip(-1)))
    got = read(tmp_path / "out/house_height.tif")
    assert np.abs(got - heights.mean(0)[0].numpy()).max() <= 0.003
    spread = heights.std(0, unbiased=False)[0, 0].clamp(max=10).numpy()
    doubts = read(tmp_path / "out/house_uncertainty.tif")
    assert np.abs(doubts[5] * 0.05 - spread).max() <= 0.03


def test_what_shows_nothing_is_no_data_in_every_raster(tmp_path, network):
    pixels = np.maximum(photo_of(), 1)
    pixels[:, :, 60:] = 0
    photo = write_photo(tmp_path / "house.tif", pixels, nodata=0)
    assert predict(network, [photo], tmp_path / "out") == 0
    for name in NAMES:
        values = read(tmp_path / f"out/house_{name}.tif")
        is_none = np.isnan(values) if name == "height" else values == 255
        assert is_none[:, :, 60:].all()
        if name != "uncertainty":
            assert not is_none[:, :, :60].any()


def test_windows_without_data_are_not_computed(tmp_path, model_dir):
    network = load_network(model_dir, 1, COMPUTE)
    predictor = network.predictor
    predictor.window_px, predictor.shared_px = 96, 32
    pixels = np.zeros((3, 300, 400), np.uint8)
    pixels[:, 200:260, 30:90] = 90
    asked = []
    run = predictor._run
    predictor._run = lambda images: asked.append(len(images)) or run(images)
    photo = write_photo(tmp_path / "house.tif", pixels, nodata=0)
    assert predict(network, [photo], tmp_path / "out") == 0
    assert 4 <= sum(asked) <= 9
    values = read(tmp_path / "out/house_segments.tif")[0]
    assert (values[200:260, 30:90] != 255).all()
    assert (values != 255).sum() == 3600


def test_a_second_run_does_what_is_missing(tmp_path, network, caplog):
    caplog.set_level(logging.INFO)
    photos, out = tmp_path / "photos", tmp_path / "out"
    for number in range(3):
        write_photo(photos / f"p{number}.tif", photo_of(number))
    assert predict(network, [photos], out) == 0
    first = files_of(out)
    assert len(first) == 3 * 5 + 1
    caplog.clear()
    (out / "p1_height.tif").unlink()
    write_photo(photos / "p2.tif", photo_of(7))
    assert predict(network, [photos], out) == 0
    done = [record.args[0] for record in caplog.records if " files in " in record.getMessage()]
    assert done == ["p1", "p2"]
    again = files_of(out)
    changed = {name for name in first if first[name] != again[name]}
    assert changed - {RECORD_FILE} == {f"p2_{name}.tif" for name in NAMES}
    caplog.clear()
    assert predict(network, [photos], out) == 0
    assert "3 of 3 photos are done already" in caplog.messages
    assert files_of(out) == again
    # Other settings make other files.
    assert predict(network, [photos / "p0.tif"], out, grid="photo") == 0
    assert json.loads((out / RECORD_FILE).read_text())["photos"]["p0"]["made_of"]["grid"] == "photo"


def test_a_stop_ends_after_the_window_and_the_next_run_makes_the_same_files(tmp_path, network):
    photos = [write_photo(tmp_path / f"photos/p{n}.tif", photo_of(n)) for n in range(2)]
    assert predict(network, photos, tmp_path / "whole") == 0
    expected = files_of(tmp_path / "whole")
    out = tmp_path / "out"
    asked = iter([False] * 6 + [True] * 99)
    assert predict(network, photos, out, lambda: next(asked)) == 0
    stopped = files_of(out)
    assert {name[:2] for name in stopped} - {"pr"} == {"p0"}
    assert predict(network, photos, out) == 0
    got = files_of(out)
    assert got.keys() == expected.keys()
    assert got == expected


def test_what_a_killed_run_left_half_written_is_removed(tmp_path, network):
    photo, out = write_photo(tmp_path / "house.tif"), tmp_path / "out"
    assert predict(network, [photo], out) == 0
    whole = files_of(out)
    (out / ".unfinished").mkdir()
    for name in (".unfinished/lines.tif", "house_roofs.gpkg.tmp", f"{RECORD_FILE}.tmp"):
        (out / name).write_bytes(b"half")
    (out / "notes.tmp").write_bytes(b"of somebody else")
    assert predict(network, [photo], out) == 0  # though nothing is missing
    assert files_of(out) == {**whole, "notes.tmp": b"of somebody else"}
    assert not (out / ".unfinished").exists()


def test_a_kill_while_outputs_are_replaced_forgets_none_of_them(tmp_path, network, monkeypatch):
    photo, out = write_photo(tmp_path / "house.tif"), tmp_path / "out"
    further = lambda *_: [write_raster(out / "house_more.png", photo_of())]  # noqa: E731
    assert predict(network, [photo], out, further=further, formats=("gpkg",)) == 0

    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    monkeypatch.setattr("pathlib.Path.unlink", kill)
    with pytest.raises(Killed):
        predict(network, [photo], out)  # without further files
    monkeypatch.undo()
    assert (out / "house_more.png").exists()
    assert predict(network, [photo], out) == 0
    assert not (out / "house_more.png").exists()


def test_a_photo_that_fails_is_named_and_the_others_are_done(tmp_path, network, caplog):
    photos, out = tmp_path / "photos", tmp_path / "out"
    write_photo(photos / "deep.tif", photo_of().astype(np.uint16))
    write_photo(photos / "empty.tif", np.zeros((3, 20, 20), np.uint8), nodata=0)
    write_photo(photos / "good.tif")
    (photos / "text.jpg").write_text("not a photo")
    assert predict(network, [photos], out) == 2
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [error.partition(": got ")[0].rpartition("/")[2] for error in errors] == [
        "deep.tif", "text.jpg", "empty.tif",
    ]  # fmt: skip
    assert all("\n" not in error for error in errors)
    record = json.loads((out / RECORD_FILE).read_text())["photos"]
    assert {name for name, entry in record.items() if "failed" in entry} == {
        "deep", "empty", "text",
    }  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [RECORD_FILE, "good_segments.tif.aux.xml", *(f"good_{name}.tif" for name in NAMES)]
    )


def test_outputs_of_a_photo_that_fails_later_stay(tmp_path, network):
    photo, out = write_photo(tmp_path / "house.tif"), tmp_path / "out"
    predict(network, [photo], out)
    before = {name: data for name, data in files_of(out).items() if name != RECORD_FILE}
    content = photo.read_bytes()
    photo.write_bytes(content[:4000])
    assert predict(network, [photo], out) == 2
    assert {name: data for name, data in files_of(out).items() if name != RECORD_FILE} == before


@pytest.mark.parametrize("grid", ["model", "photo"])
def test_rasters_lie_where_the_photo_does(tmp_path, network, grid):
    transform = Affine(0.25, 0, 691000, 0, -0.25, 5334000)
    photo = write_photo(tmp_path / "house.tif", transform=transform)
    assert predict(network, [photo], tmp_path / "out", grid=grid) == 0
    for name in NAMES:
        with rasterio.open(tmp_path / f"out/house_{name}.tif") as file:
            assert file.crs.to_epsg() == 32632
            assert file.bounds == pytest.approx((691000, 5333976, 691024, 5334000))
            assert file.width == (SIDE if grid == "photo" else 240)
            assert file.tags()["PHOTO_GSD_M"] == "0.249988"


def test_a_photo_unlike_those_of_training_gets_one_warning(tmp_path, network, caplog):
    transform = Affine(0.4, 0, 691000, 0, -0.4, 5334000)
    photo = write_photo(tmp_path / "coarse.tif", transform=transform)
    assert predict(network, [photo], tmp_path / "out") == 0
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "it has 0.4 m per pixel, the model expects 0.1" in warning
    assert "it is blurred at 0.1 m per pixel" in warning
    record = json.loads((tmp_path / "out" / RECORD_FILE).read_text())["photos"]["coarse"]
    assert len(record["warnings"]) == 2


def test_a_sharp_photo_gets_none(tmp_path, network, caplog):
    predict(network, [write_photo(tmp_path / "house.tif")], tmp_path / "out")
    assert [r for r in caplog.records if r.levelname == "WARNING"] == []


@pytest.fixture
def taught_colours(tmp_path, model_dir):
    """A network that knows the colours of photos as photo_of makes them."""
    folder = tmp_path / "model"
    shutil.copytree(model_dir, folder)
    colours = KnownColours.of([measure_colours(photo_of(seed)) for seed in range(12)])
    description = json.loads((folder / DESCRIPTION_FILE).read_text())
    described = {**description, "colours": {"rid": colours.to_json()}}
    (folder / DESCRIPTION_FILE).write_text(json.dumps(described))
    return folder


def test_a_photo_of_other_colours_gets_one_warning(tmp_path, taught_colours, caplog):
    network = load_network(taught_colours, 1, COMPUTE)
    photos = {
        "same": photo_of(30),
        "dark": photo_of(31) // 2,
        "infrared": photo_of(32)[[1, 0, 2]] * np.array([1.3, 0.6, 0.6])[:, None, None],
    }
    for name, pixels in photos.items():
        write_photo(tmp_path / f"photos/{name}.tif", pixels.clip(0, 255).astype(np.uint8))
    assert predict(network, [tmp_path / "photos"], tmp_path / "out") == 0
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 2
    dark, infrared = sorted(warnings)
    assert "dark.tif: its colours are unlike those of training: brightness 0.49 times" in dark
    assert "that of RID, more than its photos differ among themselves" in dark
    assert "infrared.tif: its colours are unlike those of training: " in infrared
    assert "red against green 1.9 times" in infrared
    # A model of an earlier version says nothing of colours.
    caplog.clear()
    description = json.loads((taught_colours / DESCRIPTION_FILE).read_text())
    del description["colours"]
    (taught_colours / DESCRIPTION_FILE).write_text(json.dumps(description))
    network = load_network(taught_colours, 1, COMPUTE)
    assert predict(network, [tmp_path / "photos"], tmp_path / "again") == 0
    assert [r for r in caplog.records if r.levelname == "WARNING"] == []


def test_colours_that_cannot_be_read_are_one_line(taught_colours):
    description = json.loads((taught_colours / DESCRIPTION_FILE).read_text())
    description["colours"]["rid"].pop("logarithms")
    (taught_colours / DESCRIPTION_FILE).write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match=r"not describe the colours .*'logarithms'; copy"):
        load_network(taught_colours, 1, COMPUTE)


def test_photos_of_one_name_and_folders_without_any_are_refused_together(tmp_path):
    for path in ("a/x.tif", "b/x.png"):
        write_raster(tmp_path / path, photo_of())
    (tmp_path / "c").mkdir()
    paths = [tmp_path / name for name in ("a", "b", "c")]
    with pytest.raises(ConfigError, match=r"one name.*; .*/c: got a folder without photos"):
        find_photos(paths, tmp_path / "out")
    with pytest.raises(ConfigError, match="got the folder of the outputs"):
        find_photos(paths[:1], tmp_path / "a")


def test_what_was_not_taught_is_no_data_and_said(tmp_path, caplog):
    folder = write_model(tmp_path / "model", untaught=("hip", "valley"))
    network = load_network(folder, 1, COMPUTE)
    assert any("not taught all lines: hip, valley are no data" in m for m in caplog.messages)
    predict(network, [write_photo(tmp_path / "house.tif")], tmp_path / "out")
    lines = read(tmp_path / "out/house_lines.tif")
    assert (lines[2:] == 255).all()
    assert (lines[:2] <= 200).all()


def test_a_model_that_is_no_model_is_one_line(tmp_path, model_dir):
    (tmp_path / DESCRIPTION_FILE).write_text((model_dir / DESCRIPTION_FILE).read_text())
    weights = (model_dir / MODEL_FILE).read_bytes()
    (tmp_path / MODEL_FILE).write_bytes(weights[: len(weights) // 2])
    with pytest.raises(CheckpointError, match=r"cannot be loaded.*copy"):
        load_network(tmp_path, 1, COMPUTE)
    description = json.loads((tmp_path / DESCRIPTION_FILE).read_text())
    (tmp_path / MODEL_FILE).write_bytes(weights)
    for change, message in (
        ({"format_version": 99}, r"its format_version is 99"),
        ({"gsd_m": None}, r"gsd_m is None, expected metres per pixel"),
    ):
        (tmp_path / DESCRIPTION_FILE).write_text(json.dumps({**description, **change}))
        with pytest.raises(CheckpointError, match=message):
            load_network(tmp_path, 1, COMPUTE)


def test_a_record_of_something_else_is_refused(tmp_path, network):
    (tmp_path / RECORD_FILE).write_text('{"format_version": 7}')
    with pytest.raises(ConfigError, match=r"predict.json: not the record of an earlier prediction"):
        predict(network, [write_photo(tmp_path / "photos/house.tif")], tmp_path)
