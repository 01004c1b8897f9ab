"""The built images, started through the docker command as SageMaker's host does.

Nothing here skips: who asks for the container tests wants them run.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.support.containers import TINY, Run, docker, mount_job, own_core, write_job
from tests.support.once import make_once

# Variant to the variable that names another image of it.
VARIABLES = {"cpu": "ROOF_IMAGE", "gpu": "ROOF_GPU_IMAGE"}


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> str:
    """The CPU image; a test that is parametrized with a variant gets that one."""
    variant = getattr(request, "param", "cpu")
    name = os.environ.get(VARIABLES[variant], f"roof-model:{variant}")
    engine = docker("version", "--format", "{{.Server.Version}}")
    if engine.returncode:
        pytest.fail(f"no Docker engine answers ({engine.stderr.strip()}); start one: .ci/docker-up")
    if docker("image", "inspect", name).returncode:
        pytest.fail(f"there is no image {name}; build it: make image-{variant}")
    return name


@pytest.fixture(scope="session")
def run(image: str) -> Run:
    """Runs the image with no network: options before the image, then words for its command."""

    def run_image(*words: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        settings = ("--rm", *own_core(), "--network", "none")
        return docker("run", *settings, *options, image, *words)

    return run_image


@pytest.fixture(scope="session")
def shell(run: Run) -> Callable[[str], str]:
    """What a bash script prints inside the image; a script that fails fails the test."""

    def run_script(script: str) -> str:
        result = run("-c", script, options=["--entrypoint", "bash"])
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    return run_script


@pytest.fixture(scope="session")
def trained(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """A finished job: its /opt/ml, docker's options for that and what the job printed.

    Its model is only read.
    """

    def train(base_dir: Path) -> None:
        result = run("train", options=write_job(base_dir, TINY))
        assert result.returncode == 0, result.stdout + result.stderr
        (base_dir / "log").write_text(result.stdout)

    base_dir = make_once(tmp_path_factory, "trained", train)
    return base_dir, mount_job(base_dir), (base_dir / "log").read_text()
