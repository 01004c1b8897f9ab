"""Files of weights: checkpoints to resume from, the exported model, pretrained backbones.

Nothing here unpickles what a file says: torch files load with weights_only=True, the exported model
is safetensors and JSON.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from app.errors import CheckpointError, join_problems
from app.model import HybridRoofModel
from app.storage import replacing
from app.tasks import AzimuthBins, Task, build_tasks

logger = logging.getLogger(__name__)

MODEL_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"

_CHECKPOINT_NAME = re.compile(r"step-(\d{8})\.pt")
_WEIGHT_SUFFIXES = (".pth", ".pt", ".safetensors")
# Names under which training scripts wrap a backbone, and parts of it that we have no use for.
_WRAPPERS = ("module.", "backbone.", "encoder.", "model.")
_CLASSIFIER = "fc."


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
            problems.append(f"{path.name}: {_first_line(error)}")
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


def export_model(directory: Path, model: HybridRoofModel, description: Mapping[str, Any]) -> None:
    """Write model.safetensors and model.json.

    Args:
        directory: Made if it is not there.
        model: What to export.
        description: What a user of the weights must know; JSON types.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with replacing(directory / MODEL_FILE) as file:
        file.write(save(tensors))
    text = json.dumps(dict(description), indent=2) + "\n"
    (directory / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def load_exported_model(directory: Path) -> tuple[HybridRoofModel, dict[str, Any]]:
    """The model of an export, and its description.

    Raises:
        CheckpointError: If a file is missing, damaged or of another architecture.
    """
    missing = [name for name in (MODEL_FILE, DESCRIPTION_FILE) if not (directory / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{directory} holds no trained model: {', '.join(missing)} missing; give the model "
            "folder that a training run has written"
        )
    try:
        description = json.loads((directory / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        architecture = description["architecture"]
        tasks = _read_tasks(architecture)
        model = HybridRoofModel(tasks, decoder_channels=int(architecture["decoder_channels"]))
        model.load_state_dict(load_file(directory / MODEL_FILE))
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the model in {directory} cannot be loaded: {_first_line(error)}; copy "
            f"{MODEL_FILE} and {DESCRIPTION_FILE} again, both from one run"
        ) from error
    return model, description


def _read_tasks(architecture: Mapping[str, Any]) -> tuple[Task, ...]:
    # Files of a time before these two choices have neither: 16 directions, no superstructures.
    azimuth_bins = architecture.get("azimuth_bins", 16)
    if azimuth_bins not in get_args(AzimuthBins):
        choices = ", ".join(str(choice) for choice in get_args(AzimuthBins))
        raise ValueError(f"azimuth_bins is {azimuth_bins!r}, expected one of {choices}")
    return build_tasks(
        azimuth_bins, superstructures=bool(architecture.get("superstructures", False))
    )


def find_pretrained_weights(channel: Path) -> Path:
    """The one file of weights in a `pretrained` channel.

    Raises:
        CheckpointError: If there is none, or more than one to choose from.
    """
    found = sorted(path for path in channel.iterdir() if path.suffix in _WEIGHT_SUFFIXES)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"channel pretrained: expected one file ending in {', '.join(_WEIGHT_SUFFIXES)} in "
            f"{channel}, got {names}; leave exactly one there"
        )
    return found[0]


def load_backbone_weights(model: HybridRoofModel, path: Path) -> int:
    """Load ResNet50 weights in torchvision's names into the backbone.

    Prefixes that wrap a backbone (module., backbone., encoder., model.) are taken off and the
    classifier is left out.

    Returns:
        How many tensors were loaded.

    Raises:
        CheckpointError: If the file cannot be read, or any tensor of the backbone is missing or of
            another shape.
    """
    tensors = {_bare_name(name): value for name, value in _read_tensors(path).items()}
    expected = model.backbone.state_dict()
    problems = [f"{name}: missing" for name in expected if _is_weight(name) and name not in tensors]
    problems += [
        f"{name}: shape {tuple(tensors[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    matched = {name: tensors[name] for name in expected if name in tensors}
    if problems:
        raise CheckpointError(
            f"backbone_weights: {path} is no ResNet50 of torchvision: {len(problems)} of "
            f"{len(expected)} tensors do not fit: {join_problems(problems)}; give the state_dict "
            "of torchvision's resnet50 (3 input bands)"
        )
    model.backbone.load_state_dict(matched, strict=False)
    unused = sorted(tensors.keys() - expected.keys())
    unused = [name for name in unused if not name.startswith(_CLASSIFIER)]
    logger.info(
        "backbone weights: %d of %d tensors from %s, %d others in the file not used",
        len(matched),
        len(expected),
        path,
        len(unused),
    )
    return len(matched)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"backbone_weights: {path} cannot be read: {_first_line(error)}; give a file of "
            "tensors only, written with torch.save(model.state_dict(), path) or as safetensors"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise CheckpointError(
            f"backbone_weights: {path} holds a {type(content).__name__}, expected a dict of "
            "tensors; save model.state_dict()"
        )
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _bare_name(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.split(".", 1)[1]
    return name


def _is_weight(name: str) -> bool:
    # Counters of seen batches: absent from old files, and of no effect on us.
    return not name.endswith("num_batches_tracked")


def _list_checkpoints(directory: Path) -> list[Path]:
    """Newest first."""
    if not directory.is_dir():
        return []
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if _CHECKPOINT_NAME.fullmatch(entry.name)]
    return [directory / name for name in sorted(names, reverse=True)]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
