"""What the rasters of a photo hold: their bands, and the numbers that stand for predictions."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
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
_DTYPES: Final = {"uint8": torch.uint8, "float32": torch.float32}
# Of probabilities that are worked on at a time; what is made of them is as much again.
_STRIP_BYTES: Final = 2**20


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

    def with_poses(self, num_poses: int) -> "LayerMaker":
        """The same for windows that are predicted in so many poses."""
        return LayerMaker(tuple(self._tasks.values()), self._trained_kinds, num_poses)

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

        A network that has diverged says nothing: no probability, no direction, no height.

        Args:
            block: Of a window that the network was asked about.
        """
        size = block.window.height, block.window.width
        device = next(iter(block.averages.values())).device
        made = {
            layer.name: torch.empty(
                (len(layer.bands), *size), dtype=_DTYPES[layer.dtype], device=device
            )
            for layer in self.layers
        }
        for rows in _strips(block.averages, device):
            self._fill(
                {name: values[:, rows] for name, values in block.averages.items()},
                {name: values[:, rows] for name, values in made.items()},
            )
        return {layer.name: _hide(layer, made[layer.name], block) for layer in self.layers}

    def _fill(self, averages: Mapping[TaskName, Tensor], made: Mapping[LayerName, Tensor]) -> None:
        """Write what the layers hold of a strip."""
        doubts = iter(made.get("uncertainty", ()))
        for name, values in averages.items():
            if name == "segments":
                self._fill_segments(values, made["segments"][0], doubts)
            elif name == "lines":
                _to_bytes(values, 0.01 * _PERCENT, out=made["lines"])
                for number, kind in enumerate(self._tasks["lines"].class_names):
                    if kind not in self._trained_kinds:
                        made["lines"][number] = NODATA
            elif name == "depth":
                heights = values[0].mul(_STEPS_PER_M).round_().div_(_STEPS_PER_M)
                made["height"][0] = heights.masked_fill_(~heights.isfinite(), math.nan)
                if self._has_spread:
                    variance = values[1] - values[0].square()
                    _to_bytes(variance.clamp_(min=0).sqrt_(), _SPREAD_M, out=next(doubts))
            else:
                made["superstructures"][0] = _find_likeliest(values)[1]

    def _fill_segments(self, averages: Tensor, classes: Tensor, doubts: Iterator[Tensor]) -> None:
        """Write classes, and the bands of uncertainty that follow from segments.

        The sum of the directions' unit vectors times their probabilities points to the mean
        direction; its length over the probability of any direction, the mean resultant length, is 1
        where all of it is one direction and 0 where nothing is known (Mardia and Jupp, Directional
        Statistics, 2000, section 2.2).
        """
        segments = self._tasks["segments"]
        confidence, likeliest = _find_likeliest(averages)
        classes.copy_(likeliest)
        _to_bytes(confidence, 0.01 * _PERCENT, out=next(doubts))
        _to_bytes(1 - averages[segments.background_class], 0.01 * _PERCENT, out=next(doubts))
        if num_bins := segments.azimuth_bins:
            vectors = torch.from_numpy(class_vectors(num_bins)).to(averages)
            weights = torch.cat((vectors.T, vectors.new_ones(1, num_bins)))
            flat = averages[:num_bins].reshape(num_bins, -1)
            east, north, total = (weights @ flat).view(3, *averages.shape[1:])
            total.clamp_(min=torch.finfo(torch.float32).tiny)
            agreement = next(doubts)
            _to_bytes(torch.hypot(east, north).div_(total), 0.01 * _PERCENT, out=agreement)
            agreement.masked_fill_(likeliest == segments.background_class, NODATA)
            _to_bytes(east, RIGHT.scale, RIGHT.offset, out=next(doubts))
            _to_bytes(north, UP.scale, UP.offset, out=next(doubts))


def _strips(averages: Mapping[TaskName, Tensor], device: torch.device) -> Iterator[slice]:
    """Rows that are worked on together: on a CPU as many as stay in its cache meanwhile."""
    height, width = next(iter(averages.values())).shape[1:]
    step = height
    if device.type == "cpu":
        most_channels = max(len(values) for values in averages.values())
        step = max(1, _STRIP_BYTES // (4 * most_channels * width))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def _find_likeliest(averages: Tensor) -> tuple[Tensor, Tensor]:
    """(h, w) the highest of the probabilities (C, h, w), and whose it is; the first of equal ones.

    Several times as fast on a CPU as `max`, which finds indices pixel by pixel.
    """
    highest = averages.amax(0)
    # Numbers that are not negative are in the order of their bits. What is below the highest
    # becomes -1, and the highest ones how many classes come after theirs.
    is_below = averages.view(torch.int32).sub(highest.view(torch.int32)).bitwise_right_shift_(31)
    last = len(averages) - 1
    after = torch.arange(last, -1, -1, dtype=torch.int32, device=averages.device)
    # Of a network that has diverged all may be below.
    return highest, last - is_below.bitwise_or_(after[:, None, None]).amax(0).clamp_(min=0)


def _hide(layer: Layer, values: Tensor, block: SeenBlock) -> Values:
    if block.seen is not None:
        values = values.masked_fill(~block.seen.to(values.device), layer.nodata)
    array: Values = values.cpu().numpy()
    return array


def _to_bytes(values: Tensor, scale: float, offset: float = 0.0, *, out: Tensor) -> None:
    """Write the nearest of the numbers 0 to 200 that mean these values; NaN is taken for 0."""
    # Cut off, half a number higher, is rounded.
    numbers = values.mul(1 / scale).nan_to_num_(nan=0.0).add_(0.5 - offset / scale)
    out.copy_(numbers.clamp_(0, _MOST))
