"""Cut samples on their way from a data worker to the device, in a few long tensors."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypedDict, TypeGuard

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data
from torch import Tensor

from app.data.loading import Batch, add_bad_files
from app.data.on_device.cutting import Cut, CutSample
from app.data.sample import BadFiles

NOTHING: Final = -1


class WindowNumbers(NamedTuple):
    """What has to be done with windows, a float64 tensor (M,) for each attribute.

    Attributes:
        pixels: Where the photo begins among all pixels.
        rows: Its size.
        columns: Its size.
        top: Rows of the box above it.
        left: Columns of the box left of it.
        box_rows: Size of the box.
        box_columns: Size of the box.
        scaled_rows: Size of the box at the window's scale.
        scaled_columns: Size of the box at the window's scale.
        xx: To scaled box x from window x, of pixels' middles; the five others alike.
        xy: From window y.
        x: What is added.
        yx: To scaled box y.
        yy: To scaled box y.
        y: To scaled box y.
        label_rows: Size of its labels.
        label_columns: Size of its labels.
        label_top: Rows of the scaled box above them.
        label_left: Columns of the scaled box left of them.
        segments: Where they begin among all bytes.
        segments_step: 1, or 0 where one value is all of them.
        superstructures: As segments; the others alike.
        superstructures_step: As segments.
        lines: As segments.
        lines_step: As segments.
        depth: Where heights begin among all heights.
        depth_step: As segments.
        drawn: Where drawn segments begin among all bytes, with drawn lines behind them; or -1.
        num_points: Centres of lines.
        turned_classes: As of Cut.
        zoom: Of its pose.
    """

    pixels: Tensor
    rows: Tensor
    columns: Tensor
    top: Tensor
    left: Tensor
    box_rows: Tensor
    box_columns: Tensor
    scaled_rows: Tensor
    scaled_columns: Tensor
    xx: Tensor
    xy: Tensor
    x: Tensor
    yx: Tensor
    yy: Tensor
    y: Tensor
    label_rows: Tensor
    label_columns: Tensor
    label_top: Tensor
    label_left: Tensor
    segments: Tensor
    segments_step: Tensor
    superstructures: Tensor
    superstructures_step: Tensor
    lines: Tensor
    lines_step: Tensor
    depth: Tensor
    depth_step: Tensor
    drawn: Tensor
    num_points: Tensor
    turned_classes: Tensor
    zoom: Tensor


class LightNumbers(NamedTuple):
    """A Light in plain numbers; its arrays are among all bytes, -1 for those that are not there."""

    tones: int
    saturation: float
    shadows: int
    blur_px: float | None
    sharpening: float | None
    noise_levels: int
    noise: int
    jpeg_quality: int | None


class CutBatch(TypedDict):
    """Cut samples of a micro-batch.

    Attributes:
        pixels: (P, 3) uint8, of all photos.
        bytes: (Q,) uint8, all else of that type.
        heights: (R,) float32.
        points: (K,) int32, centres of lines, window by window.
        windows: (M, 31) float64: a WindowNumbers for each window.
        num_windows: Of each sample.
        lights: Of each sample.
        sample_id: As Batch.
        bad_files: As Batch.
    """

    pixels: Tensor
    bytes: Tensor
    heights: Tensor
    points: Tensor
    windows: Tensor
    num_windows: list[int]
    lights: list[LightNumbers]
    sample_id: list[str]
    bad_files: BadFiles


def is_cut(batch: Batch | CutBatch) -> TypeGuard[CutBatch]:
    """Whether a micro-batch has still to be made."""
    return "pixels" in batch


def move_cut(batch: CutBatch, device: torch.device) -> CutBatch:
    """The batch on a device; copies begin, and are waited for by what is done there."""
    return {
        **batch,
        "pixels": batch["pixels"].to(device, non_blocking=True),
        "bytes": batch["bytes"].to(device, non_blocking=True),
        "heights": batch["heights"].to(device, non_blocking=True),
        "points": batch["points"].to(device, non_blocking=True),
        "windows": batch["windows"].to(device, non_blocking=True),
    }


def collate_cut(items: Sequence[tuple[CutSample | None, BadFiles]]) -> CutBatch:
    """Cut samples behind each other; a worker's in shared memory, each array copied once."""
    samples = [sample for sample, _ in items if sample is not None]
    bad_files: BadFiles = {}
    for _, found in items:
        add_bad_files(bad_files, found)
    pixels, small, heights, points = (
        _Row(np.uint8, 3),
        _Row(np.uint8),
        _Row(np.float32),
        _Row(np.int32),
    )
    windows: list[list[float]] = []
    lights: list[LightNumbers] = []
    for sample in samples:
        for cut in sample.windows:
            windows.append(_number(cut, pixels, small, heights))
            points.add(cut.points)
        light = sample.light
        noise = light.noise
        lights.append(
            LightNumbers(
                tones=small.add(light.tones),
                saturation=light.saturation,
                shadows=NOTHING if light.shadows is None else small.add(light.shadows),
                blur_px=light.blur_px,
                sharpening=light.sharpening,
                noise_levels=NOTHING
                if noise is None
                else small.add(noise.levels.astype(np.int8).view(np.uint8)),
                noise=NOTHING if noise is None else small.add(noise.drawn),
                jpeg_quality=light.jpeg_quality,
            )
        )
    return {
        "pixels": pixels.join(),
        "bytes": small.join(),
        "heights": heights.join(),
        "points": points.join(),
        "windows": torch.tensor(windows, dtype=torch.float64).view(-1, len(WindowNumbers._fields)),
        "num_windows": [len(sample.windows) for sample in samples],
        "lights": lights,
        "sample_id": [sample.sample_id for sample in samples],
        "bad_files": bad_files,
    }


