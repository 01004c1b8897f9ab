"""Whole runs as users start them: real processes, real signals, real files."""

import contextlib
import csv
import io
import json
import os
import re
import signal
import time
from unittest import mock

import psutil
import pytest

from app.__main__ import main
from tests.support.processes import has_ended, wait_until
from tests.support.runs import (
    ROOT,
    SMALL,
    checkpoints,
    copy_tree,
    failure,
    killed_after,
    read_history,
    read_metrics,
    run,
    run_here,
    run_plain,
    start,
    wait_for,
    weights,
)

pytestmark = pytest.mark.slow

ARTIFACTS = {
    "model.safetensors", "model.json", "metrics.json", "metrics.jsonl", "memory.csv", "steps.csv",
    "report.html", "self_test.json", "self_test.png", "code",
    "README.md", "stac-item.json",
}  # fmt: skip


@pytest.fixture
def ml(small_ml, tmp_path):
    return copy_tree(small_ml, tmp_path / "ml", SMALL)


@pytest.fixture(scope="module")
def uninterrupted(small_ml, module_path):
    """A run from start to end, and its log."""
    # With a data worker, which others do without and end with the same weights.
    settings = {**SMALL, "num_workers": "1"}
    base_dir = copy_tree(small_ml, module_path / "ml", settings)
    # Variables named like hyperparameters must not override them in silence.
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("EPOCHS", "7")
        environment.setenv("LEARNING_RATE", "99")
        exit_code, output = run(base_dir)
    assert exit_code == 0, output
    return base_dir, output


def test_a_run_leaves_every_artifact(uninterrupted):
    base_dir, output = uninterrupted
    assert {path.name for path in (base_dir / "model").iterdir()} == ARTIFACTS
    assert "epoch 2/2" in output
    assert "metric epoch=2 step=6 " in output
    end = [line.rpartition(" app.training.artifacts: ")[2] for line in output.splitlines()[-4:]]
    assert end[0] == f"model: {base_dir / 'model'}"
    assert end[1] == f"report: {base_dir / 'model/report.html'}"
    assert end[2].startswith("took ")
    assert f" -m app predict --model {base_dir / 'model'} --out predictions" in end[3]


def test_metrics_say_what_they_are(uninterrupted):
    base_dir, _ = uninterrupted
    document = read_metrics(base_dir)
    assert document["stopped"] is False
    assert (document["epochs"], document["steps"]) == (2, 6)
    assert document["trained_tasks"] == ["segments", "lines"]
    roof_iou = document["metrics"]["val/segments/roof_iou"]
    assert 0 <= roof_iou["value"] <= 1
    assert roof_iou["split"] == "val"
    assert roof_iou["dataset"] == "rid"
    assert roof_iou["support"] > 0
    assert roof_iou["definition"]
    # no channel labels heights: not zero, but nothing
    assert document["metrics"]["val/depth/rmse_m"]["value"] is None
    counts = document["confusion_matrix"]["val/segments"]["counts"]
    assert sum(map(sum, counts)) == 3 * 96 * 96
    assert document["datasets"]["rid"] == {
        "num_train": 12, "num_val": 3, "share": 1.0, "quarantined": [], "features_set_aside": None,
        "synthetic": True, "folder": str(base_dir / "input/data/rid"),
    }  # fmt: skip
    distribution = document["class_distribution"]
    assert distribution["num_samples"] == 128
    assert sum(distribution["shares"]["segments"].values()) == pytest.approx(1, abs=1e-3)
    assert 0.5 <= distribution["weights"]["segments"]["background"] <= 2.5
    assert {"load", "train", "val", "export"} <= document["memory"]["peaks"].keys()
    peaks = document["memory"]["peaks"]["train"]
    assert 0.3 < peaks["uss_gib"] <= peaks["pss_gib"] <= peaks["peak_gib"] + 0.001
    step_time = document["step_time"]
    assert (step_time["num_steps"], step_time["samples_per_step"]) == (5, 4)
    parts = [step_time[f"{part}_s"] for part in ("wait", "forward", "backward", "optimizer")]
    assert 0 < sum(parts) <= step_time["step_s"]
    assert document["memory_profile"] is None
    assert document["machine"]["device"] == "cpu"


