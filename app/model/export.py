"""The trained model as files that anyone can read: safetensors and JSON."""

import hashlib
import json
import platform
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, get_args

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from app import __version__
from app.base.errors import CheckpointError, first_line, join_problems
from app.base.storage import replacing
from app.base.tasks import AzimuthBins, Task, TaskName, build_tasks, find_task
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters

_PACKAGES = ("torch", "torchvision", "numpy", "opencv-contrib-python-headless", "rasterio")

MODEL_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"
# Goes up with every change of the network that gives its tensors other names, shapes or meanings.
_MODEL_FORMAT = 2
# How what the network returns is read, by kind of task.
_READINGS: Final[Mapping[str, str]] = {
    "classes": "logits: softmax over class_names gives probabilities, the highest is the class",
    "multilabel": "logits: sigmoid gives the probability of each of class_names by itself",
    "metres": "metres, not negative: nothing to be done",
}


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
    with replacing(directory / DESCRIPTION_FILE) as file:
        file.write(text.encode())


def describe_further(folder: Path, entries: Mapping[str, object]) -> None:
    """Add entries to model.json, or replace them; the file changes as a whole or not at all.

    Args:
        folder: Of a model.
        entries: JSON types.

    Raises:
        CheckpointError: If the folder holds no description that can be read.
        OSError: If it cannot be written.
    """
    path = folder / DESCRIPTION_FILE
    try:
        described = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: got a description that cannot be read ({first_line(error)}), expected "
            "that of a trained model; copy it again from the run that wrote it"
        ) from error
    text = json.dumps({**described, **entries}, indent=2) + "\n"
    with replacing(path) as file:
        file.write(text.encode())


def digest_weights(folder: Path) -> str:
    """SHA-256 of the weights in a model folder, by which a model is known."""
    with (folder / MODEL_FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def trained_tasks(
    directory: Path, model: HybridRoofModel, description: Mapping[str, Any]
) -> tuple[TaskName, ...]:
    """The tasks that the model of an export was trained on, in their order.

    Raises:
        CheckpointError: If there are none.
    """
    described = description["tasks"]
    trained = tuple(task.name for task in model.tasks if described[task.name].get("trained"))
    if not trained:
        raise CheckpointError(f"the model in {directory} was trained on no task; train it first")
    return trained


def _read_tasks(architecture: Mapping[str, Any]) -> tuple[Task, ...]:
    azimuth_bins = architecture["azimuth_bins"]
    if azimuth_bins not in get_args(AzimuthBins):
        choices = ", ".join(str(choice) for choice in get_args(AzimuthBins))
        raise ValueError(f"azimuth_bins is {azimuth_bins!r}, expected one of {choices}")
    return build_tasks(azimuth_bins, superstructures=bool(architecture["superstructures"]))


def _check_class_names(tasks: Sequence[Task], described: Mapping[str, Any]) -> None:
    """Check that a description names the classes of the network that its architecture builds."""
    for task in tasks:
        names = described[task.name]["class_names"]
        if tuple(names) != task.class_names:
            raise ValueError(
                f"{DESCRIPTION_FILE} names the classes of {task.name} {', '.join(names)}, but its "
                f"architecture has {', '.join(task.class_names)}"
            )


def describe_model(
    model: HybridRoofModel,
    hyperparameters: Hyperparameters,
    trained_classes: Mapping[TaskName, Collection[str]],
) -> dict[str, Any]:
    """The content of model.json: what a user of the weights must know.

    Args:
        model: The network that is exported.
        hyperparameters: Settings of its training; their gsd_m is the scale it expects of photos.
        trained_classes: For every trained task, the classes that its labels told apart; predictions
            of any other class mean nothing.
    """
    names = [task.name for task in model.tasks]
    return {
        "architecture": {
            "name": "HybridRoofModel",
            "backbone": "resnet50",
            "decoder_channels": model.decoder_channels,
            "azimuth_bins": find_task("segments", model.tasks).azimuth_bins or 1,
            "superstructures": "superstructures" in names,
        },
        "tasks": {
            task.name: {
                "kind": task.kind,
                "class_names": task.class_names,
                "output": _READINGS[task.kind],
                "trained": task.name in trained_classes,
                "trained_classes": [
                    name for name in task.class_names if name in trained_classes.get(task.name, ())
                ],
            }
            for task in model.tasks
        },
        "input": {
            "shape": "(N, 3, height, width), any height and width",
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "range": [0, 255],
            "preparation": "none but gsd_m metres per pixel: the model standardises images itself",
        },
        "output": {
            "shape": "by task (N, class_names, height, width), of the image's own size",
            "dtype": "float32",
            "directions": "a plane's class is the compass direction in which it runs down, with "
            "north at the image's top",
        },
        "gsd_m": hyperparameters.gsd_m,
        "hyperparameters": hyperparameters.model_dump(mode="json"),
        "versions": read_versions(),
    }


def read_versions() -> dict[str, str]:
    """Of this package, Python and the libraries that shape the numbers."""
    versions = {"roof-model": __version__, "python": platform.python_version()}
    return versions | {package: version(package) for package in _PACKAGES}
