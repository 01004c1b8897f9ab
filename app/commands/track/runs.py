"""Runs to be tracked, as they lie on a disk, finished or not."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.commands.run_folders import read_each
from app.job.paths import Paths

_HISTORY_FILE: Final = "metrics.jsonl"
_METRICS_FILE: Final = "metrics.json"


@dataclass(frozen=True)
class TrackedRun:
    """A run.

    Attributes:
        name: By which people know it.
        rows: Of metrics.jsonl; at least one.
        ended_s: When the last of them was written, in seconds since 1970.
        is_finished: Whether it has trained all its epochs.
        settings: Hyperparameters; empty while it is under way.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    ended_s: float
    is_finished: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_tracked_runs(paths: Sequence[Path]) -> list[TrackedRun]:
    """The runs at paths.

    Raises:
        ConfigError: If there is no run at one of them, or none that has validated yet; names all.
    """
    remedy = (
        "give folders of runs, such as local/ml; a run that has just begun has its first row after "
        "an epoch"
    )
    return read_each(paths, _read, ("track", f"holds no {_HISTORY_FILE} to track", remedy))


def _read(path: Path) -> TrackedRun:
    history_file = _find_history(path)
    lines = history_file.read_text(encoding="utf-8").splitlines()
    rows = [dict(json.loads(line)) for line in lines]
    if not rows or not all(isinstance(row["step"], int) for row in rows):
        raise ValueError("it has no row")
    ended_s = history_file.stat().st_mtime
    name = _name_of(history_file.parent)
    try:
        document = json.loads((history_file.parent / _METRICS_FILE).read_text(encoding="utf-8"))
        return TrackedRun(
            name, rows, ended_s, not document["stopped"], dict(document["hyperparameters"])
        )
    except FileNotFoundError:  # under way
        return TrackedRun(name, rows, ended_s)


def _find_history(path: Path) -> Path:
    """The newest metrics.jsonl of a run: of its model folder, or beside its checkpoints.

    Raises:
        FileNotFoundError: If there is none.
    """
    if path.name == _HISTORY_FILE:
        return path
    model, checkpoints = Paths().model_dir.name, Paths().checkpoint_dir.name
    folders = [path, path / model, path / checkpoints]
    if path.resolve().name == model:  # of a run that was started again, and trains on
        folders.append(path.resolve().parent / checkpoints)
    found = [folder / _HISTORY_FILE for folder in folders if (folder / _HISTORY_FILE).is_file()]
    if not found:
        raise FileNotFoundError(2, "No such file")
    # Of two that were written in the same moment, the one of the model folder, which is finished.
    return max(found, key=lambda file: (file.stat().st_mtime, -found.index(file)))


def _name_of(folder: Path) -> str:
    """The run's name: that of the folder around its model or its checkpoints."""
    full = folder.resolve()
    inner = (Paths().model_dir.name, Paths().checkpoint_dir.name)
    return full.parent.name if full.name in inner else full.name
