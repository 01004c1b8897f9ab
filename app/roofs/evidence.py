"""What is known of each pixel of a photo, from which its roofs are found."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt
from rasterio import Affine
from rasterio.windows import Window

from app.base.tasks import (
    BACKGROUND_CLASS,
    FLAT_CLASS,
    IGNORE_INDEX,
    SOME_ROOF,
    AzimuthBins,
)
from app.data.files.opening import open_source

# Probabilities are stored as whole numbers of half a percent; 255 is no data.
PROBABILITY_SCALE: Final = 200

_REMEDY: Final = "predict the photo again"

_Array = npt.NDArray[Any]
_Floats = npt.NDArray[np.float32]


class Layer(Protocol):
    """An array, or what reads one from a file, taken by rows and columns."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W), or (C, H, W)."""

    def __getitem__(self, key: Any, /) -> Any:  # noqa: ANN401 (as numpy has it)
        """The part of some rows and columns, `[rows, columns]` or `[:, rows, columns]`."""


class StoredLayer:
    """Bands of a raster file, read by windows; what is no data in a band of metres is NaN."""

    def __init__(self, path: Path, bands: int | tuple[int, ...] = 1) -> None:
        """Open the file.

        Args:
            path: The raster.
            bands: One band, from 1, for (H, W); several for (C, H, W).

        Raises:
            app.data.files.problems.FileProblem: If it is no raster file.
        """
        self._source = open_source(path, path.parent, _REMEDY, with_georeference=False)
        self._bands = bands
        size = self._source.height, self._source.width
        self.shape: tuple[int, ...] = size if isinstance(bands, int) else (len(bands), *size)

    def __getitem__(self, key: tuple[slice, ...]) -> _Array:
        """The part of some rows and columns, the last two of the key."""
        rows, columns = (
            slice(*part.indices(length))
            for part, length in zip(key[-2:], self.shape[-2:], strict=True)
        )
        window = Window.from_slices(rows, columns)
        values: _Array = self._source.read(self._bands, window=window)
        nodata = self._source.nodata
        if np.issubdtype(values.dtype, np.floating) and nodata is not None:
            values[values == nodata] = np.nan
        return values

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._source.close()


@dataclass(frozen=True)
class RoofEvidence:
    """What a network says of a photo, or a part of it. Layers may be arrays, memory maps or files.

    Attributes:
        photo: Its name, without ending.
        classes: (H, W) uint8, the likeliest class: 0..num_bins-1 directions as of `base/azimuth.py`
            from the upward axis of the raster, then flat, then background; of one bin, 0 is some
            roof and 1 background. In all of them 18 is some roof, 255 no data.
        gsd_m: Metres per pixel on the ground.
        num_bins: Directions that the classes tell apart.
        direction_x: (H, W), how far the probabilities of the directions point right: the mean of
            their unit vectors, in -1..1, as float, or as uint8 of 100 times 1 more than that with
            255 for no data; None where only the classes are known.
        direction_y: The same, upwards.
        roof_probability: (H, W) uint8, 200 times the probability of any roof, 255 no data; or None.
        lines: (4, H, W) uint8, 200 times the probability of eaves (with rakes), ridges, hips and
            valleys, 255 no data; or None.
        height_m: (H, W) float, metres above ground, NaN where not known; or None.
        transform: From (column, row) to x and y; None where nothing says where the photo lies.
        crs: Reference system of x and y, as text; None where nothing names it.
    """

    photo: str
    classes: Layer
    gsd_m: float
    num_bins: AzimuthBins = 16
    direction_x: Layer | None = None
    direction_y: Layer | None = None
    roof_probability: Layer | None = None
    lines: Layer | None = None
    height_m: Layer | None = None
    transform: Affine | None = None
    crs: str | None = None

    @property
    def size_px(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.classes.shape
        return height, width

    def window(self, rows: slice, columns: slice) -> "RoofEvidence":
        """The part of some rows and columns, in memory."""

        def cut(layer: Layer | None) -> _Array | None:
            return None if layer is None else np.asarray(layer[rows, columns])

        transform = self.transform
        if transform is not None:
            transform = transform @ Affine.translation(columns.start, rows.start)
        return replace(
            self,
            classes=np.asarray(self.classes[rows, columns]),
            direction_x=cut(self.direction_x),
            direction_y=cut(self.direction_y),
            roof_probability=cut(self.roof_probability),
            lines=None if self.lines is None else np.asarray(self.lines[:, rows, columns]),
            height_m=cut(self.height_m),
            transform=transform,
        )


def class_table(num_bins: AzimuthBins) -> npt.NDArray[np.uint8]:
    """(256,) uint8: from what `RoofEvidence.classes` holds to directions and RID's other classes.

    Directions stay what they are; 16 is flat, 17 background, 18 some roof, 255 everything else.
    """
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[SOME_ROOF] = SOME_ROOF
    if num_bins == 1:
        table[:2] = SOME_ROOF, BACKGROUND_CLASS
    else:
        table[:num_bins] = np.arange(num_bins)
        table[num_bins : num_bins + 2] = FLAT_CLASS, BACKGROUND_CLASS
    return table


def as_shares(layer: _Array) -> _Floats:
    """Stored probabilities as float32 in [0, 1]; no data is 0."""
    table = np.arange(256, dtype=np.float32) / PROBABILITY_SCALE
    table[PROBABILITY_SCALE + 1 :] = 0.0
    return np.asarray(table[layer], np.float32)
