"""Runs of the comparison on real roofs: trained stage by stage, scored, kept; each resumes."""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.job.child_job import has_finished
from app.job.paths import Paths
from app.model.export import digest_weights
from app.settings.recipes import Recipe, Stage, count_steps, pace_settings_of, settings_of
from bench.support.environment import describe_machine
from bench.support.real.sources import RealRoofs, ScoredPart, read_scores
from bench.support.tuning import APP, RID_SETTINGS, TuningJob, run_app

OURS: Final = "ours"
# How often a model is asked about each window: once, or in all turns and flips.
SCORES_KEYS: Final[Mapping[int, str]] = {1: "scores", 8: "scores_tta8"}
_MAX_PHOTOS: Final = 500


@dataclass(frozen=True)
class Learner:
    """A network that learns by a recipe.

    Attributes:
        network: Its name; OURS or a peer's.
        python: The interpreter that has its library.
    """

    network: str
    python: Path

    @property
    def program(self) -> Sequence[str]:
        """What runs a command of `app` with it, up to the command's name."""
        if self.network == OURS:
            return APP
        return (str(self.python), "-m", "bench.support.real.as_peer", self.network)


@dataclass(frozen=True)
class RealRun:
    """A recipe, a network and a seed.

    Attributes:
        recipe: How it is trained.
        learner: What is trained.
        seed: Its hyperparameter `seed`.
        budget_s: Seconds of all steps together.
        without: The place that is left out of training; empty for none.
    """

    recipe: Recipe
    learner: Learner
    seed: int
    budget_s: float
    without: str = ""

    @property
    def label(self) -> str:
        """What tables call it, whatever the seed."""
        network = "" if self.learner.network == OURS else f"-{self.learner.network}"
        without = f"-without-{self.without}" if self.without else ""
        return f"{self.recipe.label}{network}{without}-{self.budget_s:g}s"

    def describe(self) -> dict[str, Any]:
        """What a result says of its run; JSON types."""
        return {
            "label": self.label,
            "recipe": self.recipe.label,
            "network": self.learner.network,
            "without": self.without,
            "budget_s": self.budget_s,
            "seed": self.seed,
            "stages": [[*stage[:2], dict(stage.settings)] for stage in self.recipe.stages],
        }


def measure_pace(learner: Learner, stage: Stage, roofs: RealRoofs, folder: Path) -> float:
    """Seconds of a step, of the first time that they were asked for.

    Args:
        learner: What computes.
        stage: Its settings tell what a step is.
        roofs: What is trained on.
        folder: Of the comparison; keeps the answer.
    """
    path = folder / "pace.json"
    paces: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    key = json.dumps(sorted(stage.settings.items()))
    if learner.network != OURS:
        key = f"{learner.network} {key}"
    if key not in paces:
        settings = {**RID_SETTINGS, **pace_settings_of(stage, list(roofs.train))}
        base_dir = folder / "pace"
        shutil.rmtree(base_dir, ignore_errors=True)  # of a call that was killed
        job = TuningJob("pace", 0, roofs.train, settings, program=learner.program)
        paces[key] = job.train(base_dir)["step_time"]["step_s"]
        shutil.rmtree(base_dir)
        _write_json(path, paces)
    return paces[key]


def count_all_steps(
    run: RealRun, roofs: RealRoofs, folder: Path, step_s: float | None = None
) -> list[int]:
    """Steps of each stage of a run.

    Args:
        run: The run.
        roofs: What is trained on.
        folder: Of the comparison.
        step_s: Seconds of a step, in place of measuring them.
    """
    return [
        count_steps(stage, run.budget_s, step_s or measure_pace(run.learner, stage, roofs, folder))
        for stage in run.recipe.stages
    ]


def stage_settings(stage: Stage, roofs: RealRoofs, steps: int) -> dict[str, object]:
    """All hyperparameters of a stage that are not defaults, but for its initial model."""
    return {**RID_SETTINGS, **settings_of(stage, list(roofs.train), steps)}


