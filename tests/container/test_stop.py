"""How a job ends that is asked to, by every way that signals take; and by those that give none."""

import json
import signal
import time

import pytest
from safetensors import safe_open

from tests.support.containers import TINY, docker, running, write_job

pytestmark = pytest.mark.docker

LONG = TINY | {"epochs": "10000"}
TRAINED = "metric epoch=1 "
# How process 1 is started, and so who gets the signal first.
STARTS = {
    "without a word": ((), ()),
    "train on PATH": (("--entrypoint", "train"), ()),
    "below docker's init": (("--init",), ("train",)),
    "in the place of bash": (("--entrypoint", "bash"), ("-c", "exec train")),
}


def assert_stopped(base_dir, *, trained=True):
    """A model, a checkpoint to resume from, and no failure."""
    metrics = json.loads((base_dir / "model/metrics.json").read_text())
    assert metrics["stopped"] is True
    assert metrics["epochs"] < 10000
    with safe_open(base_dir / "model/model.safetensors", framework="pt") as weights:
        assert weights.keys()
    assert (base_dir / "model/report.html").stat().st_size > 0
    newest = max((base_dir / "checkpoints").glob("step-*.pt")).stem
    assert newest == f"step-{metrics['steps']:08d}"
    assert (metrics["epochs"] > 0) is trained
    assert not (base_dir / "output/failure").exists()


@pytest.mark.parametrize("start", STARTS)
def test_stop_saves_and_ends_with_0(image, tmp_path, start):
    """StopTrainingJob: SIGTERM, and SIGKILL 120 s later."""
    options, words = STARTS[start]
    job = write_job(tmp_path, LONG)
    with running(image, *words, options=[*job, *options]) as container:
        container.wait_for_line(TRAINED)
        container.stop(120)
        assert container.exit_code() == 0, container.logs()
    assert_stopped(tmp_path)


def test_stop_before_the_first_step(image, tmp_path):
    with running(image, "train", options=write_job(tmp_path, LONG)) as container:
        container.wait_for_line("settings given")
        container.stop(120)
        assert container.exit_code() == 0, container.logs()
    assert_stopped(tmp_path, trained=False)


def test_stop_during_validation(image, tmp_path):
    """In an epoch of one step and a hundred photos to validate on, it is most of the time."""
    job = write_job(tmp_path, LONG | {"steps_per_epoch": "1"}, num_val=100)
    with running(image, "train", options=job) as container:
        container.wait_for_line("first step done")
        time.sleep(1)
        container.stop(120)
        assert container.exit_code() == 0, container.logs()
    assert_stopped(tmp_path, trained=False)


def test_a_job_stopped_as_sagemaker_does_saves_and_resumes(image, tmp_path):
    """And its data workers end with it."""
    job = write_job(tmp_path, LONG | {"num_workers": "1"})
    with running(image, "train", options=job) as container:
        container.wait_for_line(TRAINED)
        container.stop(120)
        assert container.exit_code() == 0, container.logs()
    assert_stopped(tmp_path)
    steps = json.loads((tmp_path / "model/metrics.json").read_text())["steps"]
    with running(image, "train", options=job) as container:
        container.wait_for_line(f"resuming from /opt/ml/checkpoints/step-{steps:08d}.pt")
        docker("kill", container.name)
        assert container.exit_code() == 128 + signal.SIGKILL
    assert (tmp_path / f"checkpoints/step-{steps:08d}.pt").is_file()


def test_several_processes_stop_together(image, tmp_path):
    job = write_job(tmp_path, LONG | {"processes_per_host": "2"})
    with running(image, "train", options=job) as container:
        container.wait_for_line(TRAINED)
        container.stop(120)
        assert container.exit_code() == 0, container.logs()
    assert_stopped(tmp_path)
