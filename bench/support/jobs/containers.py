"""Jobs in containers of the image, as the platform's host runs them."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from app.synthetic.staging import SplitParameters
from app.synthetic.write_rid import write_rid


def docker(
    *words: str, timeout_s: float | None = 300, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A docker command that has ended, its streams as text.

    Args:
        words: Behind `docker`.
        timeout_s: None for a command that may take any time.
        environment: Variables beside those of this process.
    """
    return subprocess.run(
        ["docker", *words],
        env=os.environ | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def require_image(image: str) -> None:
    """End the benchmark with one line, and 0, where there is no engine or no image."""
    try:
        result = docker("image", "inspect", image)
        problem = result.stderr.strip() if result.returncode else None
    except FileNotFoundError:
        problem = "no docker command here"
    if problem is not None:
        print(f"not measured: {problem}; it needs a Docker engine and the image (make image)")
        sys.exit(0)


def write_job(
    base_dir: Path, settings: Mapping[str, str], *, num_train: int, num_val: int, size_px: int
) -> None:
    """Write the tree to mount at /opt/ml: scenes in RID's layout, and the configuration."""
    write_rid(
        base_dir / "input/data/rid", SplitParameters(num_train, num_val, 1, seed=0, size_px=size_px)
    )
    config_dir = base_dir / "input/config"
    config_dir.mkdir(parents=True, exist_ok=True)
    contents = {"hyperparameters": dict(settings), "inputdataconfig": {"rid": {}}}
    for name, content in contents.items():
        (config_dir / f"{name}.json").write_text(json.dumps(content))


@contextlib.contextmanager
def running(image: str, base_dir: Path, options: Sequence[str] = ()) -> Iterator[str]:
    """A container that trains in base_dir; gone afterwards."""
    volume = f"{base_dir}:/opt/ml"
    words = ["run", "--detach", "--network", "none", "--shm-size", "1g", "--volume", volume]
    started = docker(*words, *options, image, "train")
    if started.returncode:
        sys.exit(f"docker run failed: {started.stderr.strip()}")
    container = started.stdout.strip()
    try:
        yield container
    finally:
        docker("rm", "--force", container)


def logs(container: str) -> str:
    """The output of a container so far."""
    result = docker("logs", container)
    return result.stdout + result.stderr


def wait_for_line(container: str, text: str, limit_s: float = 600) -> None:
    """Wait until a container prints the text; if it ends or takes longer, the benchmark ends."""
    deadline_s = time.monotonic() + limit_s
    while text not in (printed := logs(container)):
        state = docker("inspect", "--format", "{{.State.Running}}", container).stdout.strip()
        if state != "true" or time.monotonic() > deadline_s:
            sys.exit(f"no {text!r} in what the job printed:\n{printed[-3000:]}")
        time.sleep(0.1)


def wait(container: str, limit_s: float = 600) -> int:
    """The exit code of a container, once it has ended."""
    return int(docker("wait", container, timeout_s=limit_s).stdout)
