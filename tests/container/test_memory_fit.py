"""What a container with little memory does: fits by itself, or says what would have fitted."""

import json
import re

import pytest

from tests.support.containers import Run, failure, write_job

pytestmark = pytest.mark.docker

TWO_GIB = ["--memory", "2g", "--memory-swap", "2g", "--shm-size", "512m"]
JOB = {
    "epochs": "1",
    "crop_size_px": "256",
    "num_workers": "1",
    "steps_per_epoch": "1",
    "precision": "fp32",
}


def test_an_automatic_batch_size_survives(run: Run, tmp_path):
    options = write_job(tmp_path, {**JOB, "batch_size": "auto", "global_batch_size": "16"})
    result = run("train", options=[*options, *TWO_GIB])
    assert result.returncode == 0, result.stdout[-4000:]
    chosen = re.search(r"batch_size=auto: (\d+) samples a pass, (\d+) passes a step", result.stdout)
    assert chosen, result.stdout
    size, num_passes = map(int, chosen.groups())
    assert size * num_passes == 16
    assert size < 16
    metrics = json.loads((tmp_path / "model/metrics.json").read_text())
    assert metrics["steps"] == 1
    assert metrics["num_samples"] == 16
    assert metrics["hyperparameters"]["batch_size"] == size
    assert metrics["memory"]["limit_gib"] == 2.0


def test_too_large_a_batch_is_told_what_would_have_fitted(run: Run, tmp_path):
    options = write_job(tmp_path, {**JOB, "batch_size": "16"})
    result = run("train", options=[*options, *TWO_GIB])
    assert result.returncode == 137, result.stdout[-4000:]
    message = failure(tmp_path).splitlines()[0]
    told = re.fullmatch(
        r"training process killed by the kernel \(SIGKILL\), probably out of memory: peak "
        r"(\d\.\d\d) GiB of a limit of 2\.00 GiB; batch_size=(\d+) with grad_accum_steps=(\d+) "
        r"would fit; or take an instance with more memory",
        message,
    )
    assert told, message
    assert float(told[1]) > 1.9
    size, num_passes = int(told[2]), int(told[3])
    assert size * num_passes == 16
    # What it says is true.
    fitting = {**JOB, "batch_size": str(size), "grad_accum_steps": str(num_passes)}
    options = write_job(tmp_path / "again", fitting)
    again = run("train", options=[*options, *TWO_GIB])
    assert again.returncode == 0, again.stdout[-4000:]
