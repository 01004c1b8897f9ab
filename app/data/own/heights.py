"""Heights of any grid and reference system, laid on a window of a photo."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from app.base.tasks import DEPTH_RANGE_M
from app.data.files.ground import find_transformer
from app.data.files.opening import open_source, problems_of
from app.data.files.problems import FileProblem
from app.data.own.places import PhotoPlace

_REMEDY: Final = "export one band of metres above ground (a surface less its terrain)"
# Between such points the map from photo to heights is taken as straight.
_STEP_PX: Final = 64
# Of a window of a finer grid no more is read.
_MAX_READ_PX: Final = 8192
# From a pixel's middle to its edge, and a little for rounding.
_EDGE_PX: Final = 0.501

_Floats = npt.NDArray[np.float64]
_Heights = npt.NDArray[np.float32]


def read_heights(path: Path, root: Path, place: PhotoPlace, window: Window) -> _Heights:
    """(H, W) metres above ground of a window of a photo; NaN where nobody knows.

    Args:
        path: The raster of heights.
        root: The dataset's folder; a symlink must not lead outside it.
        place: The photo.
        window: Of the photo, north up.

    Raises:
        FileProblem: If it cannot be read, is not placed, or holds heights above the sea.
    """
    with open_source(path, root, _REMEDY) as source, problems_of(path, _REMEDY):
        _check(path, source)
        columns, rows = _places(path, source, place, window)
        heights = _read(source, columns, rows)
    low, high = DEPTH_RANGE_M
    is_known = np.isfinite(heights)
    is_possible = is_known & (heights >= low) & (heights <= high)
    if is_known.any() and is_possible.sum() * 2 < is_known.sum():
        median_m = float(np.median(heights[is_known]))
        got = f"heights of {median_m:.4g} m by half"
        expected = f"{low} to {high} m above ground, not above the sea"
        raise FileProblem(path, got, expected, _REMEDY)
    return np.where(is_possible, heights, np.float32(np.nan)).astype(np.float32)


def _check(path: Path, source: rasterio.DatasetReader) -> None:
    if source.count != 1 or "complex" in source.dtypes[0]:
        got = f"{source.count} bands of {source.dtypes[0]}"
        raise FileProblem(path, got, "one band of numbers", _REMEDY)
    if source.crs is None or source.transform.is_identity:
        remedy = f"name it: `gdal_edit.py -a_srs EPSG:CODE {path.name}`"
        raise FileProblem(path, "no coordinate reference system", "one", remedy)


def _places(
    path: Path, source: rasterio.DatasetReader, place: PhotoPlace, window: Window
) -> tuple[_Floats, _Floats]:
    """Column and row of the heights under the middle of every pixel of the window, (H, W) each."""
    if place.crs is None or place.transform is None:
        expected = "a photo that says where it lies"
        raise FileProblem(path, "heights of a photo without georeference", expected, _REMEDY)
    transformer = find_transformer(place.crs, str(source.crs))
    if transformer is None:
        expected = f"one that a map leads to from {place.crs}"
        raise FileProblem(path, f"heights in {source.crs}", expected, _REMEDY)
    coarse = [
        np.linspace(0, length, max(2, -(-length // _STEP_PX) + 1))
        for length in (window.height, window.width)
    ]
    row, column = np.meshgrid(coarse[0] + window.row_off, coarse[1] + window.col_off, indexing="ij")
    x, y = place.transform @ (column, row)
    x, y = transformer.transform(x, y)
    column, row = ~source.transform @ (np.asarray(x), np.asarray(y))
    # From the coarse points, which lie on the window's border too, to the middles of its pixels.
    # Not by OpenCV, whose maps are rounded to a 32nd, which is one of 64 pixels here.
    of_rows, of_columns = (
        _weights(length, len(points))
        for length, points in zip((window.height, window.width), coarse, strict=True)
    )
    return of_rows @ np.asarray(column) @ of_columns.T, of_rows @ np.asarray(row) @ of_columns.T


def _weights(length: int, num_points: int) -> _Floats:
    """(length, num_points): how much evenly spread points count for the middles of pixels."""
    places = (np.arange(length) + 0.5) / length * (num_points - 1)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(num_points)))


def _read(source: rasterio.DatasetReader, columns: _Floats, rows: _Floats) -> _Heights:
    """(H, W) heights between middles of the raster; NaN beyond it and where none is set."""
    nothing = np.full(columns.shape, np.nan, np.float32)
    if not np.isfinite(columns).all() or not np.isfinite(rows).all():
        return nothing
    left, top = max(0, int(columns.min()) - 1), max(0, int(rows.min()) - 1)
    right = min(source.width, int(columns.max()) + 2)
    bottom = min(source.height, int(rows.max()) + 2)
    if left >= right or top >= bottom:
        return nothing
    size = (min(bottom - top, _MAX_READ_PX), min(right - left, _MAX_READ_PX))
    part = source.read(
        1, window=Window(left, top, right - left, bottom - top), masked=True, out_shape=size
    )
    values = np.ma.filled(part.astype(np.float32), np.nan)
    scale = np.array([size[1] / (right - left), size[0] / (bottom - top)])
    x, y = (columns - left) * scale[0] - 0.5, (rows - top) * scale[1] - 0.5
    heights = cv2.remap(
        values,
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    # To the outer edges of its pixels the raster says something.
    is_beyond = (np.minimum(x, y) < -_EDGE_PX) | (x > size[1] - 1 + _EDGE_PX)
    is_beyond |= y > size[0] - 1 + _EDGE_PX
    return np.where(is_beyond, np.float32(np.nan), heights).astype(np.float32)
