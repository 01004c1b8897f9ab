"""`python -m app process`: what an instance of a Processing job does with its share of photos."""

import json
import os
import shutil
import tarfile

import numpy as np
import pytest

from app.__main__ import main
from tests.inference.test_predict import photo_of, write_photo
from tests.support.fakes import write_raster
from tests.support.models import write_model
from tests.support.synthetic import files_of

pytestmark = pytest.mark.usefixtures("shallow")

RECORD = "records/a/algo-2.json"


@pytest.fixture(scope="module")
def model_dir(module_path):
    return write_model(module_path / "model", sharpness=10)


@pytest.fixture(scope="module")
def archive(model_dir, module_path):
    path = module_path / "model.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        file.add(model_dir, arcname=".")
    return path


@pytest.fixture
def base_dir(tmp_path, archive):
    """The tree of an instance: a photo that says where it lies, another whose file beside does."""
    folder = tmp_path / "ml/processing/input"
    write_photo(folder / "photos/north/house.tif", photo_of(1))
    path = write_photo(folder / "photos/barn.png", photo_of(2))
    (folder / "beside").mkdir()
    (path.parent / "barn.png.aux.xml").rename(folder / "beside/barn.png.aux.xml")
    (folder / "model").mkdir()
    shutil.copy(archive, folder / "model")
    config = tmp_path / "ml/config/resourceconfig.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"current_host": "algo-2", "hosts": ["algo-1", "algo-2"]}))
    return tmp_path / "ml"


def run(base_dir, *words):
    return main(["process", "--job=a", f"--base-dir={base_dir}", "--precision=fp32", *words])


def test_outputs_are_those_of_predict_and_the_record_says_so(base_dir, model_dir, tmp_path):
    assert run(base_dir, "--format=gpkg,geojson") == 0
    output = base_dir / "processing/output"
    found = files_of(output)
    record = json.loads(found.pop(RECORD))["photos"]
    assert list(record) == ["barn", "house"]
    sizes = {name: size for entry in record.values() for name, size in entry["outputs"].items()}
    assert sizes == {name: len(content) for name, content in found.items()}
    photos, inputs = tmp_path / "photos", base_dir / "processing/input"
    shutil.copytree(inputs / "photos", photos)
    shutil.copy(inputs / "beside/barn.png.aux.xml", photos)
    words = [str(photos / "barn.png"), str(photos / "north"), f"--model={model_dir}"]
    out = tmp_path / "out"
    assert main(["predict", *words, f"--out={out}", "--precision=fp32",
                 "--format=gpkg,geojson"]) == 0  # fmt: skip
    expected = files_of(out)
    expected.pop("predict.json")
    assert found == expected


def test_a_photo_that_cannot_be_predicted_does_not_end_the_job(base_dir):
    (base_dir / "processing/input/photos/north/house.tif").write_bytes(b"no photo")
    assert run(base_dir) == 0
    record = json.loads((base_dir / "processing/output" / RECORD).read_text())["photos"]
    assert "outputs" in record["barn"]
    reason = record["house"]["failed"]["reason"]
    message = (base_dir / "output/message").read_text()
    assert message == f"1 of 2 photos not predicted: {reason}"[:1000]


def test_an_instance_without_photos_ends_well(base_dir, capsys):
    shutil.rmtree(base_dir / "processing/input/photos")
    assert run(base_dir) == 0
    assert "no photo came to this instance" in capsys.readouterr().out
    assert files_of(base_dir / "processing/output") == {}


def test_a_model_that_is_damaged_is_the_message_of_the_job(base_dir, capsys):
    (base_dir / "processing/input/model/model.tar.gz").write_bytes(b"no archive")
    assert run(base_dir) == 2
    message = (base_dir / "output/message").read_text()
    assert "model.tar.gz cannot be unpacked" in message
    assert message in capsys.readouterr().out


def test_a_long_message_is_cut_to_what_sagemaker_takes(base_dir):
    photos = base_dir / "processing/input/photos"
    for number in range(20):
        write_raster(photos / f"{number}.png", np.zeros((1, 64, 64), np.uint8))
    assert run(base_dir) == 0
    assert len(os.fsencode((base_dir / "output/message").read_text())) == 1000
