"""What the rasters of a photo hold: their bands, and the numbers that stand for predictions."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.base.azimuth import class_vectors
from app.base.tasks import IGNORE_INDEX, Task, TaskName
from app.inference.tiles import SeenBlock

LayerName = Literal["segments", "lines", "height", "uncertainty", "superstructures"]
Values = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

# Bands of one byte hold whole numbers from 0 to 200; 255 is no data.
NODATA: Final = IGNORE_INDEX
_MOST: Final = 200
_PERCENT: Final = 0.5
_SPREAD_M: Final = 0.05
# Heights are written to 4 mm, less than a hundredth of their error: files are half as large.
_STEPS_PER_M: Final = 256


class Band(NamedTuple):
    """A band of a raster. Its meaning is number * scale + offset.

    Attributes:
        description: What it is.
        unit: Of its meaning; empty for classes.
        scale: What a step of 1 means.
        offset: What 0 means.
    """

    description: str
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0


class Layer(NamedTuple):
    """A raster that is written for every photo.

    Attributes:
        name: The end of its file's name.
        bands: Its bands.
        classes: The task whose classes it holds; None for quantities.
        dtype: "uint8", or "float32" where no data is NaN.
    """

    name: LayerName
    bands: tuple[Band, ...]
    classes: Task | None = None
    dtype: Literal["uint8", "float32"] = "uint8"

    @property
    def nodata(self) -> float:
        """What stands for no data."""
        return math.nan if self.dtype == "float32" else NODATA


_CONFIDENCE: Final = Band("probability of the class", "%", _PERCENT)
ROOF: Final = Band("probability of any roof", "%", _PERCENT)
_AGREEMENT: Final = Band("agreement of directions: mean resultant length", "%", _PERCENT)
RIGHT: Final = Band("direction to the right, times its probability", "1", 0.01, -1)
UP: Final = Band("direction up, times its probability", "1", 0.01, -1)
_SPREAD: Final = Band("standard deviation of heights over poses", "m", _SPREAD_M)


class LayerMaker:
    """Makes of predictions what the rasters hold.

    Args:
        tasks: What the network was trained on.
        trained_kinds: The kinds of lines that it was taught; others are no data.
        num_poses: In how many poses each window was predicted.
    """

    def __init__(
        self, tasks: Sequence[Task], trained_kinds: Collection[str], num_poses: int
    ) -> None:
        self._tasks: Mapping[TaskName, Task] = {task.name: task for task in tasks}
        self._trained_kinds = trained_kinds
        self._has_spread = num_poses > 1 and "depth" in self._tasks
        self.layers = tuple(self._describe())

    def _describe(self) -> list[Layer]:
        layers = []
        doubts = []
        if segments := self._tasks.get("segments"):
            layers.append(Layer("segments", (Band("roof planes by direction"),), segments))
            doubts += [_CONFIDENCE, ROOF]
            if segments.azimuth_bins:
                doubts += [_AGREEMENT, RIGHT, UP]
        if lines := self._tasks.get("lines"):
            bands = [Band(f"probability of {kind}", "%", _PERCENT) for kind in lines.class_names]
            layers.append(Layer("lines", tuple(bands)))
        if "depth" in self._tasks:
            layers.append(Layer("height", (Band("height above ground", "m"),), None, "float32"))
            doubts += [_SPREAD] if self._has_spread else []
        if objects := self._tasks.get("superstructures"):
            layers.append(Layer("superstructures", (Band("objects on roofs"),), objects))
        if doubts:
            layers.append(Layer("uncertainty", tuple(doubts)))
        return layers

    @torch.inference_mode()
    def make(self, block: SeenBlock) -> dict[LayerName, Values]:
        """(bands, h, w) of every layer, no data where the photo shows nothing.

        Args:
            block: Of a window that the network was asked about.
        """
        values: dict[LayerName, Tensor] = {}
        doubts: list[Tensor] = []
        for name, averages in block.averages.items():
            if name == "segments":
                confidence, classes = averages.max(0)
                values["segments"] = classes.byte()[None]
                roof = 1 - averages[self._tasks["segments"].background_class]
                doubts += [_to_bytes(share, 0.01 * _PERCENT) for share in (confidence, roof)]
                doubts += self._find_directions(averages, classes)
            elif name == "lines":
                values["lines"] = self._make_lines(averages)
            elif name == "depth":
                values["height"] = averages[:1].mul(_STEPS_PER_M).round_().div_(_STEPS_PER_M)
                if self._has_spread:
                    variance = averages[1] - averages[0].square()
                    doubts.append(_to_bytes(variance.clamp(min=0).sqrt(), _SPREAD_M))
            else:
                values["superstructures"] = averages.max(0).indices.byte()[None]
        if doubts:
            values["uncertainty"] = torch.stack(doubts)
        return {layer.name: self._hide(layer, values[layer.name], block) for layer in self.layers}

    def _find_directions(self, averages: Tensor, classes: Tensor) -> list[Tensor]:
        """Agreement, no data where there is no roof, and both parts of the sum of directions.

        The sum of unit vectors times their probabilities points to the mean direction; its length
        over the probability of any direction, the mean resultant length, is 1 where all of it is
        one direction and 0 where nothing is known (Mardia and Jupp, Directional Statistics, 2000,
        section 2.2).
        """
        segments = self._tasks["segments"]
        num_bins = segments.azimuth_bins
        if not num_bins:
            return []
        vectors = torch.from_numpy(class_vectors(num_bins)).to(averages)
        directions = averages[:num_bins]
        east, north = torch.einsum("bk,bhw->khw", vectors, directions)
        total = directions.sum(0).clamp(min=torch.finfo(torch.float32).tiny)
        agreement = _to_bytes(torch.hypot(east, north) / total, 0.01 * _PERCENT)
        return [
            agreement.masked_fill(classes == segments.background_class, NODATA),
            _to_bytes(east, RIGHT.scale, RIGHT.offset),
            _to_bytes(north, UP.scale, UP.offset),
        ]

    def _make_lines(self, averages: Tensor) -> Tensor:
        lines = _to_bytes(averages, 0.01 * _PERCENT)
        for band, kind in zip(lines, self._tasks["lines"].class_names, strict=True):
            if kind not in self._trained_kinds:
                band.fill_(NODATA)
        return lines

    def _hide(self, layer: Layer, values: Tensor, block: SeenBlock) -> Values:
        if block.seen is not None:
            values = values.masked_fill(~block.seen.to(values.device), layer.nodata)
        array: Values = values.cpu().numpy()
        return array


def _to_bytes(values: Tensor, scale: float, offset: float = 0.0) -> Tensor:
    """The nearest of the numbers 0 to 200 that mean these values."""
    # Cut off, half a number higher, is rounded.
    return values.mul(1 / scale).add_(0.5 - offset / scale).clamp_(0, _MOST).byte()