def test_every_step_has_a_row(uninterrupted):
    base_dir, _ = uninterrupted
    with (base_dir / "model/steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    # Three steps an epoch, of four samples each: their mean, but for labels that are not as many.
    losses = [float(row["loss"]) for row in rows[:3]]
    assert min(losses) <= read_history(base_dir)[0]["train/loss"] <= max(losses)


def test_watching_and_saving_memory_change_no_bit_of_the_weights(ml, uninterrupted):
    settings = {
        "memory_profile": "1", "checkpoint_activations": "true", "checkpoint_every_steps": "100",
    }  # fmt: skip
    arguments = [f"--set={name}={value}" for name, value in settings.items()]
    exit_code, output = run_here(ml, *arguments)
    assert exit_code == 0, output
    assert weights(ml) == weights(uninterrupted[0])
    profile = read_metrics(ml)["memory_profile"]
    held = profile["peak_by_holder_gib"]
    assert sum(held.values()) == pytest.approx(profile["peak_gib"], abs=1e-3)
    # 24.8 million weights of four bytes, and two moments of each that learns.
    assert held["parameters"] == pytest.approx(24.8e6 * 4 / 2**30, rel=0.02)
    assert held["optimizer state"] == pytest.approx(2 * held["parameters"], rel=0.02)
    report = (ml / "model/report.html").read_text()
    assert "Where the time goes" in report
    assert "optimizer state" in report


def test_the_history_has_a_row_per_epoch(uninterrupted):
    base_dir, _ = uninterrupted
    rows = read_history(base_dir)
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 3), (2, 6)]
    assert rows[1]["train/loss"] < rows[0]["train/loss"]
    assert rows[0]["train/depth/loss"] is None


def test_the_model_says_how_to_use_it(uninterrupted):
    base_dir, _ = uninterrupted
    description = json.loads((base_dir / "model/model.json").read_text())
    assert description["tasks"]["segments"]["class_names"][17] == "background"
    trained = {name: task["trained"] for name, task in description["tasks"].items()}
    assert trained == {"segments": True, "lines": True, "depth": False}
    assert 0.09 < description["gsd_m"] < 0.11
    assert description["hyperparameters"]["crop_size_px"] == 64
    assert description["versions"]["torch"].startswith("2.")
    assert description["data"] == {
        "rid": {
            "title": "RID",
            "num_train": 12,
            "synthetic": True,
            "licence": "MIT: villages drawn by this project, no photos",
        }
    }
    colours = description["colours"]["rid"]
    assert colours["num_samples"] >= 12
    assert all(10 < value < 245 for value in (*colours["mean"], *colours["std"]))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", description["created"])
    assert description["revision"] == os.environ.get("ROOF_MODEL_REVISION", "unknown")


def test_metrics_and_report_say_how_the_run_was_made(uninterrupted):
    base_dir, _ = uninterrupted
    metrics = read_metrics(base_dir)
    assert metrics["run"]["revision"] == os.environ.get("ROOF_MODEL_REVISION", "unknown")
    assert metrics["datasets"]["rid"]["synthetic"] is True
    assert metrics["datasets"]["rid"]["folder"] == str(base_dir / "input/data/rid")
    report = (base_dir / "model/report.html").read_text()
    assert "RID (synthetic)" in report
    assert metrics["run"]["created"].replace("T", " ").replace("Z", " UTC") in report


