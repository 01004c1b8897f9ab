"""Files of weights: checkpoints to resume from, and the exported model.

Nothing here unpickles what a file says: torch files load with weights_only=True, the exported model
is safetensors and JSON.
"""

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from app.base.errors import CheckpointError, first_line, join_problems
from app.base.storage import replacing
from app.base.tasks import AzimuthBins, Task, build_tasks
from app.model import HybridRoofModel

logger = logging.getLogger(__name__)

MODEL_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"
# Goes up with every change of the network that gives its tensors other names, shapes or meanings.
_MODEL_FORMAT = 2

_CHECKPOINT_NAME = re.compile(r"step-(\d{8})\.pt")


def save_checkpoint(
    directory: Path, step: int, payload: Mapping[str, Any], keep_checkpoints: int
) -> Path:
    """Write step-NNNNNNNN.pt and delete all but the newest checkpoints.

    Args:
        directory: Made if it is not there.
        step: Optimizer steps done.
        payload: Tensors and plain Python types.
        keep_checkpoints: How many to keep, at least 1.

    Raises:
        OSError: If the file cannot be written; those before it are still there then.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"step-{step:08d}.pt"
    with replacing(path) as file:
        _save(payload, file)
    for left_over in directory.glob("step-*.pt.tmp"):  # of a run that was killed
        left_over.unlink(missing_ok=True)
    # One ahead of this step belongs to a run that was given up: it must not be resumed from.
    found = _list_checkpoints(directory)
    kept = [old_path for old_path in found if old_path.name <= path.name][:keep_checkpoints]
    for old_path in found:
        if old_path not in kept:
            old_path.unlink(missing_ok=True)
    return path


def _save(payload: Mapping[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(dict(payload), file)
    except RuntimeError as error:
        # Once the disk has failed, torch fails to end its file and tells of that instead.
        if isinstance(error.__context__, OSError):
            raise OSError(*error.__context__.args) from error
        raise


def load_latest_checkpoint(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, or None if there is none.

    Raises:
        CheckpointError: If there are checkpoints and every one is damaged.
    """
    problems = []
    for path in _list_checkpoints(directory):
        try:
            payload: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        # A damaged file fails in whatever part of the reader meets the damage first.
        except Exception as error:
            problems.append(f"{path.name}: {first_line(error)}")
            logger.warning("checkpoint %s is damaged, trying the one before: %s", path, error)
            continue
        return path, payload
    if problems:
        raise CheckpointError(
            f"every checkpoint in {directory} is damaged: {join_problems(problems)}; delete them, "
            "or set resume=never to start anew"
        )
    return None


def count_checkpoints(directory: Path) -> int:
    """How many checkpoints there are."""
    return len(_list_checkpoints(directory))


def find_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """In words, what an earlier run had otherwise: `epochs was 2, now 3`."""
    return [
        f"{key} was {old.get(key)}, now {new.get(key)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]


def find_misfits(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """In words, which tensors are missing, too many or of another shape."""
    problems = [f"{name}: missing" for name in expected if name not in tensors]
    problems += [f"{name}: not in this network" for name in tensors if name not in expected]
    problems += [
        f"{name}: shape {tuple(tensors[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    return problems


def export_model(directory: Path, model: HybridRoofModel, description: Mapping[str, Any]) -> None:
    """Write model.safetensors and model.json.

    Args:
        directory: Made if it is not there.
        model: What to export.
        description: What a user of the weights must know; JSON types. `format_version` is added.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with replacing(directory / MODEL_FILE) as file:
        file.write(save(tensors))
    text = json.dumps({"format_version": _MODEL_FORMAT, **description}, indent=2) + "\n"
    (directory / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def load_exported_model(directory: Path) -> tuple[HybridRoofModel, dict[str, Any]]:
    """The model of an export, and its description.

    Raises:
        CheckpointError: If a file is missing, damaged, of another format or architecture.
    """
    missing = [name for name in (MODEL_FILE, DESCRIPTION_FILE) if not (directory / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{directory} holds no trained model: {', '.join(missing)} missing; give the model "
            "folder that a training run has written"
        )
    remedy = f"copy {MODEL_FILE} and {DESCRIPTION_FILE} again, both from one run"
    try:
        description = json.loads((directory / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        if (found := description["format_version"]) != _MODEL_FORMAT:
            remedy = f"use the version of roof-model that {DESCRIPTION_FILE} names, or train again"
            raise ValueError(f"its format_version is {found!r}, expected {_MODEL_FORMAT}")
        architecture = description["architecture"]
        tasks = _read_tasks(architecture)
        _check_class_names(tasks, description["tasks"])
        model = HybridRoofModel(tasks, decoder_channels=int(architecture["decoder_channels"]))
        tensors = load_file(directory / MODEL_FILE)
        if problems := find_misfits(model.state_dict(), tensors):
            raise ValueError(
                f"{MODEL_FILE} is not of the network that {DESCRIPTION_FILE} describes: "
                f"{join_problems(problems)}"
            )
        model.load_state_dict(tensors)
    except (
        ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError, SafetensorError,
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"the model in {directory} cannot be loaded: {first_line(error)}; {remedy}"
        ) from error
    return model, description


def _read_tasks(architecture: Mapping[str, Any]) -> tuple[Task, ...]:
    azimuth_bins = architecture["azimuth_bins"]
    if azimuth_bins not in get_args(AzimuthBins):
        choices = ", ".join(str(choice) for choice in get_args(AzimuthBins))
        raise ValueError(f"azimuth_bins is {azimuth_bins!r}, expected one of {choices}")
    return build_tasks(azimuth_bins, superstructures=bool(architecture["superstructures"]))


def _check_class_names(tasks: Sequence[Task], described: Mapping[str, Any]) -> None:
    """See that a description means by its classes what the network of its architecture does."""
    for task in tasks:
        names = described[task.name]["class_names"]
        if tuple(names) != task.class_names:
            raise ValueError(
                f"{DESCRIPTION_FILE} names the classes of {task.name} {', '.join(names)}, but its "
                f"architecture has {', '.join(task.class_names)}"
            )


def _list_checkpoints(directory: Path) -> list[Path]:
    """Newest first."""
    if not directory.is_dir():
        return []
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if _CHECKPOINT_NAME.fullmatch(entry.name)]
    return [directory / name for name in sorted(names, reverse=True)]
