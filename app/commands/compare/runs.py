"""Runs as they lie on a disk, and how they are alike."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.base.units import describe_duration
from app.commands.run_folders import read_each
from app.report.comparison import Column, Setting

_METRICS_FILE: Final = "metrics.json"
_HISTORY_FILE: Final = "metrics.jsonl"
_DESCRIPTION_FILE: Final = "model.json"
# They differ without changing what is learnt, or follow from the machine.
_NO_SETTINGS: Final = (
    "resume", "memory_profile", "memory_interval_s", "join_timeout_s", "tensorboard",
)  # fmt: skip
_SEED: Final = "seed"


@dataclass(frozen=True)
class RunResult:
    """What a run has left.

    Attributes:
        name: By which people know it.
        metrics: Content of metrics.json.
        history: Rows of metrics.jsonl.
        facts: What it was made of, besides its hyperparameters: data, revision, versions.
    """

    name: str
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """Hyperparameters and facts, as texts."""
        own = {
            name: str(value)
            for name, value in (self.metrics.get("hyperparameters") or {}).items()
            if name not in _NO_SETTINGS
        }
        return own | dict(self.facts)

    @property
    def num_val(self) -> dict[str, int]:
        """Validation photos by dataset."""
        datasets: Mapping[str, Mapping[str, Any]] = self.metrics.get("datasets") or {}
        return {name: int(facts.get("num_val") or 0) for name, facts in datasets.items()}

    @property
    def drawn(self) -> list[str]:
        """Datasets that a program drew."""
        datasets: Mapping[str, Mapping[str, Any]] = self.metrics.get("datasets") or {}
        return [name for name, facts in datasets.items() if facts.get("synthetic")]


def read_runs(paths: Sequence[Path]) -> list[RunResult]:
    """The runs at paths: trees, model folders, or their metrics.json.

    Raises:
        ConfigError: If there is no run at one of them; names all of these.
    """
    remedy = "give folders that runs have finished, such as local/ml"
    found = read_each(paths, _read, ("compare", "holds no results of a run", remedy))
    return [_rename(found, number) for number in range(len(found))]


def build_columns(runs: Sequence[RunResult]) -> list[Column]:
    """A column for each group of runs that differ in their seed alone, in the order of the runs."""
    groups: dict[str, list[RunResult]] = {}
    for run in runs:
        key = json.dumps({**run.settings, _SEED: ""}, sort_keys=True)
        groups.setdefault(key, []).append(run)
    return [
        Column(
            name=members[0].name if len(members) == 1 else f"{members[0].name} x {len(members)}",
            runs=[run.name for run in members],
            metrics=[run.metrics.get("metrics") or {} for run in members],
            num_val=members[0].num_val,
            drawn=members[0].drawn,
        )
        for members in groups.values()
    ]


def find_different_settings(runs: Sequence[RunResult]) -> list[Setting]:
    """Settings that are not the same in all runs, with the value of each run."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    rows = [Setting(name, [run.settings.get(name, "-") for run in runs]) for name in names]
    different = [row for row in rows if len(set(row.values)) > 1]
    took = [describe_duration(float(run.metrics.get("duration_s") or 0)) for run in runs]
    return [*different, Setting("took", took)]


def _read(path: Path) -> RunResult:
    folder = path.parent if path.name == _METRICS_FILE else path
    if not (folder / _METRICS_FILE).exists() and (folder / "model" / _METRICS_FILE).exists():
        folder /= "model"
    metrics = dict(json.loads((folder / _METRICS_FILE).read_text(encoding="utf-8")))
    history_file = folder / _HISTORY_FILE
    lines = history_file.read_text(encoding="utf-8").splitlines() if history_file.exists() else []
    full = folder.resolve()
    name = full.parent.name if full.name == "model" else full.name
    return RunResult(name, metrics, [json.loads(line) for line in lines], _facts(folder, metrics))


def _facts(folder: Path, metrics: Mapping[str, Any]) -> dict[str, str]:
    """What a run was made of; entries of a damaged description are left out."""
    facts = {f"version of {name}": str(text) for name, text in metrics.get("versions", {}).items()}
    for name, dataset in (metrics.get("datasets") or {}).items():
        facts[f"photos of {name}"] = f"{dataset.get('num_train')} + {dataset.get('num_val')}"
        facts[f"{name} is"] = "synthetic" if dataset.get("synthetic") else "photos"
    try:
        described = dict(json.loads((folder / _DESCRIPTION_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return facts
    facts["revision"] = str(described.get("revision"))
    initial = described.get("initial_model")
    facts["started from"] = "nothing" if initial is None else str(initial.get("sha256"))[:12]
    return facts


def _rename(runs: Sequence[RunResult], number: int) -> RunResult:
    """The run with a name that no other one has."""
    run = runs[number]
    before = [other.name for other in runs[:number]].count(run.name)
    name = run.name if before == 0 else f"{run.name} ({before + 1})"
    return RunResult(name, run.metrics, run.history, run.facts)


def common_folder(paths: Sequence[Path]) -> Path:
    """The innermost folder that holds all runs."""
    parents = [str(path.absolute().parent) for path in paths]
    return Path(os.path.commonpath(parents))
