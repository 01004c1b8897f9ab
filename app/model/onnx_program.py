"""A trained network as an ONNX model, with what Deepness, a plugin of QGIS, reads in it.

Source of the names of its metadata: https://github.com/PUTvision/qgis-plugin-deepness. Deepness
gives values from 0 to 1, sets probabilities below its threshold to 0, and then takes the highest
one: where it has set all of them to 0, that is the first. So background is the first class here.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.base.errors import CheckpointError, ConfigError
from app.base.storage import replacing
from app.base.tasks import Task, find_task
from app.model.export import digest_weights, load_exported_model, trained_tasks
from app.model.network import HybridRoofModel

# Tasks whose pixels have one class each, which is what Deepness shows.
OnnxTask = Literal["segments", "superstructures"]
ONNX_TASKS: Final[tuple[OnnxTask, ...]] = ("segments", "superstructures")
_PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime")

# What every onnxruntime since 1.14 reads, and torch writes without converting.
_OPSET: Final = 18
_MAX_BYTE: Final = 255.0
_LEAST_EQUAL: Final = 0.9995
_MAX_OFF: Final = 0.001
# About a house: up to 80 px from a tile's border, the network often takes a plane for another.
_SHARED_PX: Final = 160
_MAX_OVERLAP_PERCENT: Final = 50
_PHOTO, _PROBABILITIES = "photo", "probabilities"


class _Asked(nn.Module):
    """A network that says how probable each class of one task is, background first.

    Args:
        model: In evaluation mode.
        task: One of its tasks, of kind "classes".

    Attributes:
        class_names: By channel.
    """

    def __init__(self, model: HybridRoofModel, task: Task) -> None:
        super().__init__()
        self.model = model
        self.name = task.name
        others = [i for i in range(task.num_classes) if i != task.background_class]
        order = [task.background_class, *others]
        self.class_names = [task.class_names[i] for i in order]
        self.order: Tensor
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, photo: Tensor) -> Tensor:
        """Probabilities (N, classes, H, W) of RGB (N, 3, H, W), from 0 to 1; both float32."""
        logits: Tensor = self.model(photo * _MAX_BYTE, (self.name,))[self.name]
        return logits.softmax(1).index_select(1, self.order)


def export_onnx(folder: Path, path: Path, name: OnnxTask, tile_px: int) -> float:
    """Write one task of a model folder's network as an ONNX model that was compared with it.

    It takes `photo`, (1, 3, tile_px, tile_px) float32 RGB from 0 to 1, and gives `probabilities`,
    (1, classes, tile_px, tile_px) float32, background first.

    Args:
        folder: As training has written it.
        path: The file; it is replaced as a whole.
        name: The task.
        tile_px: Side of the photos, a multiple of 32.

    Returns:
        The share of compared pixels for which both name the same class.

    Raises:
        CheckpointError: If the folder holds no model of this task, or the ONNX model says something
            else than it.
        ConfigError: If a package is missing.
        OSError: If it cannot be written.
    """
    _check_packages()
    model, description = load_exported_model(folder)
    trained = trained_tasks(folder, model, description)
    if name not in trained:
        raise CheckpointError(
            f"{folder}: the model was not taught {name}, expected one of {', '.join(trained)}; "
            "choose another --task, or another model"
        )
    asked = _Asked(model.eval(), find_task(name, model.tasks)).eval()
    metadata = _describe(asked.class_names, description["gsd_m"], tile_px)
    metadata["roof_model_sha256"] = digest_weights(folder)
    content = _convert(asked, metadata, tile_px)
    share = _check(content, asked, tile_px)
    with replacing(path) as file:
        file.write(content)
    return share


def _check_packages() -> None:
    """Say which package is missing before anything is computed.

    Raises:
        ConfigError: If one is.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--onnx needs the packages {', '.join(_PACKAGES)}, which are not all installed (no "
            f"module {error.name}); run: pip install {' '.join(_PACKAGES)}"
        ) from error


def _describe(class_names: Sequence[str], gsd_m: float, tile_px: int) -> dict[str, str]:
    """What Deepness reads, each value as JSON."""
    values: Mapping[str, Any] = {
        "model_type": "Segmentor",
        "class_names": dict(enumerate(class_names)),
        "resolution": gsd_m * 100,  # centimetres per pixel
        # Deepness's documents name the second one, its code the first one.
        "tile_size": tile_px,
        "tiles_size": tile_px,
        "tiles_overlap": min(_MAX_OVERLAP_PERCENT, math.ceil(100 * _SHARED_PX / tile_px)),
        # The model standardises photos itself.
        "standardization_mean": [0.0, 0.0, 0.0],
        "standardization_std": [1.0, 1.0, 1.0],
        # 0 is off. With 18 classes the highest probability is often below one half; and a median
        # over the numbers of directions would be another direction.
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
    }
    return {name: json.dumps(value) for name, value in values.items()}


def _convert(asked: _Asked, metadata: Mapping[str, str], tile_px: int) -> bytes:
    """The bytes of the ONNX model."""
    import onnx

    # torch.onnx reports its steps there.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad():
        program = torch.onnx.export(
            asked,
            (torch.zeros(1, 3, tile_px, tile_px),),
            input_names=[_PHOTO],
            output_names=[_PROBABILITIES],
            opset_version=_OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    # Lines of this project's code, and the folder it lies in: of no use to others.
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.checker.check_model(proto)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _draw(tile_px: int) -> list[Tensor]:
    """Photos (1, 3, tile_px, tile_px) uint8, the same every time: pixels, and spots, by chance."""
    generator = torch.Generator().manual_seed(tile_px)
    size = (1, 3, tile_px, tile_px)
    noise = torch.rand(size, generator=generator) * _MAX_BYTE
    spots = torch.rand((1, 3, tile_px // 16, tile_px // 16), generator=generator) * _MAX_BYTE
    smooth = F.interpolate(spots, size=(tile_px, tile_px), mode="bilinear")
    return [photo.to(torch.uint8) for photo in (noise, smooth)]


@torch.inference_mode()
def _check(content: bytes, asked: _Asked, tile_px: int) -> float:
    """The share of pixels of which the ONNX model says the class that the network says.

    Raises:
        CheckpointError: If they differ.
    """
    photos = _draw(tile_px)
    num_equal, off = 0, 0.0
    for photo, got in zip(photos, _run(content, photos), strict=True):
        logits = asked.model(photo, (asked.name,))[asked.name]
        expected = logits.softmax(1).numpy()[:, asked.order.numpy()]
        num_equal += int((got.argmax(1) == expected.argmax(1)).sum())
        # A NaN stays one.
        off = float(np.maximum(off, np.abs(got - expected).max()))
    share = num_equal / (len(photos) * tile_px**2)
    # Written so that what is no number is refused.
    if not (share >= _LEAST_EQUAL and off <= _MAX_OFF):
        raise CheckpointError(
            f"the ONNX model says of {asked.name} something else than the model: the same class "
            f"for {100 * share:.3f} % of pixels, expected at least {100 * _LEAST_EQUAL:g} %; "
            f"probabilities off by {off:.3g}, expected at most {_MAX_OFF:g}; use --torch, or the "
            "model folder itself"
        )
    return share


def _run(content: bytes, photos: Sequence[Tensor]) -> list[npt.NDArray[np.float32]]:
    """What the ONNX model says of photos, which it gets as Deepness gives them."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    scaled = [photo.numpy().astype(np.float32) / np.float32(_MAX_BYTE) for photo in photos]
    return [session.run([_PROBABILITIES], {_PHOTO: values})[0] for values in scaled]
