"""What bad input gets: one line in the log and in the failure file, exit 2, never a traceback."""

import errno
import json
import os
import shutil
import signal
import threading

import cv2
import numpy as np
import pytest
import rasterio
import torch

from app.__main__ import main
from app.job.signals import STOP_SIGNALS
from tests.support.runs import without_report

pytestmark = pytest.mark.usefixtures("shallow")

# In this process: a wrong input is found before the first step, or in it.
TRAIN = ("train", "--in-process", "--base-dir")
QUICK = (
    "--set", "epochs=1", "--set", "steps_per_epoch=1", "--set", "crop_size_px=64",
    "--set", "batch_size=2", "--set", "precision=fp32",
)  # fmt: skip
QUICK_SERIAL = (*QUICK, "--set", "num_workers=0", "--set", "memory_interval_s=60")


@pytest.fixture
def ml(small_ml, tmp_path):
    return shutil.copytree(small_ml, tmp_path / "ml")


def run(ml, *settings):
    return main([*TRAIN, str(ml), *QUICK_SERIAL, *settings])


def assert_refused(ml, capsys, *fragments, settings=()):
    assert run(ml, *settings) == 2
    output = capsys.readouterr().out
    message = (ml / "output/failure").read_text()
    assert "Traceback" not in output + message
    assert "\n" not in message.strip()
    for fragment in fragments:
        assert fragment in message
        assert fragment in output


def sample_ids(ml, split):
    lists = ml / "input/data/rid/filenames_train_val_test_split"
    text = (lists / f"{split}_filenames_1_rev.txt").read_text()
    return [line.removesuffix(".png") for line in text.split()]


def image_path(ml, sample_id):
    return ml / f"input/data/rid/images_roof_centered_geotiff/{sample_id}.tif"


def mask_path(ml, sample_id):
    return ml / f"input/data/rid/masks_segments_reviewed/{sample_id}.png"


def quarantined(ml):
    document = json.loads((ml / "model/metrics.json").read_text())
    return document["datasets"]["rid"]["quarantined"]


def test_missing_channel(ml, capsys):
    (ml / "input/config/inputdataconfig.json").write_text("{}")
    assert_refused(ml, capsys, "no dataset to train on", "expected a channel named rid")


def test_channel_folder_missing(ml, capsys):
    shutil.rmtree(ml / "input/data/rid")
    assert_refused(ml, capsys, "channel rid: cannot read folder", "No such file")


def test_empty_channel(ml, capsys):
    shutil.rmtree(ml / "input/data/rid")
    (ml / "input/data/rid").mkdir()
    assert_refused(ml, capsys, "channel rid", "is empty")


def test_wrong_folder_name_lists_found_and_expected(ml, capsys):
    rid_dir = ml / "input/data/rid"
    (rid_dir / "masks_segments_reviewed").rename(rid_dir / "labels")
    assert_refused(ml, capsys, "masks_segments_reviewed", "labels", "images_roof_centered_geotiff")


def test_wrong_hyperparameters_are_all_named(ml, capsys):
    assert_refused(
        ml,
        capsys,
        "learning_rate: got '-1', expected a number, above 0, at most 1",
        "epoch: unknown hyperparameter, did you mean epochs?",
        "crop_size_px: got 'big', expected a whole number, ",
        settings=("--set", "learning_rate=-1", "--set", "epoch=3", "--set", "crop_size_px=big"),
    )


def test_pretrained_without_its_channel(ml, capsys):
    settings = ("--set", "backbone_weights=pretrained")
    assert_refused(ml, capsys, "no channel named pretrained", settings=settings)


def test_backbone_file_not_there(ml, capsys):
    settings = ("--set", "backbone_weights=nowhere.pth")
    assert_refused(ml, capsys, "nowhere.pth cannot be read", settings=settings)


def write_mask_value(path, value):
    with rasterio.open(path) as file:
        mask = file.read(1)
    mask[10:20, 10:20] = value
    cv2.imwrite(str(path), mask)


BREAKERS = {
    "mask value": lambda ml, name: write_mask_value(mask_path(ml, name), 18),
    "image without a mask": lambda ml, name: mask_path(ml, name).unlink(),
    "mask without an image": lambda ml, name: image_path(ml, name).unlink(),
    "truncated PNG": lambda ml, name: truncate(mask_path(ml, name)),
    "truncated TIFF": lambda ml, name: truncate(image_path(ml, name)),
    "other size": lambda ml, name: cv2.imwrite(
        str(mask_path(ml, name)), np.full((40, 40), 17, np.uint8)
    ),
}


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("breaker", BREAKERS.values(), ids=BREAKERS)
def test_many_bad_files_stop_the_job(ml, capsys, breaker):
    bad_ids = sample_ids(ml, "train")[:4]
    for sample_id in bad_ids:
        breaker(ml, sample_id)
    assert_refused(ml, capsys, "RID: ", "of 15 samples cannot be used, at most 1 may be bad")
    named = [name for name in bad_ids if f"{name}." in (ml / "output/failure").read_text()]
    assert len(named) >= 2


def blur(ml):
    """Make the masks smaller and larger again by averages."""
    for path in (ml / "input/data/rid/masks_segments_reviewed").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), cv2.resize(mask[::2, ::2], mask.shape[::-1]))


