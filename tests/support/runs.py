"""Runs as users start them: real processes on small data."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from app.__main__ import main
from tests.support.paths import ROOT

# 12 samples, 3 steps an epoch, two of them with accumulated gradients.
SMALL = {
    "epochs": "2",
    "batch_size": "2",
    "grad_accum_steps": "2",
    "crop_size_px": "64",
    "num_workers": "0",
    "checkpoint_every_steps": "2",
    "precision": "fp32",
    "max_samples": "1000",  # all, but so the least length of an epoch does not hold
}


def copy_tree(source: Path, base_dir: Path, hyperparameters: dict[str, str]) -> Path:
    """An /opt/ml of its own with these hyperparameters."""
    shutil.copytree(source, base_dir)
    config = base_dir / "input/config/hyperparameters.json"
    config.write_text(json.dumps(hyperparameters))
    return base_dir


def command(base_dir: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "app", "train", "--base-dir", str(base_dir), *arguments]


def start(base_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(base_dir, *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(base_dir: Path, *arguments: str) -> tuple[int, str]:
    process = start(base_dir, *arguments)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@contextlib.contextmanager
def without_report() -> Iterator[None]:
    """Runs of this process draw no report: it takes longer than a few steps."""
    with (
        mock.patch("app.training.artifacts.collect_panels", return_value=()),
        mock.patch("app.training.artifacts.write_report"),
    ):
        yield


def run_here(base_dir: Path, *arguments: str) -> tuple[int, str]:
    """The same in this process, which has imported torch."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exit_code = main(["train", "--in-process", "--base-dir", str(base_dir), *arguments])
    return exit_code, output.getvalue()


def run_plain(base_dir: Path, *arguments: str) -> tuple[int, str]:
    """The same without a report, and without checkpoints in between."""
    with without_report():
        return run_here(base_dir, "--set=checkpoint_every_steps=100", *arguments)


def killed_after(step: int, base_dir: Path, target: Path) -> Path:
    """A copy of a run's tree as it was when the checkpoint of a step was the last file written."""
    shutil.copytree(base_dir / "input", target / "input")
    (target / "checkpoints").mkdir()
    for path in (base_dir / "checkpoints").glob("*-*.pt"):
        kind, _, number = path.stem.partition("-")
        if int(number) == step or (kind == "best" and int(number) < step):
            os.link(path, target / "checkpoints" / path.name)  # 0.4 GB, which nobody writes into
    return target


def wait_for(
    condition: Callable[[], Any], process: subprocess.Popen[str], timeout_s: float = 240
) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, f"ended before its time:\n{process.communicate()[0]}"
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)


def checkpoints(base_dir: Path) -> list[Path]:
    return sorted((base_dir / "checkpoints").glob("step-*.pt"))


def read_metrics(base_dir: Path) -> dict[str, Any]:
    return json.loads((base_dir / "model/metrics.json").read_text())


def read_history(base_dir: Path) -> list[dict[str, Any]]:
    lines = (base_dir / "model/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def failure(base_dir: Path) -> str:
    return (base_dir / "output/failure").read_text()


def weights(base_dir: Path) -> bytes:
    return (base_dir / "model/model.safetensors").read_bytes()