def _number(cut: Cut, pixels: "_Row", small: "_Row", heights: "_Row") -> list[float]:
    """A WindowNumbers of plain numbers; what they speak of is added to the rows."""
    at = {
        name: (heights if plane.dtype == np.float32 else small).add(plane)
        for name, plane in cut.labels.items()
    }
    # A single value of a window that needs more is seen everywhere.
    step = {name: int(plane.shape == cut.label_size) for name, plane in cut.labels.items()}
    drawn = NOTHING
    if cut.drawn is not None:
        drawn = small.add(cut.drawn.segments)
        small.add(cut.drawn.line_bits)
    numbers: tuple[float, ...] = (
        pixels.add(cut.image), *cut.image.shape[:2], *cut.image_place,
        cut.box.height, cut.box.width, *cut.scaled_size, *cut.to_scaled.ravel().tolist(),
        *cut.label_size, *cut.label_place,
        at["segments"], step["segments"], at["superstructures"], step["superstructures"],
        at["lines"], step["lines"], at["depth"], step["depth"],
        drawn, len(cut.points), cut.turned_classes, cut.frame.pose.zoom,
    )  # fmt: skip
    return list(numbers)


class _Row:
    """Arrays that will lie behind each other.

    Args:
        dtype: Of all of them.
        width: Values of an item.
    """

    def __init__(self, dtype: npt.DTypeLike, width: int = 1) -> None:
        self._dtype = np.dtype(dtype)
        self._width = width
        self._arrays: list[npt.NDArray[Any]] = []
        self._length = 0

    def add(self, array: npt.NDArray[Any]) -> int:
        """Add an array; returns at which item it begins."""
        begin = self._length
        self._arrays.append(array)
        self._length += array.size // self._width
        return begin

    def join(self) -> Tensor:
        """(length,), or (length, width): all of them, in shared memory in a data worker."""
        num_values = self._length * self._width
        num_bytes = max(1, num_values) * self._dtype.itemsize
        allocate: Any = torch.UntypedStorage
        if torch.utils.data.get_worker_info() is not None:
            # As torch's own collate: tensors that are sent would be copied there.
            allocate = torch.UntypedStorage._new_shared
        joined = torch.empty(0, dtype=_TORCH_DTYPES[self._dtype.name])
        joined.set_(allocate(num_bytes), 0, (num_values,), (1,))
        values, begin = joined.numpy(), 0
        for array in self._arrays:
            values[begin : begin + array.size].reshape(array.shape)[...] = array
            begin += array.size
        return joined if self._width == 1 else joined.view(-1, self._width)


_TORCH_DTYPES: Final = {
    "uint8": torch.uint8,
    "int32": torch.int32,
    "float32": torch.float32,
}
