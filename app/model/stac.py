"""stac-item.json: what catalogues read of a model, by the MLM extension of STAC.

Source: https://github.com/stac-extensions/mlm, version 1.5.2; STAC 1.1.0.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from app.base.errors import CheckpointError, first_line
from app.base.storage import replacing
from app.model.export import (
    DESCRIPTION_FILE,
    MODEL_FILE,
    digest_weights,
    load_exported_model,
    trained_tasks,
)

STAC_FILE: Final = "stac-item.json"
_EXTENSIONS: Final = (
    "https://stac-extensions.github.io/mlm/v1.5.2/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
)
_TASKS: Final[Mapping[str, str]] = {
    "classes": "semantic-segmentation",
    "multilabel": "segmentation",
    "metres": "regression",
}
_AFTERWARDS: Final[Mapping[str, str]] = {
    "classes": "softmax over the classes",
    "multilabel": "sigmoid, for each class by itself",
    "metres": "",
}
_BANDS: Final = ("red", "green", "blue")
# -1 is any; batch, bands, rows, columns.
_ANY_SIZE: Final = (-1, 3, -1, -1)


def write_stac_item(folder: Path) -> None:
    """Write stac-item.json of a model folder; equal models make equal bytes.

    Args:
        folder: As training has written it.

    Raises:
        CheckpointError: If it holds no model.
        OSError: If it cannot be written.
    """
    model, description = load_exported_model(folder)
    names = trained_tasks(folder, model, description)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    try:
        item = _describe(folder, description, names, num_parameters)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / DESCRIPTION_FILE}: got a description that lacks {first_line(error)}, "
            "expected that of a trained model; copy it again from the run that wrote it"
        ) from error
    with replacing(folder / STAC_FILE) as file:
        file.write((json.dumps(item, indent=2) + "\n").encode())


def _describe(
    folder: Path, description: Mapping[str, Any], names: tuple[str, ...], num_parameters: int
) -> dict[str, Any]:
    sha256 = digest_weights(folder)
    architecture, settings = description["architecture"], description["hyperparameters"]
    outputs = [_describe_output(name, description["tasks"][name]) for name in names]
    origin = {}
    if initial := description.get("initial_model"):
        origin = {
            "mlm:pretrained": True,
            "mlm:pretrained_source": f"model with weights of SHA-256 {initial['sha256']}",
        }
    properties = {
        **origin,
        "datetime": description["created"],
        "created": description["created"],
        "title": f"{architecture['name']}: roofs from aerial photos",
        "description": "Directions of roof planes, roof lines and heights, pixel by pixel",
        "bands": [{"name": name} for name in _BANDS],
        "gsd": description["gsd_m"],
        "mlm:name": f"{architecture['name']} {sha256[:12]}",
        "mlm:architecture": f"{architecture['backbone']} with a feature pyramid",
        "mlm:tasks": sorted({task for output in outputs for task in output["tasks"]}),
        "mlm:framework": "PyTorch",
        "mlm:framework_version": description["versions"]["torch"].partition("+")[0],
        "mlm:total_parameters": num_parameters,
        "mlm:memory_size": (folder / MODEL_FILE).stat().st_size,
        "mlm:accelerator": None,
        "mlm:hyperparameters": {
            name: value for name, value in settings.items() if value is not None
        },
        "mlm:input": [
            {
                "name": "photo",
                "bands": list(_BANDS),
                "input": {
                    "shape": list(_ANY_SIZE),
                    "dim_order": ["batch", "bands", "height", "width"],
                    "data_type": "uint8",
                },
                "description": f"RGB at {description['gsd_m']:g} m per pixel, north up; the model "
                "standardises photos itself",
            }
        ],
        "mlm:output": outputs,
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS),
        "id": f"roof-model-{sha256[:12]}",
        "geometry": None,  # it may be asked about any place
        "properties": properties,
        "links": [],
        "assets": {
            "model": {
                "href": MODEL_FILE,
                "type": "application/octet-stream; application=safetensors",
                "title": "Weights",
                "roles": ["mlm:model", "mlm:weights", "data"],
                "mlm:artifact_type": "safetensors.torch.save_file",
                "file:checksum": f"1220{sha256}",  # a multihash: SHA-256, 32 bytes
                "file:size": (folder / MODEL_FILE).stat().st_size,
            },
            "description": {
                "href": DESCRIPTION_FILE,
                "type": "application/json",
                "title": "How to read what it gives, and of what it was made",
                "roles": ["metadata"],
            },
            "inference": {
                "href": "code/inference.py",
                "type": "text/x-python",
                "title": "model_fn, input_fn, predict_fn, output_fn",
                "roles": ["code", "mlm:inference-runtime"],
                "mlm:entrypoint": "inference.py",
            },
        },
    }


def _describe_output(name: str, task: Mapping[str, Any]) -> dict[str, Any]:
    class_names, kind = task["class_names"], task["kind"]
    num_channels = max(1, len(class_names))
    classes = [
        {"value": number, "name": class_name, "description": class_name}
        for number, class_name in enumerate(class_names)
    ]
    described = task["output"] + (f" ({_AFTERWARDS[kind]})" if _AFTERWARDS[kind] else "")
    return {
        "name": name,
        "description": described,
        "tasks": [_TASKS[kind]],
        "result": {
            "shape": [-1, num_channels, -1, -1],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [] if kind == "metres" else classes,
    }
