"""Raster files written again in another way: turned, masked, in other bands and places."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio import Affine
from rasterio.enums import ColorInterp

from tests.support.fakes import write_raster

Bands = npt.NDArray[np.generic]


def rewrite(
    path: Path, change: Callable[[Bands], Bands] = lambda bands: bands, **options: Any
) -> Path:
    """The same file with changed (B, H, W) bands; its place stays unless options name one."""
    with rasterio.open(path) as file:
        bands = file.read()
        kept = {} if file.crs is None else {"crs": file.crs, "transform": file.transform}
    path.unlink()
    return write_raster(path, np.ascontiguousarray(change(bands)), **{**kept, **options})


def turned(transform: Affine, quarters: int, side_px: int) -> Affine:
    """The transform of a square raster whose bands were turned by np.rot90, so many times."""
    for _ in range(quarters):
        # rot90 takes the last column to the first row.
        transform = transform @ Affine(0, -1, side_px, 1, 0, 0)
    return transform


def south_up(transform: Affine, height_px: int) -> Affine:
    """The transform of a raster whose rows were stored from south to north."""
    return transform @ Affine(1, 0, 0, 0, -1, height_px)


def write_colours(path: Path, bands: Bands, colours: Sequence[ColorInterp], **options: Any) -> Path:
    """A TIFF whose bands are declared to be these colours."""
    count, height, width = bands.shape
    path.unlink(missing_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=bands.dtype,
        photometric="MINISBLACK",
        **options,
    ) as file:
        file.write(bands)
        file.colorinterp = list(colours)
    return path


def write_mask(path: Path, shown: npt.NDArray[np.bool_], *, inside: bool) -> None:
    """GDAL's mask of a TIFF, in the file or beside it."""
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside, GDAL_DISABLE_READDIR_ON_OPEN=False),
        rasterio.open(path, "r+") as file,
    ):
        file.write_mask(shown.astype(np.uint8) * 255)


def assert_apart(paths: Iterable[Path]) -> None:
    """No two rasters show the same ground, nor touch."""
    boxes = []
    for path in paths:
        with rasterio.open(path) as file:
            boxes.append(file.bounds)
    for index, one in enumerate(boxes):
        for other in boxes[:index]:
            assert rasterio.coords.disjoint_bounds(one, other)