def test_stopped_saves_and_a_later_run_ends_with_the_same_weights(ml, uninterrupted):
    process = start(ml)
    wait_for(lambda: checkpoints(ml), process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert read_metrics(ml)["stopped"] is True
    assert {path.name for path in (ml / "model").iterdir()} == ARTIFACTS
    exit_code, output = run_plain(ml)
    assert exit_code == 0, output
    assert read_metrics(ml)["stopped"] is False
    assert weights(ml) == weights(uninterrupted[0])


def test_a_second_ctrl_c_does_not_wait(ml):
    process = start(ml)
    wait_for(lambda: psutil.Process(process.pid).children(), process)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    process.communicate(timeout=60)
    assert process.returncode == 137
    assert failure(ml).startswith("training process killed by a second Ctrl-C")


def test_a_finished_run_is_not_trained_again(uninterrupted, tmp_path):
    base_dir = killed_after(6, uninterrupted[0], tmp_path / "ml")
    exit_code, output = run_plain(base_dir)
    assert exit_code == 0, output
    assert "epoch 2/2" not in output
    assert weights(base_dir) == weights(uninterrupted[0])
    assert read_metrics(base_dir)["metrics"] == read_metrics(uninterrupted[0])["metrics"]


def test_a_finished_run_called_again_says_so_without_torch(uninterrupted, monkeypatch):
    base_dir, output = uninterrupted
    before = weights(base_dir)
    # Nobody would get to it.
    monkeypatch.setattr("app.job.supervisor.run_job", None)
    exit_code, again = run_supervised_here(base_dir)
    assert exit_code == 0
    told = [line.partition(": ")[2] for line in again.splitlines()]
    assert told[0].startswith("finished before, nothing to do")
    last = [line.partition(": ")[2] for line in output.splitlines()]
    assert told[1:] == last[-len(told[1:]) :]
    assert weights(base_dir) == before


def test_other_hyperparameters_are_refused_with_the_difference(uninterrupted):
    base_dir, _ = uninterrupted
    exit_code, output = run_here(base_dir, "--set", "epochs=3")
    assert exit_code == 2, output
    assert "belongs to another run: epochs was 2, now 3" in failure(base_dir)


def test_a_training_process_killed_from_outside_is_not_out_of_memory(ml):
    process = start(ml)
    wait_for(lambda: psutil.Process(process.pid).children(), process)
    psutil.Process(process.pid).children()[0].send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 137
    message = failure(ml)
    assert message.startswith(
        "training process killed (SIGKILL) by something outside, not for memory (peak "
    )
    assert "GiB of a limit of" in message
    assert "batch_size" not in message


def test_training_does_not_outlive_the_process_that_supervises_it(ml):
    """Two runs never share checkpoints."""
    process = start(ml, "--set", "epochs=10000")
    wait_for(lambda: psutil.Process(process.pid).children(), process)
    [child] = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    wait_until(lambda: has_ended(child.pid), 30)


def run_supervised_here(base_dir):
    """The supervising process's part, in this process."""
    output = io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        mock.patch("app.job.signals.StopRequests.listen"),  # pytest has its own handlers
    ):
        exit_code = main(["train", "--base-dir", str(base_dir)])
    return exit_code, output.getvalue()


def evaluation(base_dir, output_file, *arguments):
    """The words of a command."""
    words = ["evaluate", "--model", str(base_dir / "model"), "--out", str(output_file)]
    return [*words, *arguments]


def test_evaluate_gives_what_training_gave(uninterrupted, tmp_path):
    base_dir, _ = uninterrupted
    rid_dir = base_dir / "input/data/rid"
    arguments = ("--rid", str(rid_dir), "--set", "precision=fp32")
    assert main(evaluation(base_dir, tmp_path / "out/val.json", *arguments)) == 0
    scored = json.loads((tmp_path / "out/val.json").read_text())
    assert scored["num_samples"] == {"rid": 3}
    assert scored["metrics"] == read_metrics(base_dir)["metrics"]


def test_scores_cannot_be_written_over_a_folder(uninterrupted, tmp_path, capsys):
    rid_dir = uninterrupted[0] / "input/data/rid"
    exit_code = main(evaluation(uninterrupted[0], tmp_path, "--rid", str(rid_dir)))
    assert exit_code == 2
    assert "got a folder, expected the name of a JSON file" in capsys.readouterr().out


@pytest.mark.skipif(
    not (ROOT / "../shared/data/rid").is_dir(), reason="the real RID images are not here"
)
def test_evaluate_on_real_roofs(uninterrupted, tmp_path):
    rid_dir = ROOT / "../shared/data/rid"
    arguments = ("--rid", str(rid_dir), "--split", "test")
    assert main(evaluation(uninterrupted[0], tmp_path / "test.json", *arguments)) == 0
    scored = json.loads((tmp_path / "test.json").read_text())
    assert scored["num_samples"] == {"rid": 3}
    assert scored["metrics"]["test/segments/pixel_accuracy"]["value"] is not None


def test_evaluate_without_a_model_is_one_line(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    exit_code = main(evaluation(tmp_path, tmp_path / "out.json", "--rid", str(tmp_path)))
    assert exit_code == 2
    output = "".join(capsys.readouterr())
    assert "got a folder without model.safetensors, in it and in its model/" in output
    assert "Traceback" not in output
