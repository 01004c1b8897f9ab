"""Whole jobs in the image: how they are started, what they leave, how they fail and stop."""

import json

import pytest
from safetensors import safe_open

from app.synthetic.sample import make_sample
from app.synthetic.staging import SplitParameters
from app.synthetic.write_own import write_own
from tests.support.containers import TINY, Run, write_job
from tests.support.synthetic import little_of_all

pytestmark = pytest.mark.docker

STARTS = {
    "train": ((), ("train",)),
    "no word": ((), ()),
    "train on PATH": (("--entrypoint", "train"), ()),
    "train in bash": (("--entrypoint", "bash"), ("-c", "train")),
}


def test_leaves_every_artifact(trained):
    base_dir, _, _ = trained
    left = {path.name: path.stat().st_size for path in (base_dir / "model").iterdir()}
    names = ("model.safetensors", "model.json", "metrics.json", "metrics.jsonl", "memory.csv")
    assert all(left[name] > 0 for name in (*names, "report.html"))
    assert not (base_dir / "output/failure").exists()


def test_artifacts_hold_what_they_say(trained):
    base_dir, _, _ = trained
    metrics = json.loads((base_dir / "model/metrics.json").read_text())
    assert metrics["stopped"] is False
    assert metrics["epochs"] == 1
    assert metrics["datasets"]["rid"]["num_train"] == 4
    assert metrics["datasets"]["rid"]["num_val"] == 2
    assert metrics["memory"]["peaks"]["train"]["rss_gib"] > 0
    rows = (base_dir / "model/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1]
    with safe_open(base_dir / "model/model.safetensors", framework="pt") as weights:
        assert weights.keys()


def test_logs_metrics_for_sagemaker(trained):
    _, _, log = trained
    assert "val/segments/miou=" in log
    assert "\r" not in log


def test_evaluate_is_a_command_of_the_image(run: Run, trained):
    base_dir, options, _ = trained
    result = run(
        *("evaluate", "--model", "/opt/ml/model", "--rid", "/opt/ml/input/data/rid"),
        *("--split", "val", "--out", "/opt/ml/evaluation.json"),
        options=options,
    )
    assert result.returncode == 0, result.stderr
    assert "val/segments/miou" in (base_dir / "evaluation.json").read_text()


@pytest.fixture(scope="module")
def three_datasets(tmp_path_factory):
    """A job's /opt/ml with all three datasets."""
    base_dir = tmp_path_factory.mktemp("three")
    make_sample(base_dir, little_of_all())
    (base_dir / "input/config/hyperparameters.json").write_text(json.dumps(TINY))
    return base_dir


def test_trains_on_all_three_datasets_from_channels_it_cannot_write(run: Run, three_datasets):
    data_dir = three_datasets / "input/data"
    options = ["--volume", f"{three_datasets}:/opt/ml"]
    options += ["--volume", f"{data_dir}:/opt/ml/input/data:ro"]
    result = run("train", options=options)
    assert result.returncode == 0, result.stdout + result.stderr
    metrics = json.loads((three_datasets / "model/metrics.json").read_text())
    assert metrics["trained_tasks"] == ["segments", "lines", "depth"]
    assert list(metrics["datasets"]) == ["rid", "roofline", "airs"]


def test_own_roofs_train_from_a_folder_that_is_mounted(run: Run, tmp_path):
    """Vectors are read in the image, with its GDAL and PROJ; no file says what the job is."""
    write_own(tmp_path / "own", SplitParameters(4, 2, 2, seed=0, size_px=128))
    (tmp_path / "ml").mkdir()
    options = ["--volume", f"{tmp_path}/ml:/opt/ml", "--volume", f"{tmp_path}/own:/data:ro"]
    settings = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    result = run("train", "--own", "/data", *settings, options=options)
    assert result.returncode == 0, result.stdout + result.stderr
    metrics = json.loads((tmp_path / "ml/model/metrics.json").read_text())
    assert metrics["datasets"]["own"]["num_train"] == 4
    assert metrics["trained_tasks"] == ["segments", "lines", "depth"]


def test_check_data_is_a_command_of_the_image(run: Run, three_datasets):
    data_dir = three_datasets / "input/data"
    names = ("rid", "roofline", "airs")
    dirs = [word for name in names for word in (f"--{name}", f"/data/{name}")]
    result = run("check-data", *dirs, options=["--volume", f"{data_dir}:/data:ro"])
    assert result.returncode in (0, 1), result.stdout + result.stderr
    assert all(title in result.stdout for title in ("RID", "Roofline", "AIRS"))
    image = next((data_dir / "rid/images_roof_centered_geotiff").iterdir())
    image.write_bytes(image.read_bytes()[:300])
    damaged = run("check-data", *dirs, options=["--volume", f"{data_dir}:/data:ro"])
    assert damaged.returncode in (1, 2)
    assert image.name in damaged.stdout + damaged.stderr


@pytest.mark.parametrize("start", STARTS)
def test_bad_hyperparameter_fails_with_its_reason(run: Run, tmp_path, start):
    """All ways to start reach training: each reports this one's mistake."""
    options = write_job(tmp_path, TINY | {"epochs": "-1"})
    entrypoint, words = STARTS[start]
    result = run(*words, options=[*options, *entrypoint])
    assert result.returncode == 2
    failure = (tmp_path / "output/failure").read_text()
    assert failure.startswith("epochs: got '-1', expected a whole number, at least 1")


def test_missing_channel_fails_with_its_reason(run: Run, tmp_path):
    options = write_job(tmp_path, TINY)
    (tmp_path / "input/config/inputdataconfig.json").write_text("{}")
    result = run("train", options=options)
    assert result.returncode == 2
    failure = (tmp_path / "output/failure").read_text()
    assert "expected a channel named rid" in failure.splitlines()[0]


def test_unknown_word_is_refused(run: Run):
    result = run("trian")
    assert result.returncode == 2
    assert "trian" in result.stderr + result.stdout
