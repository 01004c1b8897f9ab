"""Runs on every combination of the four datasets, in their releases' layouts."""

import functools
import itertools
import json
import re

import pytest
from safetensors import safe_open

from app.__main__ import main
from app.commands.launch.metric_names import metric_definitions
from app.data.datasets import TrainBatches, open_datasets
from app.settings.texts import parse_hyperparameters
from app.synthetic.sample import make_sample
from app.synthetic.staging import SplitParameters
from app.synthetic.write_roofline import CropParameters
from tests.support import runs
from tests.support.own import write_village
from tests.support.steps import build
from tests.support.steps import run as run_steps
from tests.support.synthetic import all_three

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shallow_everywhere")]

NAMES = ("rid", "roofline", "airs", "own")
# Whole runs are of each by itself, and of all: what two say together, all do.
SUBSETS = [*((name,) for name in NAMES), tuple(NAMES)]
ALL_SUBSETS = [subset for size in range(1, 5) for subset in itertools.combinations(NAMES, size)]
SMALL = {
    "epochs": "1",
    "steps_per_epoch": "2",
    "batch_size": "4",
    "crop_size_px": "96",
    "num_workers": "0",
    "max_val_samples": "3",
    "precision": "fp32",
}
# Four steps, with a checkpoint of each.
LONG = {**SMALL, "epochs": "2", "checkpoint_every_steps": "1", "keep_checkpoints": "4"}
# What each dataset labels, and so which tasks a job on it trains.
TASKS = {
    "rid": {"segments", "lines"},
    "roofline": {"lines", "depth"},
    "airs": {"segments", "lines"},
    "own": {"segments", "lines"},
}


@pytest.fixture(scope="module")
def all_ml(module_path):
    """A tree with a little of all four datasets. Copy it before writing into it."""
    base_dir = module_path / "all"
    writers = all_three(
        SplitParameters(12, 3, 3, seed=3, size_px=128),
        CropParameters(40, seed=3),
        SplitParameters(3, 1, 1, seed=3, size_px=400),
    )
    make_sample(base_dir, writers)
    write_village(base_dir / "input/data/own")
    path = base_dir / "input/config/inputdataconfig.json"
    channels = json.loads(path.read_text())
    path.write_text(json.dumps({**channels, "own": channels["rid"]}))
    return base_dir


def prepare(all_ml, tmp_path, subset, hyperparameters=SMALL):
    """A job's tree with these channels alone."""
    base_dir = runs.copy_tree(all_ml, tmp_path / "ml", hyperparameters)
    path = base_dir / "input/config/inputdataconfig.json"
    channels = json.loads(path.read_text())
    path.write_text(json.dumps({name: channels[name] for name in subset}))
    return base_dir


@pytest.fixture(scope="module")
def whole(all_ml, module_path):
    """The tree and the log of a run without a break on a subset, each trained once."""

    @functools.cache
    def train(subset):
        # One as users start it, the others here.
        settings, start = (LONG, runs.run) if subset == NAMES else (SMALL, runs.run_here)
        base_dir = prepare(all_ml, module_path / "+".join(subset), subset, settings)
        exit_code, output = start(base_dir)
        assert exit_code == 0, output
        remove_checkpoints(base_dir, but="step-00000001.pt")
        return base_dir, output

    return train


def remove_checkpoints(base_dir, but):
    """They are large, and few are read again."""
    for path in (base_dir / "checkpoints").glob("*.pt"):
        if path.name != but:
            path.unlink()


def test_a_run_on_all_datasets_resumes_alike(tmp_path, whole):
    whole_dir, _ = whole(NAMES)
    base_dir = runs.killed_after(1, whole_dir, tmp_path / "ml")
    exit_code, output = runs.run_plain(base_dir)
    assert exit_code == 0, output
    assert "resuming from" in output
    assert runs.weights(base_dir) == runs.weights(whole_dir)
    assert runs.read_metrics(base_dir)["metrics"] == runs.read_metrics(whole_dir)["metrics"]


@pytest.mark.parametrize("subset", SUBSETS, ids="+".join)
def test_every_subset_trains_and_says_what_it_did_not_learn(whole, subset):
    whole_dir, output = whole(subset)
    document = runs.read_metrics(whole_dir)
    trained = set().union(*(TASKS[name] for name in subset))
    assert set(document["trained_tasks"]) == trained
    assert set(document["datasets"]) == set(subset)
    for name in subset:
        assert f"{name}: " in output
        assert document["datasets"][name]["num_train"] > 0
        assert document["datasets"][name]["quarantined"] == []
    assert (whole_dir / "model/report.html").exists()
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
    # Where validation photos have planes with directions, what is stated of these is measured.
    measured_on = [name for name in ("rid", "own") if name in subset]
    assert ("calibration" in description) == bool(measured_on)
    if measured_on:
        assert description["calibration"]["data"] == "+".join(measured_on)
        assert "calibration of directions, on " in output


