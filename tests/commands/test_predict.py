"""`python -m app predict` as people start it, stop it and start it again."""

import os
import signal
import subprocess
import sys

import pytest
from rasterio import Affine

from app.__main__ import main
from tests.inference.test_predict import photo_of, write_photo
from tests.support.fakes import write_raster
from tests.support.models import write_model
from tests.support.paths import ROOT
from tests.support.runs import wait_for
from tests.support.synthetic import files_of

RECORD = "predict.json"


@pytest.fixture(scope="module")
def model_dir(module_path):
    return write_model(module_path / "model")


def start(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "app", "predict", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_stopped_command_ends_well_and_started_again_does_the_rest(tmp_path, model_dir, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for number in range(4):
        write_photo(photos / f"p{number}.tif", photo_of(number, 200))
    write_raster(photos / "q.tif", photo_of()[:1], transform=Affine.identity())
    arguments = (photos, "--model", model_dir, "--out", out, "--precision", "fp32")
    process = start(*arguments)
    wait_for(lambda: (out / "p0_uncertainty.tif").exists(), process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "of 5 photos done; the same command resumes" in output
    stopped = files_of(out)
    assert not any(name.startswith((".", "p3")) for name in stopped)
    exit_code = run(*arguments)
    output = "".join(capsys.readouterr())
    assert exit_code == 2, output
    assert "photos are done already" in output
    (error,) = [line for line in output.splitlines() if " ERROR " in line]
    assert "q.tif: got 1 band of uint8 (gray), expected 3 bands" in error
    assert "Traceback" not in output
    finished = files_of(out)
    assert all(finished[name] == data for name, data in stopped.items() if name != RECORD)
    assert len(finished) == 4 * 8 + 1


@pytest.mark.slow
def test_after_a_kill_the_files_are_those_of_a_run_without(tmp_path, model_dir):
    photos = tmp_path / "photos"
    for number in range(3):
        write_photo(photos / f"p{number}.tif", photo_of(number, 120))
    arguments = (photos, "--model", model_dir, "--format", "gpkg,geojson", "--out")
    whole, killed, temporary = (tmp_path / name for name in ("whole", "killed", "temporary"))
    temporary.mkdir()
    # While the outputs of the second are written; bench/predict_kills.py kills at random.
    process = start(*arguments, killed, TMPDIR=str(temporary))
    wait_for((killed / "p1_segments.tif").exists, process)
    process.kill()
    process.communicate()
    process = start(*arguments, killed, TMPDIR=str(temporary))
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert list(temporary.iterdir()) == []
    assert run(*arguments, whole) == 0
    found, expected = files_of(killed), files_of(whole)
    assert len(expected) == 3 * 11 + 1
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        assert found[name] == content, name


def run(*arguments):
    return main(["predict", *map(str, arguments)])


def errors_of(output):
    return [line.partition(" ERROR ")[2] for line in output.splitlines() if " ERROR " in line]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, model_dir, capsys):
    photo = write_photo(tmp_path / "house.tif")
    assert run(photo, "--model", model_dir, "--out", photo / "out") == 2
    (error,) = errors_of(capsys.readouterr().out)
    assert "out: cannot be written to: Not a directory" in error


def test_a_folder_without_a_model_is_one_line(tmp_path, capsys):
    photo = write_photo(tmp_path / "house.tif")
    assert run(photo, "--model", tmp_path, "--out", tmp_path / "out") == 2
    (error,) = errors_of(capsys.readouterr().out)
    assert f"--model {tmp_path}: got a folder without model.safetensors, in it and in its" in error


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--tta", "3"), "argument --tta: invalid choice: "),
        (("--gsd-m", "12"), "argument --gsd-m: expected metres per pixel, 0.01 to 1, got '12'"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path, option, message, capsys):
    with pytest.raises(SystemExit) as caught:
        run("house.tif", "--model", tmp_path, "--out", tmp_path, *option)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
