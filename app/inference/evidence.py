"""The bands of a photo's rasters that roofs are found by, in memory instead of in files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from app.base.window import Window
from app.inference.layers import RIGHT, ROOF, UP, Band, Layer, LayerName, Values

# Fields of app.roofs.evidence.RoofEvidence, with the layer that each is in and its band; None is
# all bands of the layer, or its only one.
_BANDS: Final[Mapping[str, tuple[LayerName, Band | None]]] = {
    "classes": ("segments", None),
    "direction_x": ("uncertainty", RIGHT),
    "direction_y": ("uncertainty", UP),
    "roof_probability": ("uncertainty", ROOF),
    "lines": ("lines", None),
    "height_m": ("height", None),
}

_Array = npt.NDArray[Any]


def find_bands(layers: Sequence[Layer]) -> dict[str, tuple[LayerName, int | tuple[int, ...]]]:
    """Where what roofs are found by is stored.

    Args:
        layers: What rasters are made of a photo.

    Returns:
        For every field of RoofEvidence that they tell of, the layer, and the number of its band
        from 0; several numbers for a field of several bands.
    """
    found: dict[str, tuple[LayerName, int | tuple[int, ...]]] = {}
    by_name = {layer.name: layer for layer in layers}
    for field, (name, band) in _BANDS.items():
        bands = by_name[name].bands if name in by_name else ()
        if band is None and bands:
            found[field] = name, tuple(range(len(bands))) if field == "lines" else 0
        elif band in bands:
            found[field] = name, bands.index(band)
    return found


@dataclass(frozen=True)
class PhotoEvidence:
    """What a network says of a photo's roofs, as its rasters would hold it.

    Attributes:
        bands: By field of RoofEvidence, (H, W), lines (4, H, W): numbers as rasters have them, no
            data where no rectangle was put.
        layers: What rasters would be made of the photo.
    """

    bands: Mapping[str, _Array]
    layers: Sequence[Layer] = ()

    @classmethod
    def empty(cls, size: tuple[int, int], layers: Sequence[Layer]) -> Self:
        """Room for a photo.

        Args:
            size: Its rows and columns.
            layers: What is predicted of it.
        """
        by_name = {layer.name: layer for layer in layers}
        bands = {}
        for field, (name, numbers) in find_bands(layers).items():
            shape = size if isinstance(numbers, int) else (len(numbers), *size)
            bands[field] = np.full(shape, by_name[name].nodata, by_name[name].dtype)
        return cls(bands, layers)

    @property
    def classes(self) -> npt.NDArray[np.uint8]:
        """(H, W) the likeliest class of the segments task, 255 no data."""
        classes: npt.NDArray[np.uint8] = self.bands["classes"]
        return classes

    def put(self, window: Window, values: Mapping[LayerName, Values]) -> None:
        """Fill in a rectangle.

        Args:
            window: Where it lies.
            values: Of every layer, as LayerMaker makes them.
        """
        for field, (name, numbers) in find_bands(self.layers).items():
            target = self.bands[field][..., window.rows, window.columns]
            target[:] = values[name][numbers if isinstance(numbers, int) else list(numbers)]
