"""A trained model in Python: what it takes, what it returns, and README's own lines."""

import re
import warnings

import numpy as np
import pytest
import torch
from rasterio import Affine

from app.base.errors import CheckpointError, ConfigError, DataError
from app.base.tasks import build_tasks
from app.inference import load_model
from app.model.export import describe_model, export_model
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters
from tests.support.fakes import write_raster
from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("shallow")

TASKS = build_tasks(superstructures=True)
TAUGHT = {task.name: task.class_names for task in TASKS}


def export(folder, taught=TAUGHT):
    torch.manual_seed(0)
    network = HybridRoofModel(TASKS, decoder_channels=16)
    with torch.no_grad():
        for head in network.heads.values():
            for weight in head.parameters():
                weight.mul_(3)  # so that classes differ visibly
    export_model(folder, network, describe_model(network, Hyperparameters(), taught))
    return folder


def geotiff(path, image, gsd_m=0.1, **options):
    """A photo (3, H, W) in metres of UTM."""
    transform = Affine(gsd_m, 0, 690_000, 0, -gsd_m, 5_334_000)
    return write_raster(path, image, crs="EPSG:25832", transform=transform, **options)


def photo_of(height_px, width_px):
    """Smooth, so that a scale more or less shows the same."""
    rows, columns = np.mgrid[:height_px, :width_px] / 16
    bands = [np.sin(rows) + np.cos(columns), np.cos(rows * columns / 9), np.sin(rows + columns)]
    return np.clip(128 + 60 * np.stack(bands), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(module_path):
    return export(module_path / "model")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder, device="cpu")


def arrays_of(found):
    named = {f"{task}.{name}": values for task in ("segments", "lines", "superstructures")
             for name, values in getattr(found, task).items()}  # fmt: skip
    return {**named, "height_m": found.height_m}


def assert_equal(found, expected, atol=0.0):
    got, wanted = arrays_of(found), arrays_of(expected)
    assert got.keys() == wanted.keys()
    for name, values in got.items():
        np.testing.assert_allclose(values, wanted[name], atol=atol, err_msg=name)


def test_a_photo_gives_named_arrays_of_its_size(model):
    image = photo_of(70, 90)
    assert not model.network.training
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    found = model(image.transpose(1, 2, 0))
    assert list(found.segments) == [*(task for task in TASKS[0].class_names)]
    assert list(found.lines) == ["eave", "ridge", "hip", "valley"]
    assert found.gsd_m == model.gsd_m == 0.1
    for values in arrays_of(found).values():
        assert (values.shape, values.dtype) == ((70, 90), np.float32)
        assert np.isfinite(values).all()
    for classes in (found.segments, found.superstructures):
        np.testing.assert_allclose(sum(classes.values()), 1, atol=1e-5)
    np.testing.assert_allclose(found.roof, 1 - found.segments["background"])
    assert found.height_m.min() >= 0
    # Logits as the network itself gives them.
    with torch.inference_mode():
        logits = model.network(torch.from_numpy(image)[None])
    ridge = logits["lines"][0, 1].sigmoid().numpy()
    np.testing.assert_allclose(found.lines["ridge"], ridge, atol=1e-6)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name])


def test_paths_arrays_and_tensors_are_alike(model, tmp_path):
    image = photo_of(60, 80)
    expected = model(image.transpose(1, 2, 0))
    assert_equal(model(torch.from_numpy(image)), expected)
    assert_equal(model(geotiff(tmp_path / "photo.tif", image)), expected)
    plain = write_raster(tmp_path / "photo.png", image)
    assert_equal(model(str(plain), gsd_m=0.1), expected)


def test_photos_of_another_scale_are_brought_to_the_models(model, tmp_path):
    image = photo_of(40, 50)
    found = model(geotiff(tmp_path / "coarse.tif", image, gsd_m=0.2))
    assert (found.gsd_m, found.roof.shape) == (0.1, (80, 100))
    assert_equal(model(image.transpose(1, 2, 0), gsd_m=0.2), found)
    # The georeference of a file goes before what is said of it.
    assert_equal(model(tmp_path / "coarse.tif", gsd_m=0.5), found)
    fine = model(image.transpose(1, 2, 0), gsd_m=0.05)
    assert fine.roof.shape == (20, 25)


