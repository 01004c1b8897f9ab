"""A trained model in Python: a photo in, named arrays out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.base.errors import ConfigError, DataError
from app.base.logs import ignore_expected_warnings
from app.base.tasks import TaskName, find_task
from app.base.window import Window
from app.data.files.georeference import MAX_GSD_M, MIN_GSD_M
from app.data.files.problems import FileProblem
from app.inference.photo_source import ArrayPhoto, FilePhoto, open_photo
from app.inference.tiles import SeenBlock, predict_averages
from app.inference.trained import TrainedNetwork, load_network
from app.model.archive import find_model_folder
from app.model.devices import Compute, choose_autocast_dtype, choose_device
from app.model.network import HybridRoofModel

Photo = str | Path | npt.NDArray[np.uint8] | Tensor

_DEVICES: Final = ("auto", "cpu", "cuda")
_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What a model says of a photo, or of a part of it.

    All arrays are (H, W) float32, north up, at `gsd_m`; NaN where the photo shows nothing. A task
    that the model was not trained on has no arrays.

    Attributes:
        gsd_m: Metres per pixel of the arrays.
        segments: Probability of each class: N, NNE, ... are the compass directions in which a plane
            runs down, with north at the photo's top; then flat and background. They add up to 1.
        lines: Probability of each kind of line that the model was taught: eave, ridge, hip, valley.
            Kinds do not exclude each other.
        height_m: Metres above ground; None where the model was not taught heights.
        superstructures: Probability of each class of objects on roofs, as segments.
    """

    gsd_m: float
    segments: Mapping[str, _Floats]
    lines: Mapping[str, _Floats]
    height_m: _Floats | None
    superstructures: Mapping[str, _Floats]

    @property
    def roof(self) -> _Floats:
        """(H, W) float32 probability of roof, whatever its direction.

        Raises:
            KeyError: If the model was not trained on segments.
        """
        return np.asarray(1 - self.segments["background"], np.float32)


class RoofModel:
    """A trained model in evaluation mode; `load_model` makes it.

    Attributes:
        network: The network itself, (N, 3, H, W) uint8 to logits by task.
        gsd_m: Metres per pixel at which it was taught photos.
        description: Content of model.json: classes, data, licences, settings, versions.
    """

    def __init__(self, trained: TrainedNetwork) -> None:
        """Take a network that is ready to be asked."""
        network = trained.predictor.model
        assert isinstance(network, HybridRoofModel)
        self.network = network
        self.gsd_m = trained.gsd_m
        self.description = trained.description
        self._predictor = trained.predictor

    def __call__(self, photo: Photo, gsd_m: float | None = None) -> Prediction:
        """What the model says of a photo, at its own scale.

        A result has 4 bytes a pixel for each class; `blocks` keeps none of a photo too large.

        Args:
            photo: Path of a TIFF, PNG or JPEG; or (H, W, 3) array, or (3, H, W) tensor, uint8, RGB.
                Of any size: large ones are predicted by windows that overlap.
            gsd_m: Metres per pixel of the photo. A file's own georeference goes first; without
                either a file is refused, and arrays are taken as being at the model's gsd_m.

        Raises:
            DataError: If the photo cannot be used.
            ConfigError: If gsd_m is impossible, or memory does not hold a single window.
        """
        source = self._open(photo, gsd_m)
        arrays: dict[TaskName, _Floats] = {}
        for block in self._predict(source):
            for name, values in block.averages.items():
                if name not in arrays:
                    shape = (len(values), source.height_px, source.width_px)
                    arrays[name] = np.full(shape, np.nan, np.float32)
                arrays[name][:, block.window.rows, block.window.columns] = _hide(values, block)
        return self._name(arrays, (source.height_px, source.width_px), source.grid.gsd_m)

    def blocks(
        self, photo: Photo, gsd_m: float | None = None
    ) -> Iterator[tuple[Window, Prediction]]:
        """The same in rectangles that do not overlap, row by row: memory does not grow with them.

        Args:
            photo: As of a call.
            gsd_m: As of a call.

        Yields:
            The rectangle, in pixels of the model's scale, and what is predicted there.

        Raises:
            RoofError: As of a call.
        """
        source = self._open(photo, gsd_m)
        for block in self._predict(source):
            arrays = {name: _hide(values, block) for name, values in block.averages.items()}
            size = block.window.height, block.window.width
            yield block.window, self._name(arrays, size, source.grid.gsd_m)

    def _open(self, photo: Photo, gsd_m: float | None) -> FilePhoto | ArrayPhoto:
        if gsd_m is not None and not MIN_GSD_M <= gsd_m <= MAX_GSD_M:
            raise ConfigError(
                f"gsd_m is {gsd_m}, expected {MIN_GSD_M} to {MAX_GSD_M} metres per pixel"
            )
        if isinstance(photo, str | Path):
            try:
                return open_photo(Path(photo), self.gsd_m, gsd_m)
            except FileProblem as problem:
                raise DataError(str(problem)) from problem
        return ArrayPhoto(_read_array(photo), gsd_m or self.gsd_m, self.gsd_m)

    def _predict(self, source: FilePhoto | ArrayPhoto) -> Iterator[SeenBlock]:
        try:
            yield from predict_averages(self._predictor, source)
        except FileProblem as problem:
            raise DataError(str(problem)) from problem

    def _name(
        self, arrays: Mapping[TaskName, _Floats], size: tuple[int, int], gsd_m: float
    ) -> Prediction:
        """Arrays by the names of their classes; NaN of all where the photo shows nothing there."""
        named: dict[TaskName, dict[str, _Floats]] = {"segments": {}, "lines": {}}
        height_m = None
        for name in self._predictor.tasks:
            task = find_task(name, self.network.tasks)
            values = arrays.get(name)
            if values is None:
                values = np.full((task.num_classes, *size), np.nan, np.float32)
            if name == "depth":
                height_m = values[0]
                continue
            taught = self.description["tasks"][name]["trained_classes"]
            classes = dict(zip(task.class_names, values, strict=True))
            if name == "lines":
                classes = {kind: values for kind, values in classes.items() if kind in taught}
            named[name] = classes
        return Prediction(
            gsd_m, named["segments"], named["lines"], height_m, named.get("superstructures", {})
        )


