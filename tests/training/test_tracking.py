"""What a run can be followed by while it trains."""

import json
from types import SimpleNamespace

import pytest

from app.job.paths import Paths
from app.report.events import read_records
from app.training.tracking import publish_rows

ROWS = [
    {"epoch": epoch, "step": 5 * epoch, "time_s": 2.0 * epoch, "train/loss": 0.5}
    for epoch in (1, 2)
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """As much of a run as is written."""
    monkeypatch.delenv("TRAINING_JOB_NAME", raising=False)
    paths = Paths(tmp_path / "ml")
    paths.checkpoint_dir.mkdir(parents=True)
    return SimpleNamespace(
        progress=SimpleNamespace(results=SimpleNamespace(history=ROWS[:1])),
        job=SimpleNamespace(paths=paths),
        hyperparameters=SimpleNamespace(tensorboard=True),
    )


def events_of(run):
    return sorted(run.job.paths.tensorboard_dir.glob("*/events.out.tfevents.*"))


def test_rows_lie_beside_the_checkpoints_and_in_tensorboards_file(run):
    publish_rows(run)
    run.progress.results.history = ROWS
    publish_rows(run)
    lines = (run.job.paths.checkpoint_dir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    [path] = events_of(run)
    assert path.parent.name.startswith("ml-")
    assert len(list(read_records(path.read_bytes()))) == 3


def test_the_name_of_a_job_is_that_of_its_folder(run, monkeypatch):
    monkeypatch.setenv("TRAINING_JOB_NAME", "roofs-7")
    publish_rows(run)
    [path] = events_of(run)
    assert path.parent.name.startswith("roofs-7-")


def test_tensorboards_file_is_for_who_asks_for_it(run):
    run.hyperparameters.tensorboard = False
    publish_rows(run)
    assert not run.job.paths.output_dir.exists()


def test_a_failure_costs_a_warning_and_nothing_else(run, caplog):
    run.job.paths.output_dir.write_text("a file where a folder should be")
    publish_rows(run)
    [record] = caplog.records
    start = f"{run.job.paths.tensorboard_dir} cannot be written: NotADirectoryError: "
    assert record.getMessage().startswith(start)
    assert record.getMessage().endswith("; training continues")
    assert (run.job.paths.checkpoint_dir / "metrics.jsonl").exists()


def test_other_ranks_write_nothing(run, monkeypatch):
    monkeypatch.setattr("app.training.tracking.rank", lambda: 1)
    publish_rows(run)
    assert list(run.job.paths.checkpoint_dir.iterdir()) == []
