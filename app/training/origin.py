"""What a model was made of: data with their licences, date, command, and revision of the code."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from app.base.dataset_names import DATASETS
from app.data.datasets import Datasets
from app.job.start_log import mask_secret, read_revision
from app.synthetic.staging import is_synthetic

_SYNTHETIC_LICENCE: Final = "MIT: villages drawn by this project, no photos"
# Keys of model.json.
_NAMES: Final = ("data", "created", "revision", "initial_model")


def origin_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """What the model.json of a model to start from says of where that one is from."""
    return {name: description[name] for name in _NAMES if name in description}


def describe_origin(
    datasets: Datasets, channels: Mapping[str, Path], initial_model: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What model.json says of where a model is from, in plain types.

    Args:
        datasets: What it was trained on.
        channels: Their folders.
        initial_model: What is known of the model that it started from, whose data and licences are
            its own, too; None without one.
    """
    if initial_model is not None:
        initial_model = {"sha256": initial_model["sha256"], **initial_model["origin"]}
    data: dict[str, Any] = {}
    for source in datasets.train.sources:
        name = source.reader.name
        is_drawn = is_synthetic(channels[name])
        data[name] = {
            "title": DATASETS[name].title,
            "num_train": source.num_photos,
            "synthetic": is_drawn,
            "licence": _SYNTHETIC_LICENCE if is_drawn else DATASETS[name].licence,
        }
    return {
        "data": data,
        "initial_model": initial_model,
        "created": _now(),
        "revision": read_revision(),
    }


def describe_run() -> dict[str, str]:
    """What metrics.json says of when and how a run was started: date, revision, command."""
    return {"created": _now(), "revision": read_revision(), "command": describe_command(sys.argv)}


def describe_command(arguments: Sequence[str]) -> str:
    """The command that trains, as one types it, without secrets; empty if another program does.

    Args:
        arguments: sys.argv of a training process.
    """
    program, *given = arguments
    if Path(program).parts[-2:] != ("app", "__main__.py"):
        return ""
    if "--supervised" in given:  # what a parent process adds
        position = given.index("--supervised")
        given = given[:position] + given[position + 2 :]
    return shlex.join(["python", "-m", "app", *map(_mask, given)])


def _mask(argument: str) -> str:
    """NAME=VALUE with stars for a secret; anything else unchanged."""
    option = "--set=" if argument.startswith("--set=") else ""
    name, separator, value = argument.removeprefix(option).partition("=")
    return f"{option}{name}={mask_secret(name, value)}" if separator else argument


def describe_datasets(datasets: Datasets, channels: Mapping[str, Path]) -> dict[str, Any]:
    """Datasets.to_json, with the folder of each and whether a program drew it.

    Args:
        datasets: What a run trains and validates on.
        channels: Their folders.
    """
    return {
        name: {**facts, "synthetic": is_synthetic(channels[name]), "folder": str(channels[name])}
        for name, facts in datasets.to_json().items()
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