def load_model(path: str | Path, device: str = "auto") -> RoofModel:
    """A trained model, ready to be called with photos.

    Args:
        path: Folder with model.safetensors and model.json, or that of the run which wrote them.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".

    Raises:
        CheckpointError: If the folder holds no model of this version, or one trained on nothing.
        ConfigError: If there is no such device.
    """
    if device not in _DEVICES:
        raise ConfigError(f"device is {device!r}, expected {', '.join(_DEVICES)}")
    ignore_expected_warnings()  # in a program of somebody's own nothing else has done it
    place = choose_device(device)
    compute = Compute(place, choose_autocast_dtype("auto", place))
    return RoofModel(load_network(find_model_folder(Path(path)), 1, compute))


def _read_array(photo: npt.NDArray[np.uint8] | Tensor) -> npt.NDArray[np.uint8]:
    """(3, H, W) uint8.

    Raises:
        DataError: If the photo is no such array.
    """
    shape, dtype = tuple(photo.shape), str(photo.dtype).removeprefix("torch.")
    expected = "(3, height, width)" if isinstance(photo, Tensor) else "(height, width, 3)"
    channels = 0 if isinstance(photo, Tensor) else 2
    if len(shape) != 3 or shape[channels] != 3 or 0 in shape or dtype != "uint8":
        kind = "a tensor" if isinstance(photo, Tensor) else "an array"
        raise DataError(
            f"photo: got {kind} of shape {shape} and type {dtype}, expected {expected} of uint8: "
            "red, green and blue from 0 to 255"
        )
    if isinstance(photo, Tensor):
        return np.asarray(photo.cpu().numpy(), np.uint8)
    return np.ascontiguousarray(photo.transpose(2, 0, 1))


@torch.inference_mode()
def _hide(values: Tensor, block: SeenBlock) -> _Floats:
    """(C, h, w) on the CPU, in memory of its own, NaN where the photo shows nothing."""
    if block.seen is None:
        values = values.clone()
    else:
        values = values.masked_fill(~block.seen.to(values.device), float("nan"))
    return np.asarray(values.float().cpu().numpy(), np.float32)