def finish_run(
    run: RealRun, roofs: RealRoofs, steps: Sequence[int], folder: Path, poses: Sequence[int]
) -> Mapping[str, Any]:
    """The result of a run, kept in a file beside its stages; what is there is not done again.

    Args:
        run: The run.
        roofs: What it trains on, and what it is scored on.
        steps: Steps of each stage.
        folder: Of the comparison.
        poses: How often to ask about each window, once for each of them.
    """
    result = folder / f"{run.label}-seed{run.seed}.json"
    base_dir = result.with_suffix("")
    begun = base_dir / "run.json"
    about = {**run.describe(), "steps": list(steps)}
    known = _read_json(result)
    if known is None:
        base_dir.mkdir(exist_ok=True)
        if (_read_json(begun) or about) != about:
            sys.exit(
                f"{begun}: another recipe or steps; give the same --step-s, or remove {base_dir}"
            )
        _write_json(begun, about)
    elif known["stages"] != about["stages"]:
        sys.exit(f"{result}: of another recipe of that name; move it away, and {base_dir}")
    about = known or about
    if all(SCORES_KEYS[number] in about for number in poses):
        return about
    model_dir, train_s = _train(run, roofs, base_dir, about["steps"])
    about.setdefault("train_s", train_s)
    return _score(about, run.learner.program, model_dir, roofs, result, poses)


def score_given(
    name: str, model_dir: Path, roofs: RealRoofs, folder: Path, poses: Sequence[int]
) -> Mapping[str, Any]:
    """The result of a model folder as it is, kept under a name and a digest of its weights."""
    result = folder / f"{name}-seed0-{digest_weights(model_dir)[:8]}.json"
    about = _read_json(result) or {"label": name, "seed": 0, "steps": []}
    return _score(about, APP, model_dir, roofs, result, poses)


def _train(
    run: RealRun, roofs: RealRoofs, base_dir: Path, steps: Sequence[int]
) -> tuple[Path, float]:
    """The model, trained stage by stage where it is not there, and the seconds of its steps."""
    model_dir, train_s = Path(), 0.0
    for number, (stage, num_steps) in enumerate(zip(run.recipe.stages, steps, strict=True)):
        start = {"initial_model": model_dir} if number else {}  # that of the stage before
        settings = stage_settings(stage, roofs, num_steps)
        stage_dir = base_dir / f"stage-{number}"
        model_dir = stage_dir / "model"
        if not has_finished(stage_dir):
            program = run.learner.program
            TuningJob(run.label, run.seed, roofs.train, settings, start, program).train(stage_dir)
        metrics = json.loads((model_dir / "metrics.json").read_text())
        if metrics["stopped"]:
            sys.exit(f"{run.label}: stopped in stage {stage.name}; the same command resumes")
        # Of half a gigabyte each; nothing resumes a stage that is done.
        shutil.rmtree(Paths(stage_dir).checkpoint_dir, ignore_errors=True)
        train_s += metrics["steps"] * metrics["step_time"]["step_s"]
    return model_dir, train_s


def _score(
    about: Mapping[str, Any],
    program: Sequence[str],
    model_dir: Path,
    roofs: RealRoofs,
    result: Path,
    poses: Sequence[int],
) -> Mapping[str, Any]:
    """The result of a model with the scores that it lacks, which is written into a file."""
    document = dict(about)
    base_dir = result.with_suffix("")
    base_dir.mkdir(exist_ok=True)
    for number in poses:
        if SCORES_KEYS[number] in document:
            continue
        scores: dict[str, float] = {}
        for part in roofs.hidden:
            found = score_part(program, model_dir, part, base_dir, number)
            scores |= {f"{part.label}/{name}": value for name, value in found.items()}
        document |= {
            SCORES_KEYS[number]: scores,
            "load": os.getloadavg()[1],
            "machine": describe_machine(),
        }
        _write_json(result, document)
    return document


def score_part(
    program: Sequence[str], model_dir: Path, part: ScoredPart, scratch_dir: Path, poses: int
) -> dict[str, float]:
    """Scores of a model on hidden photos; those that an earlier call has found are read.

    Args:
        program: What runs `evaluate`, up to that word.
        model_dir: The model.
        part: The photos.
        scratch_dir: Of this model alone.
        poses: How often to ask about each window.
    """
    out = scratch_dir / f"scores-{part.label}{'' if poses == 1 else f'-tta{poses}'}.json"
    if _read_json(out) is None:
        words = ["evaluate", "--model", str(model_dir), f"--{part.dataset}", str(part.folder)]
        words += ["--split", "test", "--vectors", "--tta", str(poses), "--out", str(out)]
        settings = {"max_val_samples": _MAX_PHOTOS, **part.settings}
        run_app([*words, *(f"--set={key}={value}" for key, value in settings.items())], program)
    return read_scores(out)


def _read_json(path: Path) -> dict[str, Any] | None:
    """Content of a file; None where it is not there, or was being written."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.rename(path)
