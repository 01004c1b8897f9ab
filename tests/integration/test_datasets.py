"""Runs on every combination of the four datasets, in their releases' layouts."""

import functools
import itertools
import json
import re
import shutil
import subprocess
import sys
import time

import psutil
import pytest
from safetensors import safe_open

from app.__main__ import main
from app.commands.launch.metric_names import metric_definitions
from app.data.datasets import TrainBatches, open_datasets
from app.settings.texts import parse_hyperparameters
from tests.support.own import write_village
from tests.support.paths import ROOT
from tests.support.steps import build
from tests.support.steps import run as run_steps

pytestmark = pytest.mark.slow

NAMES = ("rid", "roofline", "airs", "own")
# Whole runs are of each by itself, and of all: what two say together, all do.
SUBSETS = [*((name,) for name in NAMES), tuple(NAMES)]
ALL_SUBSETS = [subset for size in range(1, 5) for subset in itertools.combinations(NAMES, size)]
SMALL = {
    "epochs": "2",
    "steps_per_epoch": "3",
    "batch_size": "4",
    "crop_size_px": "96",
    "num_workers": "0",
    "max_val_samples": "3",
    "precision": "fp32",
}
# What each dataset labels, and so which tasks a job on it trains.
TASKS = {
    "rid": {"segments", "lines"},
    "roofline": {"lines", "depth"},
    "airs": {"segments", "lines"},
    "own": {"segments", "lines"},
}


@pytest.fixture(scope="module")
def all_ml(three_ml, tmp_path_factory):
    """The tree with own roofs beside. Copy it before writing into it."""
    base_dir = shutil.copytree(three_ml, tmp_path_factory.mktemp("all") / "ml")
    write_village(base_dir / "input/data/own")
    path = base_dir / "input/config/inputdataconfig.json"
    channels = json.loads(path.read_text())
    path.write_text(json.dumps({**channels, "own": channels["rid"]}))
    return base_dir


def prepare(all_ml, tmp_path, subset):
    """A job's tree with these channels alone."""
    base_dir = shutil.copytree(all_ml, tmp_path / "ml")
    config = base_dir / "input/config"
    (config / "hyperparameters.json").write_text(json.dumps(SMALL))
    channels = json.loads((config / "inputdataconfig.json").read_text())
    kept = {name: channels[name] for name in subset}
    (config / "inputdataconfig.json").write_text(json.dumps(kept))
    return base_dir