def test_labels_that_mean_something_else_stop_the_job_before_a_network_is_built(
    ml, capsys, monkeypatch
):
    blur(ml)
    monkeypatch.setattr("app.training.build.build_state", None)
    words = "class numbers of segments are mixed in 11 of 11 samples"
    assert_refused(ml, capsys, words, "make the masks again with nearest", "allow_findings=true")


@pytest.mark.slow
def test_allowed_findings_are_in_the_log_in_metrics_json_and_in_the_report(ml, capsys):
    blur(ml)
    assert run(ml, "--set", "allow_findings=true") == 0
    look = json.loads((ml / "model/metrics.json").read_text())["label_looks"]["rid"]
    [finding] = look["findings"]
    assert (finding["severity"], finding["kind"]) == ("error", "mixed classes")
    assert finding["path"] == str(ml / "input/data/rid")
    assert (look["num_samples"], look["heights"]) == (12, None)
    assert f"ERROR app.data.label_looks: {finding['what']}" in capsys.readouterr().out
    assert finding["remedy"] in (ml / "model/report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "val"])
def test_one_bad_pair_is_set_aside_and_training_goes_on(ml, capsys, split):
    bad_id = sample_ids(ml, split)[1]
    write_mask_value(mask_path(ml, bad_id), 40)
    (ml / "output").mkdir()
    (ml / "output/failure").write_text("of an earlier run")
    with without_report():
        assert run(ml) == 0
    [entry] = quarantined(ml)
    assert entry["sample_id"] == bad_id
    assert entry["path"] == str(mask_path(ml, bad_id))
    assert "40" in entry["reason"]
    output = capsys.readouterr().out
    assert output.count(f"set aside {bad_id}:") == 1
    assert not (ml / "output/failure").exists()


@pytest.mark.slow
def test_memory_that_runs_out_in_validation_is_a_line_and_costs_no_epoch(ml, capsys, monkeypatch):
    def fill(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 12.50 GiB")

    with monkeypatch.context() as patched:
        patched.setattr("app.inference.predictor.Predictor._run", fill)
        assert_refused(ml, capsys, "out of memory with a single window")
    with monkeypatch.context() as patched:
        patched.setattr("app.metrics.roof_metrics.RoofMetrics.update", fill)
        name = sample_ids(ml, "val")[0]
        what = f"out of memory while scoring {name} (48 x 48 px): CUDA out of memory."
        assert_refused(ml, capsys, what)
    assert [path.name for path in (ml / "checkpoints").glob("*.pt")] == ["step-00000001.pt"]
    # Nothing is trained again.
    monkeypatch.setattr("app.training.step.accumulate_gradients", fill)
    with without_report():
        assert run(ml) == 0
    metrics = json.loads((ml / "model/metrics.json").read_text())
    assert metrics["steps"] == 1
    assert metrics["metrics"]["val/segments/loss"]["value"] > 0


@pytest.mark.slow
def test_our_own_bug_is_exit_1_with_the_message_first(ml, capsys, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr("app.training.train.train_steps", fail)
    assert run(ml) == 1
    lines = (ml / "output/failure").read_text().splitlines()
    assert lines[0] == "internal error: ZeroDivisionError: by hand"
    assert any("Traceback" in line for line in lines[1:])
    assert "internal error: ZeroDivisionError" in capsys.readouterr().out


@pytest.mark.slow
def test_a_report_or_a_calibration_that_fails_costs_a_warning(ml, capsys, monkeypatch):
    """The model is written by then, and a failed job would not deliver it."""

    def draw(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def write(*_):
        "\udce9".encode()

    (ml / "model").mkdir()
    (ml / "model/report.html").write_text("of an earlier run")
    monkeypatch.setattr("app.training.artifacts.collect_panels", draw)
    monkeypatch.setattr("app.report.report.render_page", write)
    monkeypatch.setattr("app.training.calibrate.find_scored_roofs", draw)
    assert run(ml) == 0
    output = capsys.readouterr().out
    written = "; the model and its metrics are written"
    assert "WARNING app.training.artifacts: no pictures in the report: OSError: [Errno 5]" in output
    assert "WARNING app.training.artifacts: no report: UnicodeEncodeError: 'utf-8' codec" in output
    assert "no calibration of what is stated of planes: OSError: [Errno 5]" in output
    assert output.count(written) == 3
    assert "validation after epoch 1" in output
    assert not (ml / "model/report.html").exists()
    assert "INFO app.training.artifacts: report: " not in output
    assert (ml / "model/model.safetensors").stat().st_size > 0
    assert json.loads((ml / "model/metrics.json").read_text())["epochs"] == 1
    assert "calibration" not in json.loads((ml / "model/model.json").read_text())
    assert not (ml / "output/failure").exists()


def test_a_stop_while_data_cannot_be_opened_is_no_failure(ml, capsys, monkeypatch):
    """As on a network disk that does not answer: nothing has begun, and nothing can be saved."""

    def stall(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(60)

    monkeypatch.setattr("app.training.build.open_datasets", stall)
    monkeypatch.setattr("app.training.build._STOP_PATIENCE_S", 0.5)
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        assert run(ml) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "asked to stop before training began" in capsys.readouterr().out
    assert not (ml / "output/failure").exists()


def test_other_words_than_the_commands_exit_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["server"])
    assert caught.value.code == 2
    assert "unknown command 'server'; did you mean serve?" in capsys.readouterr().err