@pytest.mark.parametrize("subset", ALL_SUBSETS, ids="+".join)
def test_each_of_the_fifteen_subsets_changes_the_weights(all_ml, module_path, subset):
    texts = {**SMALL, "dataset_weights": ",".join(f"{name}=1" for name in subset)}
    hyperparameters = parse_hyperparameters(texts)
    channels = {name: all_ml / "input/data" / name for name in subset}
    scratch_dir = module_path / "scratch"
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
    arguments = ("--set=azimuth_bins=8", "--set=superstructures_weight=1")
    exit_code, output = runs.run_here(base_dir, *arguments)
    assert exit_code == 0, output
    description = json.loads((base_dir / "model/model.json").read_text())
    assert len(description["tasks"]["segments"]["class_names"]) == 10
    assert description["tasks"]["superstructures"]["trained"]
    metrics = runs.read_metrics(base_dir)
    counts = metrics["confusion_matrix"]["val/segments"]["counts"]
    assert len(counts) == 10
    assert metrics["metrics"]["val/superstructures/miou"]["value"] is not None
    assert metrics["metrics"]["val/segments/azimuth_coverage"]["value"] is not None


def test_shares_of_nothing_are_refused(all_ml, tmp_path):
    base_dir = prepare(all_ml, tmp_path, ("airs",))
    exit_code, output = runs.run_here(base_dir, "--set=dataset_weights=rid=1")
    assert exit_code == 2, output
    assert "nothing to train on: dataset_weights=rid=1, but the channels are airs" in output


def test_nothing_is_written_into_the_channels(all_ml, whole):
    base_dir, _ = whole(NAMES)

    def read_stamps(folder):  # copying a tree keeps them
        paths = (folder / "input/data").rglob("*")
        return {path.relative_to(folder): path.stat().st_mtime_ns for path in paths}

    assert read_stamps(base_dir) == read_stamps(all_ml)
    assert list((base_dir / "scratch").iterdir()), "the index is kept for the next start"
    assert not (base_dir / "output/failure").exists()


@pytest.fixture
def evaluate(all_ml, tmp_path):
    """The command; gives its exit code and what it has written."""
    output = tmp_path / "val.json"
    words = ["evaluate", "--out", str(output)]
    words += [f"--set={name}={SMALL[name]}" for name in ("precision", "num_workers")]

    def evaluate(model_dir, names, *arguments):
        channels = [f"--{name}={all_ml / 'input/data' / name}" for name in names]
        exit_code = main([*words, *channels, "--model", str(model_dir), *arguments])
        return exit_code, json.loads(output.read_text()) if exit_code == 0 else None

    return evaluate


def test_a_model_is_scored_on_the_splits_it_was_trained_with(whole, evaluate):
    """Its shapes, too, as far as each dataset tells."""
    base_dir, _ = whole(NAMES)
    arguments = ("--vectors", "--set=max_val_samples=3")
    exit_code, document = evaluate(base_dir / "model", NAMES, *arguments)
    assert exit_code == 0
    assert document["num_samples"] == {"rid": 3, "roofline": 3, "airs": 1, "own": 1}
    scored = document["metrics"]
    trained = runs.read_metrics(base_dir)["metrics"]
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


def test_other_splits_are_said_and_shapes_of_untaught_tasks_refused(whole, evaluate, capsys):
    exit_code, _ = evaluate(whole(NAMES)[0] / "model", ("airs",), "--set=seed=1")
    assert exit_code == 0
    assert "seed=1, but the model was trained with 0" in "".join(capsys.readouterr())
    lines_alone = whole(("roofline",))[0] / "model"
    assert evaluate(lines_alone, NAMES, "--vectors") == (2, None)
    output = "".join(capsys.readouterr())
    assert f"the model in {lines_alone} has learnt lines, depth, expected segments" in output


def test_every_line_of_an_epoch_is_read_by_the_regexes_of_sagemaker(whole):
    base_dir, output = whole(NAMES)
    regexes = {row["Name"]: row["Regex"] for row in metric_definitions()}
    lines = [line for line in output.splitlines() if re.search(regexes["epoch"], line)]
    rows = runs.read_history(base_dir)
    assert len(lines) == len(rows) == 2
    for line, row in zip(lines, rows, strict=True):
        for name, regex in regexes.items():
            found = [float(value) for value in re.findall(regex, line)]
            expected = row.get(name)  # an untrained task has no metrics
            assert found == ([] if expected is None else [pytest.approx(expected, rel=1e-7)]), name
        assert row["val/depth/bias_m"] is not None


def test_a_run_resumes_with_one_dataset_fewer_where_it_is_forced_to(tmp_path, whole):
    base_dir = runs.killed_after(1, whole(NAMES)[0], tmp_path / "ml")
    (base_dir / "input/config/inputdataconfig.json").write_text('{"rid": {}, "roofline": {}}')
    exit_code, output = runs.run_here(base_dir)
    assert exit_code == 2
    assert "airs_train" in output
    exit_code, output = runs.run_plain(base_dir, "--set=resume=force", "--set=epochs=1")
    assert exit_code == 0, output
    assert "resuming from" in output
