"""Runs that start from a whole model: step 0, learning rates, stops and resumes."""

import json
import shutil
import tarfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.base.errors import CheckpointError
from app.base.tasks import build_tasks
from app.inference.evaluate import evaluate_model
from app.job.job import Job
from app.job.paths import Paths
from app.model.devices import Compute
from app.model.initial_model import choose_start, read_initial_model
from app.resources.memory_sampler import MemorySampler
from app.resources.pass_limit import PassLimit
from app.settings.hyperparameters import Hyperparameters
from app.training import artifacts
from app.training import train as train_module
from app.training.build import build_run, build_state
from app.training.initial import find_initial_model
from app.training.train import score_start, train
from tests.support.initial import all_classes, write_model
from tests.support.runs import read_history, read_metrics, weights

pytestmark = pytest.mark.usefixtures("shallow")

CPU = torch.device("cpu")
SETTINGS = {
    "crop_size_px": 64, "batch_size": 2, "num_workers": 0, "precision": "fp32", "device": "cpu",
    "epochs": 1, "steps_per_epoch": 2, "checkpoint_every_steps": 1, "memory_interval_s": 60.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def source(module_path):
    return write_model(module_path / "model", sharpness=10)


@pytest.fixture
def job(small_ml, tmp_path):
    """Makes jobs on small data, each in a folder of its own."""

    def make(name="ml", stop_requested=lambda: False, channels=None, **settings):
        paths = Paths(tmp_path / name)
        for folder in (paths.model_dir, paths.checkpoint_dir):
            folder.mkdir(parents=True, exist_ok=True)
        given = {"rid": small_ml / "input/data/rid", **(channels or {})}
        return Job(paths, Hyperparameters(**{**SETTINGS, **settings}), given, stop_requested)

    return make


NO_LOOKS = {}  # at labels, which others test


def build(job):
    return build_run(job, Compute(CPU), MemorySampler(60.0), PassLimit(), NO_LOOKS)


def run(job):
    train(job, PassLimit(), NO_LOOKS)


@pytest.mark.parametrize(
    ("choice", "channels", "expected"),
    [
        ("auto", {}, None),
        ("auto", {"model": "m"}, "m"),
        ("none", {"model": "m"}, None),
        ("other", {"model": "m"}, "other"),
    ],
)
def test_which_model_is_meant(tmp_path, choice, channels, expected):
    channels = {name: tmp_path / path for name, path in channels.items()}
    found = find_initial_model(choice, channels)
    assert found is None or found.name == expected
    assert (found is None) == (expected is None)


def test_step_0_has_the_scores_of_the_model_itself(job, source, small_ml, tmp_path, caplog):
    """To the last digit, its loss by the weights of classes of this run."""
    caplog.set_level("INFO")
    given = job(channels={"model": source, "pretrained": tmp_path})
    run = build(given)
    assert "channel pretrained, backbone_weights=auto) are not used" in caplog.text
    score_start(run)
    model_dir = shutil.copytree(source, tmp_path / "copy")
    description = json.loads((model_dir / "model.json").read_text())
    description["class_weights"] = vars(run.learned.class_weights)
    (model_dir / "model.json").write_text(json.dumps(description))
    output = tmp_path / "scores.json"
    rid_dir = small_ml / "input/data/rid"
    evaluate_model(
        model_dir, {"rid": rid_dir}, "val", output, {"precision": "fp32", "num_workers": 0}
    )
    scored = json.loads(output.read_text())["metrics"]
    [row] = run.progress.results.history
    found = json.loads(json.dumps(run.progress.results.last.metrics))
    for name, metric in found.items():  # heights were not labelled, and so not predicted
        if "/depth/" not in name:
            assert metric == scored[name], name
            assert row[name] == metric["value"]
    assert found["val/segments/roof_iou"]["value"] > 0
    assert found["val/lines/ods_f1_3px"]["value"] > 0
    assert (row["epoch"], row["step"]) == (0, 0)
    # Scored once: a run that resumes has the row.
    assert [path.name for path in sorted(given.paths.checkpoint_dir.glob("*.pt"))] == [
        "best-00000000.pt", "step-00000000.pt",
    ]  # fmt: skip
    resumed = build(given)
    score_start(resumed)
    assert resumed.progress.results.history == [row]


def rates(source, trained, **settings):
    """Peak rates by part: backbone, pyramid and the tasks of heads."""
    hyperparameters = Hyperparameters(**settings)
    tasks = build_tasks(superstructures=True)
    start = choose_start(read_initial_model(source, source), tasks, all_classes(tasks))
    state = build_state(hyperparameters, {}, tasks, trained, CPU, start)
    names = {
        id(p): name.removeprefix("heads.").partition(".")[0]
        for name, p in state.model.named_parameters()
    }
    groups = state.optimizer.param_groups
    found = {names[id(p)]: pytest.approx(one["peak_lr"]) for one in groups for p in one["params"]}
    return found, [len(one["params"]) > 0 for one in groups]


def test_what_was_loaded_learns_at_a_tenth_and_new_heads_at_the_full_rate(source):
    trained = ("segments", "lines", "superstructures")
    found, are_filled = rates(source, trained)
    known = dict.fromkeys(("backbone", "pyramid", "segments", "lines"), 1e-4)
    assert found == {**known, "superstructures": 1e-3}
    assert are_filled == [True] * 6
    given = {"initial_model_rate_factor": 0.5, "backbone_learning_rate": 1e-5}
    found, are_filled = rates(source, ("segments", "lines"), **given)
    assert found == {"backbone": 1e-5, "pyramid": 5e-4, "segments": 5e-4, "lines": 5e-4}
    assert are_filled == [True] * 4


def test_an_archive_of_another_number_of_directions(job, source, tmp_path, caplog):
    caplog.set_level("INFO")
    channel = tmp_path / "channel"
    channel.mkdir()
    with tarfile.open(channel / "model.tar.gz", "w:gz", compresslevel=0) as archive:
        for path in source.iterdir():
            archive.add(path, path.name)
    run = build(job(channels={"model": channel}, azimuth_bins=4, gsd_m=0.2))
    assert "the initial model knows photos of 0.1 m per pixel, and this run brings them to gs" in (
        caplog.text
    )
    assert "segments: 6 classes in place of 18; on " in caplog.text
    assert run.initial_model["heads_mapped"] == ("segments",)
    model = run.averaged_model
    original = load_file(source / "model.safetensors")
    state = model.state_dict()
    for name in ("backbone.conv1.weight", "pyramid.laterals.0.bias", "heads.lines.classify.weight"):
        assert torch.equal(state[name], original[name])
    assert model.heads["segments"].weight.shape == (6, 128, 1, 1)
    assert not list((tmp_path / "ml/scratch").glob("model-*"))
    # Fitted on photos of this kind, it agrees with the sums of probabilities nearly everywhere.
    percent = float(caplog.text.split("sums of probabilities in ")[1].split(" %")[0])
    assert percent > 95


def without_times(rows):
    return [{k: v for k, v in row.items() if k not in ("time_s", "samples_per_s")} for row in rows]


def test_interrupted_and_resumed_it_ends_as_without_a_break(job, source, tmp_path, monkeypatch):
    """Stopped while step 0 is scored, and again in the first step; then let run to its end."""
    given = {"initial_model": str(source)}
    run(job("whole", **given))
    # Of the others nobody reads the report.
    monkeypatch.setattr(artifacts, "write_report", lambda *_: None)
    monkeypatch.setattr(artifacts, "collect_panels", lambda *_: ())
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    rows = read_history(whole)
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 0), (1, 2)]

    asked = []
    with monkeypatch.context() as patch:
        validate = train_module.validate
        patch.setattr(train_module, "validate", lambda run: asked.append(True) or validate(run))
        run(job("broken", lambda: bool(asked), **given))
    document = read_metrics(broken)
    assert (document["stopped"], document["steps"], document["kept"]["step"]) == (True, 0, 0)
    assert (document["validated"], document["kept"]["score"]) == (None, None)
    assert read_history(broken) == []

    scored = broken / "checkpoints/best-00000000.pt"
    run(job("broken", scored.exists, **given))
    document = read_metrics(broken)
    assert (document["stopped"], document["steps"], document["kept"]["step"]) == (True, 1, 0)
    assert without_times(read_history(broken)) == without_times(rows[:1])
    exported = load_file(broken / "model/model.safetensors")
    original = load_file(source / "model.safetensors")
    assert all(torch.equal(exported[name], value) for name, value in original.items())

    run(job("broken", **given))
    assert weights(broken) == weights(whole)
    document, expected = read_metrics(broken), read_metrics(whole)
    for name in ("kept", "validated", "metrics", "initial_model"):
        assert document[name] == expected[name]
    assert document["kept"]["score"] == max(row["val/score"] for row in rows)
    assert without_times(read_history(broken)) == without_times(rows)
    assert "Gained and lost against the initial model" in (whole / "model/report.html").read_text()

    other = tmp_path / "other"
    shutil.copytree(source, other)
    tensors = load_file(source / "model.safetensors")
    save_file({**tensors, "heads.depth.bias": torch.ones(1)}, other / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"another run: initial_model was \w{64}, now \w{64}"):
        build(job("broken", initial_model=str(other)))