def start(base_dir, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "app", "train", "--base-dir", str(base_dir), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(base_dir, *arguments):
    process = start(base_dir, *arguments)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def kill_after_a_checkpoint(base_dir):
    process = start(base_dir, "--set", "checkpoint_every_steps=1")
    deadline = time.monotonic() + 240
    while not list((base_dir / "checkpoints").glob("step-*.pt")):
        assert process.poll() is None, f"ended before its time:\n{process.communicate()[0]}"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    child = psutil.Process(process.pid).children()[0]
    process.kill()
    process.communicate()
    # The training process dies with the one that was killed: two runs never share checkpoints.
    child.wait(timeout=30)
    assert not (base_dir / "model/model.safetensors").exists()


def weights(base_dir):
    return (base_dir / "model/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(all_ml, tmp_path_factory):
    """The tree and the log of a run without a break on a subset, each trained once."""

    @functools.cache
    def train(subset):
        base_dir = prepare(all_ml, tmp_path_factory.mktemp("whole"), subset)
        return base_dir, run(base_dir)

    return train


def test_a_run_on_all_datasets_resumes_alike(all_ml, tmp_path, whole):
    base_dir = prepare(all_ml, tmp_path, NAMES)
    kill_after_a_checkpoint(base_dir)
    assert "resuming from" in run(base_dir)
    whole_dir, _ = whole(NAMES)
    assert weights(base_dir) == weights(whole_dir)
    document = json.loads((whole_dir / "model/metrics.json").read_text())
    resumed = json.loads((base_dir / "model/metrics.json").read_text())
    assert document["metrics"] == resumed["metrics"]


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_every_subset_trains_and_says_what_it_did_not_learn(whole, subset):
    whole_dir, output = whole(subset)
    document = json.loads((whole_dir / "model/metrics.json").read_text())
    trained = set().union(*(TASKS[name] for name in subset))
    assert set(document["trained_tasks"]) == trained
    assert set(document["datasets"]) == set(subset)
    for name in subset:
        assert f"{name}: " in output
        assert document["datasets"][name]["num_train"] > 0
        assert document["datasets"][name]["quarantined"] == []
    metrics = {name: entry["value"] for name, entry in document["metrics"].items()}
    for task in ("segments", "lines", "depth"):
        values = [value for name, value in metrics.items() if f"/{task}/" in name]
        has_values = any(value is not None for value in values)
        assert has_values == (task in trained), task
    assert document["metrics"]["val/lines/f1_3px"]["dataset"] == "+".join(subset)
    if len(subset) > 1:
        assert all(f"val/{name}/lines/f1_3px" in metrics for name in subset)
    # Who labels what: AIRS no direction, Roofline no valley.
    if subset == ("airs",):
        assert metrics["val/segments/miou"] is None
        assert metrics["val/segments/roof_recall"] is not None
    if "rid" not in subset:
        assert metrics["val/lines/valley_recall_3px"] is None

    description = json.loads((whole_dir / "model/model.json").read_text())
    assert {name for name, task in description["tasks"].items() if task["trained"]} == trained
    lines = description["tasks"]["lines"]["trained_classes"]
    four = ["eave", "ridge", "hip", "valley"]
    expected = {"rid": four, "roofline": four[:3], "own": four}
    best = next((expected[name] for name in subset if name in expected), ["eave"])
    assert lines == best
    assert description["gsd_m"] == 0.1


@pytest.mark.parametrize("subset", ALL_SUBSETS, ids="+".join)
def test_each_of_the_fifteen_subsets_changes_the_weights(all_ml, tmp_path_factory, subset):
    texts = {**SMALL, "dataset_weights": ",".join(f"{name}=1" for name in subset)}
    hyperparameters = parse_hyperparameters(texts)
    channels = {name: all_ml / "input/data" / name for name in subset}
    scratch_dir = tmp_path_factory.getbasetemp() / "subsets"
    scratch_dir.mkdir(exist_ok=True)
    datasets = open_datasets(channels, hyperparameters, scratch_dir)
    batches = TrainBatches(datasets, hyperparameters, datasets.train_order(hyperparameters))
    state, settings = build()
    before = [parameter.detach().clone() for parameter in state.model.parameters()]
    steps = run_steps(state, settings, list(itertools.islice(batches, 2)))
    assert len(steps) == 2
    changed = [
        bool((was != now).any()) and bool(now.isfinite().all())
        for was, now in zip(before, state.model.parameters(), strict=True)
    ]
    # Of segments and of lines, the weights and the bias.
    trained = set().union(*(TASKS[name] for name in subset))
    assert changed == ["segments" in trained] * 2 + ["lines" in trained] * 2


def test_heads_of_untrained_tasks_keep_their_first_weights(whole):
    base_dir, _ = whole(("airs",))
    with safe_open(base_dir / "model/model.safetensors", "pt") as file:
        depth = file.get_tensor("heads.depth.bias")
        segments = file.get_tensor("heads.segments.bias")
    assert (depth == 0).all()
    assert not (segments[:-2] == segments[0]).all()


def test_fewer_directions_and_superstructures(all_ml, tmp_path):
    base_dir = prepare(all_ml, tmp_path, ("rid", "airs"))
    settings = ("azimuth_bins=8", "superstructures_weight=1", "epochs=1")
    run(base_dir, *itertools.chain(*(("--set", setting) for setting in settings)))
    description = json.loads((base_dir / "model/model.json").read_text())
    assert len(description["tasks"]["segments"]["class_names"]) == 10
    assert description["tasks"]["superstructures"]["trained"]
    metrics = json.loads((base_dir / "model/metrics.json").read_text())
    counts = metrics["confusion_matrix"]["val/segments"]["counts"]
    assert len(counts) == 10
    assert metrics["metrics"]["val/superstructures/miou"]["value"] is not None
    assert metrics["metrics"]["val/segments/azimuth_coverage"]["value"] is not None


def test_shares_of_nothing_are_refused(all_ml, tmp_path):
    base_dir = prepare(all_ml, tmp_path, ("airs",))
    process = start(base_dir, "--set", "dataset_weights=rid=1")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert "nothing to train on: dataset_weights=rid=1, but the channels are airs" in output


def test_nothing_is_written_into_the_channels(all_ml, whole):
    base_dir, _ = whole(NAMES)

    def read_stamps(folder):  # copying a tree keeps them
        paths = (folder / "input/data").rglob("*")
        return {path.relative_to(folder): path.stat().st_mtime_ns for path in paths}

    assert read_stamps(base_dir) == read_stamps(all_ml)
    assert list((base_dir / "scratch").iterdir()), "the index is kept for the next start"
    assert not (base_dir / "output/failure").exists()


def test_a_model_is_scored_on_the_splits_it_was_trained_with(whole, tmp_path, capsys):
    base_dir, _ = whole(NAMES)
    folders = [(f"--{name}", str(base_dir / "input/data" / name)) for name in NAMES]
    arguments = [*itertools.chain(*folders), "--set=max_val_samples=3", "--set=precision=fp32"]
    command = ["evaluate", "--model", str(base_dir / "model"), "--set=num_workers=0"]
    assert main([*command, "--out", str(tmp_path / "val.json"), *arguments]) == 0
    scored = json.loads((tmp_path / "val.json").read_text())
    trained = json.loads((base_dir / "model/metrics.json").read_text())
    assert scored["num_samples"] == {"rid": 3, "roofline": 3, "airs": 1, "own": 1}
    assert scored["metrics"] == trained["metrics"]
    capsys.readouterr()
    assert main([*command, "--out", str(tmp_path / "other.json"), *folders[2], "--set=seed=1"]) == 0
    assert "seed=1, but the model was trained with 0" in "".join(capsys.readouterr())


def test_shapes_are_scored_as_far_as_each_dataset_tells(whole, tmp_path, capsys):
    base_dir, _ = whole(NAMES)
    folders = [(f"--{name}", str(base_dir / "input/data" / name)) for name in NAMES]
    settings = [
        f"--set={each}" for each in ("max_val_samples=3", "precision=fp32", "num_workers=0")
    ]
    words = ["evaluate", "--model", str(base_dir / "model"), "--vectors", *settings]
    arguments = [*itertools.chain(*folders), "--out", str(tmp_path / "val.json")]
    assert main([*words, *arguments]) == 0
    scored = json.loads((tmp_path / "val.json").read_text())["metrics"]
    trained = json.loads((base_dir / "model/metrics.json").read_text())["metrics"]
    assert {name: scored[name] for name in trained} == trained
    for name, planes, buildings in (("rid", 1, 1), ("roofline", 0, 0), ("airs", 0, 1)):
        of_planes, of_buildings = (
            scored[f"val/{name}/{shapes}/recall"] for shapes in ("planes", "buildings")
        )
        assert (of_planes["support"] > 0) == (of_planes["value"] is not None) == bool(planes), name
        assert (of_buildings["support"] > 0) == bool(buildings), name
        assert scored[f"val/{name}/lengths/outline_error"]["support"] > 0, name
        assert scored[f"val/{name}/lengths/rake_error"]["value"] is None, name
    assert scored["val/airs/lengths/ridge_error"]["value"] is None
    assert scored["val/roofline/lengths/valley_error"]["value"] is None
    assert scored["val/roofline/lengths/ridge_error"]["support"] > 0
    capsys.readouterr()
    lines_alone = whole(("roofline",))[0] / "model"
    words[2] = str(lines_alone)
    assert main([*words, *arguments]) == 2
    output = "".join(capsys.readouterr())
    assert f"the model in {lines_alone} has learnt lines, depth, expected segments" in output


def test_every_line_of_an_epoch_is_read_by_the_regexes_of_sagemaker(whole):
    base_dir, output = whole(NAMES)
    regexes = {row["Name"]: row["Regex"] for row in metric_definitions()}
    lines = [line for line in output.splitlines() if re.search(regexes["epoch"], line)]
    rows = [
        json.loads(line) for line in (base_dir / "model/metrics.jsonl").read_text().splitlines()
    ]
    assert len(lines) == len(rows) == 2
    for line, row in zip(lines, rows, strict=True):
        for name, regex in regexes.items():
            found = [float(value) for value in re.findall(regex, line)]
            expected = row.get(name)  # an untrained task has no metrics
            assert found == ([] if expected is None else [pytest.approx(expected, rel=1e-7)]), name
        assert row["val/depth/bias_m"] is not None


def test_a_run_resumes_with_one_dataset_fewer_where_it_is_forced_to(tmp_path, whole):
    base_dir = shutil.copytree(whole(NAMES)[0], tmp_path / "ml")
    *_, newest = sorted((base_dir / "checkpoints").glob("step-*.pt"))
    newest.unlink()
    (base_dir / "input/config/inputdataconfig.json").write_text('{"rid": {}, "roofline": {}}')
    process = start(base_dir)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "airs_train" in output
    assert "resuming from" in run(base_dir, "--set", "resume=force")
