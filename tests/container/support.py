"""docker commands, and jobs as SageMaker lays them out: what the container tests share."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from app.synthetic.write_rid import write_rid

Run = Callable[..., subprocess.CompletedProcess[str]]

# As small as a job can be: two crops a step, all in one process.
TINY = {"epochs": "1", "crop_size_px": "64", "batch_size": "2", "num_workers": "0"}


def docker(*arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """A docker command that has ended, its streams as text; its exit status is the caller's."""
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )


def write_job(base_dir: Path, hyperparameters: dict[str, str]) -> list[str]:
    """Writes what SageMaker mounts at /opt/ml, and returns docker's options for it."""
    config_dir = base_dir / "input/config"
    config_dir.mkdir(parents=True)
    files = {
        "hyperparameters": hyperparameters,
        "inputdataconfig": {"rid": {"TrainingInputMode": "File"}},
        "resourceconfig": {
            "current_host": "algo-1",
            "hosts": ["algo-1"],
            "network_interface_name": "eth0",
        },
    }
    for name, content in files.items():
        (config_dir / f"{name}.json").write_text(json.dumps(content))
    rid_dir = base_dir / "input/data/rid"
    write_rid(rid_dir, num_train=4, num_val=2, num_test=2, seed=0, size_px=128)
    return ["--volume", f"{base_dir}:/opt/ml"]
