"""The figures that benchmarks of jobs read from a job's files."""

import json
from pathlib import Path

import pytest

from bench.stop import read_step_s
from bench.support.jobs.on_gpu import read_figures

LOG = """\
2026-11-25T08:00:00.000Z INFO app.training.train: training segments, 100 steps an epoch
2026-11-25T08:00:05.500Z INFO app.training.train: first step done
2026-11-25T08:00:15.500Z INFO app.training.train: asked to stop at step 6: saving what there is
"""


def test_step_time_is_that_of_the_steps_after_the_first() -> None:
    assert read_step_s(LOG) == 2.0


def test_a_log_without_a_stop_says_nothing() -> None:
    with pytest.raises(ValueError, match="names no first step or no stop"):
        read_step_s("\n".join(LOG.splitlines()[:2]))


def test_figures_are_of_the_second_epoch(tmp_path: Path) -> None:
    rows = [{"time_s": 30.0, "train/loss": 3.0}, {"time_s": 40.0, "train/loss": 2.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    peaks = {"cuda_allocated_gib": 3.5, "cuda_reserved_gib": None, "rss_gib": 2.0}
    step_time = {"step_s": 0.5, "wait_s": 0.02, "transfer_s": 0.01}
    document = {
        "num_samples": 960,
        "memory": {"peaks": {"train": peaks}},
        "step_time": step_time,
    }
    (tmp_path / "metrics.json").write_text(json.dumps(document))
    assert read_figures(tmp_path) == {
        "epoch_s": 10.0,
        "samples_per_s": 48.0,
        "step_s": 0.5,
        "wait_share": 0.04,
        "transfer_share": 0.02,
        "cuda_allocated_gib": 3.5,
        "cuda_reserved_gib": 0.0,
        "rss_gib": 2.0,
        "train_loss": 2.0,
    }
