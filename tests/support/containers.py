"""Shared by the container tests: docker commands, and jobs as SageMaker lays them out."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.synthetic.staging import SplitParameters
from app.synthetic.write_rid import write_rid

Run = Callable[..., subprocess.CompletedProcess[str]]

# As small as a job can be: two crops a step, all in one process.
TINY = {
    "epochs": "1",
    "crop_size_px": "64",
    "batch_size": "2",
    "num_workers": "0",
    "max_samples": "1000",  # all, but so the least length of an epoch does not hold
}


def docker(*arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """A docker command that has ended, its streams as text; its exit status is the caller's."""
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )


def write_job(
    base_dir: Path,
    hyperparameters: dict[str, str],
    *,
    host: str = "algo-1",
    hosts: Sequence[str] = ("algo-1",),
    num_val: int = 2,
) -> list[str]:
    """Writes what SageMaker mounts at /opt/ml, and returns docker's options for it."""
    config_dir = base_dir / "input/config"
    config_dir.mkdir(parents=True)
    files = {
        "hyperparameters": hyperparameters,
        "inputdataconfig": {"rid": {"TrainingInputMode": "File"}},
        "resourceconfig": {
            "current_host": host,
            "hosts": list(hosts),
            "network_interface_name": "eth0",
        },
    }
    for name, content in files.items():
        (config_dir / f"{name}.json").write_text(json.dumps(content))
    rid_dir = base_dir / "input/data/rid"
    write_rid(
        rid_dir, SplitParameters(num_train=4, num_val=num_val, num_test=2, seed=0, size_px=128)
    )
    return mount_job(base_dir)


def mount_job(base_dir: Path) -> list[str]:
    """Docker's options for a tree as SageMaker mounts it."""
    return ["--volume", f"{base_dir}:/opt/ml"]


@dataclass(frozen=True)
class Container:
    """A container that was started.

    Attributes:
        name: As docker takes it.
    """

    name: str

    def logs(self) -> str:
        """What it has printed so far."""
        result = docker("logs", self.name)
        return result.stdout + result.stderr

    def wait_for_line(self, text: str, timeout_s: float = 180) -> None:
        """Returns once it has printed the text; one that ends or takes long fails the test."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            printed = self.logs()
            if text in printed:
                return
            state = docker("inspect", "--format", "{{.State.Running}}", self.name).stdout
            if state.strip() != "true":
                break
            time.sleep(0.2)
        pytest.fail(f"no {text!r} in what the container printed: {printed[-4000:]}")

    def stop(self, grace_s: int) -> None:
        """Asks it to stop, and kills it if it has not ended after the grace."""
        stopped = docker("stop", "--time", str(grace_s), self.name)
        assert stopped.returncode == 0, stopped.stderr

    def exit_code(self, timeout_s: float = 150) -> int:
        """What it ended with; waits for its end."""
        return int(docker("wait", self.name, timeout_s=timeout_s).stdout)


def own_core() -> list[str]:
    """Options that keep a container on one core where several processes share the tests.

    Threads of two trainings on the same cores would wait for each other.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return []
    cores = sorted(os.sched_getaffinity(0))
    return ["--cpuset-cpus", str(cores[int(worker.removeprefix("gw")) % len(cores)])]


@contextlib.contextmanager
def running(image: str, *words: str, options: Sequence[str] = ()) -> Iterator[Container]:
    """A container in the background, without a network unless options name one; gone afterwards."""
    network = () if "--network" in options else ("--network", "none")
    started = docker("run", "--detach", *own_core(), *network, *options, image, *words)
    assert started.returncode == 0, started.stderr
    container = Container(started.stdout.strip())
    try:
        yield container
    finally:
        docker("rm", "--force", container.name)


def failure(base_dir: Path) -> str:
    return (base_dir / "output/failure").read_text()