def test_large_photos_come_in_blocks(model, monkeypatch):
    image = photo_of(150, 130).transpose(1, 2, 0)
    monkeypatch.setattr(model._predictor, "window_px", 64)
    monkeypatch.setattr(model._predictor, "shared_px", 16)
    whole = model(image)
    seen = np.zeros((150, 130), np.int64)
    for window, found in list(model.blocks(image)):  # which may be kept
        seen[window.rows, window.columns] += 1
        np.testing.assert_array_equal(
            found.segments["S"], whole.segments["S"][window.rows, window.columns]
        )
    assert (seen == 1).all()


def test_what_a_photo_does_not_show_is_no_number(model, tmp_path):
    image = photo_of(64, 64)
    alpha = np.full((1, 64, 64), 255, np.uint8)
    alpha[:, :, 40:] = 0
    path = geotiff(
        tmp_path / "cut.tif", np.concatenate((image, alpha)), photometric="RGB", alpha="YES"
    )
    for values in arrays_of(model(path)).values():
        assert np.isnan(values[:, 40:]).all()
        assert np.isfinite(values[:, :40]).all()


def test_the_folder_of_a_run_is_that_of_its_model(tmp_path):
    export(tmp_path / "model")
    assert load_model(tmp_path, "cpu").gsd_m == Hyperparameters().gsd_m


def test_what_was_not_taught_is_not_there(tmp_path):
    taught = {"segments": TASKS[0].class_names, "lines": ("eave", "ridge", "hip")}
    found = load_model(str(export(tmp_path, taught)), "cpu")(photo_of(32, 32).transpose(1, 2, 0))
    assert list(found.lines) == ["eave", "ridge", "hip"]
    assert found.height_m is None
    assert found.superstructures == {}


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (
            np.zeros((3, 32, 40), np.uint8),
            r"got an array of shape \(3, 32, 40\) and type uint8, expected \(height, width, 3\)",
        ),
        (np.zeros((32, 40, 3), np.float32), "and type float32, expected"),
        (torch.zeros(32, 40, 3).byte(), r"got a tensor of shape \(32, 40, 3\)"),
        (np.zeros((0, 40, 3), np.uint8), r"shape \(0, 40, 3\)"),
        ("nowhere.tif", "nowhere.tif: got no such file"),
    ],
)
def test_a_photo_that_cannot_be_used_ends_in_one_line(model, photo, message):
    with pytest.raises(DataError, match=message):
        model(photo)


def test_a_photo_needs_a_scale(model, tmp_path):
    path = write_raster(tmp_path / "plain.png", photo_of(32, 32))
    with pytest.raises(DataError, match=r"plain\.png: got no word of its scale"):
        model(path)
    with pytest.raises(ConfigError, match=r"gsd_m is 12, expected 0\.01 to 1\.0 metres"):
        model(path, gsd_m=12)


def test_a_model_that_cannot_be_used_ends_in_one_line(folder, tmp_path):
    with pytest.raises(CheckpointError, match="holds no trained model"):
        load_model(tmp_path)
    with pytest.raises(CheckpointError, match="was trained on no task"):
        load_model(export(tmp_path / "untaught", {}))
    with pytest.raises(ConfigError, match="device is 'tpu', expected auto, cpu, cuda"):
        load_model(folder, device="tpu")


def test_the_lines_of_readme_run(folder, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 5
    (tmp_path / "local/ml").mkdir(parents=True)
    (tmp_path / "local/ml/model").symlink_to(folder)
    geotiff(tmp_path / "photo.tif", photo_of(48, 48))
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        exec(compile(code, "README.md", "exec"), {})
    assert not warned
    assert re.fullmatch(
        r"[\d.e-]+ [\d.e-]+ at 0\.09999\d* metres per pixel\n", capsys.readouterr().out
    )
