"""What the arrays of Roofline-Extraction's file hold, whichever way their axes stand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.errors import DataError, join_problems
from app.data.files.problems import FileProblem
from app.data.roofline.matlab import ArrayInfo, MatArrays

STRUCT: Final = "imdb"
CHANNELS: Final = {"images": 3, "elements": 3, "depths": 1}
_MIN_SIZE_PX, _MAX_SIZE_PX = 16, 2048
_MAX_SAMPLES: Final = 1_000_000

_NUM_PROBED: Final = 16
# Values may leave their range by this share of it, as resampling with overshoot makes them.
MAX_OVERSHOOT: Final = 0.1


class Axes(NamedTuple):
    """Where an array's axes stand, in MATLAB's order, and how long they are.

    Attributes:
        sample: None for a single sample without that axis.
        order: The axes without `sample`: channels (unless there is no such axis), rows, columns.
        num_samples: Length of `sample`, or 1.
        size_px: Rows, and columns.
    """

    sample: int | None
    order: tuple[int, ...]
    num_samples: int
    size_px: int


def check_arrays(path: Path, file: MatArrays) -> dict[str, Axes]:
    """The axes of all arrays that are there, after a look at whether they fit together."""
    problems = list(file.problems)
    axes: dict[str, Axes] = {}
    for name, num_channels in CHANNELS.items():
        if name in file.arrays:
            try:
                axes[name] = find_axes(file.arrays[name], num_channels)
            except ValueError as error:
                problems.append(f"{name} in {path}: {error}")
    if not problems and "images" not in axes:
        problems.append(f"no {STRUCT}.images and no images in {path}: found {_found(axes)}")
    if not problems and len(axes) == 1:
        problems.append(f"neither elements nor depths in {path}, so images teach nothing")
    for name in ("elements", "depths"):
        if name in axes and "images" in axes:
            got, expected = axes[name], axes["images"]
            if (got.num_samples, got.size_px) != (expected.num_samples, expected.size_px):
                problems.append(
                    f"{name} in {path}: got {_count(got)}, expected {_count(expected)} as images"
                )
    if problems:
        raise DataError(f"Roofline: {join_problems(problems)}; use the dataset's own imdb.mat")
    return axes


def _found(axes: Mapping[str, Axes]) -> str:
    return join_problems(list(axes)) or "none of its arrays"


def _count(axes: Axes) -> str:
    return f"{axes.num_samples} samples of {axes.size_px} px"


def find_axes(array: ArrayInfo, num_channels: int) -> Axes:
    """Tell an array's axes apart by their sizes; where several ways fit, MATLAB's order goes first.

    Raises:
        ValueError: If no way fits, or several ways fit but MATLAB's does not.
    """
    all_axes = range(len(array.shape))
    fits: list[Axes] = []
    # In this order, MATLAB's own comes first: rows, columns, channels, samples.
    for sample in (*reversed(all_axes), None):
        for channel in (None, *reversed(all_axes)):
            rest = [axis for axis in all_axes if axis not in (sample, channel)]
            lengths = {array.shape[axis] for axis in rest}
            if len(rest) != 2 or len(lengths) != 1 or (sample is not None and sample == channel):
                continue
            if (1 if channel is None else array.shape[channel]) != num_channels:
                continue
            kept = [axis for axis in all_axes if axis != sample]
            order = [kept.index(axis) for axis in (channel, *rest) if axis is not None]
            num_samples = 1 if sample is None else array.shape[sample]
            fits.append(Axes(sample, tuple(order), num_samples, lengths.pop()))
    fits = [
        axes
        for axes in fits
        if _MIN_SIZE_PX <= axes.size_px <= _MAX_SIZE_PX and 1 <= axes.num_samples <= _MAX_SAMPLES
    ]
    usual = [axes for axes in fits if axes.order in ((2, 0, 1), (0, 1))]
    if usual and usual[0].sample in (None, len(array.shape) - 1):
        return usual[0]
    if len(fits) == 1:
        return fits[0]
    expected = "S x S x N or S x S x 1 x N" if num_channels == 1 else f"S x S x {num_channels} x N"
    raise ValueError(
        f"got {array.size} of {array.dtype}{', which fits several ways' if fits else ''}, expected "
        f"{expected} with S in {_MIN_SIZE_PX}..{_MAX_SIZE_PX}"
    )


def read_sample(file: MatArrays, name: str, axes: Axes, index: int) -> npt.NDArray[np.float32]:
    """One sample of an array, (C, H, W) float32."""
    values = file.read(name, axes.sample, index).transpose(axes.order)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and refused or unknown as such
        floats = values.astype(np.float32)
    return floats if floats.ndim == 3 else floats[None]


def find_scale(path: Path, file: MatArrays, name: str, axes: Axes) -> float:
    """1.0 or 255.0: the upper end of an array's values, from several samples of it.

    Most of these samples decide: a single dark sample of 0..255 may look like one of 0..1.
    """
    places = np.unique(np.linspace(0, axes.num_samples - 1, _NUM_PROBED).astype(int))
    maxima: list[float] = []
    problem: FileProblem | None = None
    for index in places:
        try:
            values = read_sample(file, name, axes, int(index))
        except FileProblem as error:
            problem = error
        else:
            maxima += [float(values.max())] if np.isfinite(values).all() else []
    if problem is not None and not maxima:
        raise problem
    drawn = [maximum for maximum in maxima if maximum > 0]
    if not drawn:
        return 1.0 if name == "elements" else 255.0
    middle = float(np.median(drawn))
    if middle > 255 * (1 + MAX_OVERSHOOT):
        raise DataError(
            f"Roofline: {name} in {path}: got values up to {middle:.6g} in most samples, expected "
            "0..255 or 0..1; rescale them"
        )
    return 1.0 if middle <= 1 + MAX_OVERSHOOT else 255.0
