"""Whole jobs of a comparison, each once: trained and scored by the commands that people use."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.base.children import stopping_with_parent
from app.base.dataset_names import DatasetName
from bench.support.environment import ROOT, describe_machine

SPLITS: Final = ("val", "test")
# The published lists: 12, 3 and 3 of the photos that lie beside the checkout.
RID_SETTINGS: Final = {"rid_split": "release"}
# What runs a command of ours, up to its name.
APP: Final = (sys.executable, "-m", "app")
_METRICS: Final = "model/metrics.json"
_HISTORY: Final = "model/metrics.jsonl"


@dataclass(frozen=True)
class TuningJob:
    """A training job of a comparison.

    Attributes:
        label: Names it in tables and files.
        seed: Its hyperparameter `seed`.
        data: Folders of what it trains on, by dataset.
        settings: Its other hyperparameters.
        start: What it starts from, as a hyperparameter and a path.
        program: What runs it, up to the word "train".
    """

    label: str
    seed: int
    data: Mapping[DatasetName, Path]
    settings: Mapping[str, object]
    start: Mapping[str, Path] = field(default_factory=dict)
    program: Sequence[str] = APP

    def train(self, base_dir: Path) -> dict[str, Any]:
        """Train in a folder, or resume there; returns its metrics.json."""
        words = ["train", "--base-dir", str(base_dir)]
        words += [f"--{name}={folder}" for name, folder in self.data.items()]
        settings = {"seed": self.seed, **self.settings, **self.start}
        words += [f"--set={key}={value}" for key, value in settings.items()]
        run_app(words, self.program)
        metrics: dict[str, Any] = json.loads((base_dir / _METRICS).read_text())
        return metrics


def score_on_rid(model_dir: Path, rid: Path, scratch_dir: Path) -> dict[str, float]:
    """Roof IoU of a model on RID's photos that nothing trains on: of each split, and of all."""
    counts = []
    for split in SPLITS:
        out = scratch_dir / f"scores-{split}.json"
        words = ["evaluate", "--model", str(model_dir), "--rid", str(rid), "--split", split]
        settings = [f"--set={key}={value}" for key, value in RID_SETTINGS.items()]
        run_app([*words, "--out", str(out), *settings])
        matrix = json.loads(out.read_text())["confusion_matrix"][f"{split}/segments"]
        counts.append(np.array(matrix["counts"], np.int64))
    scores = {
        f"{split}_roof_iou": roof_iou(part) for split, part in zip(SPLITS, counts, strict=True)
    }
    return {"roof_iou": roof_iou(sum(counts[1:], counts[0])), **scores}


def roof_iou(counts: np.ndarray) -> float:
    """IoU of roof, whatever its class, by a confusion matrix with background as its last class."""
    both = counts[:-1, :-1].sum()
    return float(both / (counts.sum() - counts[-1, -1]))


def run_job(job: TuningJob, rid: Path, result: Path) -> dict[str, Any]:
    """The result of a job, which is trained and scored where it is not there.

    The folder of an interrupted job is used again; that of a finished one goes.
    """
    if result.exists():
        found: dict[str, Any] = json.loads(result.read_text())
        return found
    base_dir = result.with_suffix("")
    metrics = job.train(base_dir)
    document = {
        "label": job.label,
        "seed": job.seed,
        "scores": score_on_rid(base_dir / "model", rid, base_dir),
        "steps": metrics["steps"],
        "train_s": metrics["steps"] * metrics["step_time"]["step_s"],
        "score": metrics["kept"]["score"],
        "step0_score": _read_start(base_dir),
        "load": os.getloadavg()[1],
        "machine": describe_machine(),
    }
    unfinished = result.with_suffix(".tmp")
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.rename(result)
    shutil.rmtree(base_dir)
    return document


def _read_start(base_dir: Path) -> float | None:
    """The score before the first step; None of a job that started from no model."""
    with (base_dir / _HISTORY).open(encoding="utf-8") as file:
        first = json.loads(next(file))
    score: float | None = first["val/score"] if first["epoch"] == 0 else None
    return score


def run_app(arguments: Sequence[str], program: Sequence[str] = APP) -> None:
    """Run a command of `app`; the benchmark ends where it fails.

    Args:
        arguments: Its name and options.
        program: What runs it, up to its name.
    """
    command = [*program, *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, preexec_fn=stopping_with_parent())
    if done.returncode:
        sys.exit(f"`app {arguments[0]}` ended with exit code {done.returncode}; see above")
