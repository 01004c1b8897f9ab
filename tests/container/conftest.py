"""The built images, started through the docker command as SageMaker's host does.

Nothing here skips: who asks for the container tests wants them run.
"""

import os
import subprocess
from collections.abc import Callable, Sequence

import pytest

from tests.support.containers import Run, docker, own_core

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
