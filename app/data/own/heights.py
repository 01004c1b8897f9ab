"""Heights of any grid and reference system, laid on a window of a photo."""

from pathlib import Path
from typing import Final, NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from app.base.arrays import Floats
from app.base.tasks import DEPTH_RANGE_M
from app.data.files.ground import find_transformer
from app.data.files.opening import open_source, problems_of
from app.data.files.problems import FileProblem
from app.data.own.places import PhotoPlace

_REMEDY: Final = "export one band of metres above ground (a surface less its terrain)"
# What files call the unit; most do not.
_METRES: Final = ("", "m", "metre", "meter", "metres", "meters")
# Between such points the map from photo to heights is taken as straight.
_STEP_PX: Final = 64
# Of a window of a finer grid no more is read.
_MAX_READ_PX: Final = 8192
# From a pixel's middle to its edge, and a little for rounding.
_EDGE_PX: Final = 0.501

# Rasters that differ by less have one grid.
_SAME_PLACE_PX: Final = 0.01

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
        points = _Points.find(path, source, place, window)
        shift = points.shift()
        stored = (
            _read_places(source, *points.places())
            if shift is None
            else (_read_same_grid(source, window, *shift))
        )
        # Files of whole numbers say what one is worth.
        heights = stored * source.scales[0] + source.offsets[0]
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
    unit = (source.units[0] or "").strip().lower()
    if unit not in _METRES:
        raise FileProblem(path, f"heights in {unit}", "metres", _REMEDY)
    if source.crs is None or source.transform.is_identity:
        remedy = f"name it: `gdal_edit.py -a_srs EPSG:CODE {path.name}`"
        raise FileProblem(path, "no coordinate reference system", "one", remedy)


class _Points(NamedTuple):
    """Columns and rows of the heights under evenly spread points of a window.

    Attributes:
        window: Of the photo.
        columns: (R, C), from edge to edge of the window.
        rows: (R, C).
    """

    window: Window
    columns: Floats
    rows: Floats

    @classmethod
    def find(
        cls, path: Path, source: rasterio.DatasetReader, place: PhotoPlace, window: Window
    ) -> Self:
        """The points of a photo's window.

        Raises:
            FileProblem: If nothing says where they lie.
        """
        if place.crs is None or place.transform is None:
            expected = "a photo that says where it lies"
            raise FileProblem(path, "heights of a photo without georeference", expected, _REMEDY)
        transformer = find_transformer(place.crs, str(source.crs))
        if transformer is None:
            expected = f"one that a map leads to from {place.crs}"
            raise FileProblem(path, f"heights in {source.crs}", expected, _REMEDY)
        spread = [
            np.linspace(0, length, max(2, -(-length // _STEP_PX) + 1))
            for length in (window.height, window.width)
        ]
        row, column = np.meshgrid(
            spread[0] + window.row_off, spread[1] + window.col_off, indexing="ij"
        )
        x, y = transformer.transform(*(place.transform @ (column, row)))
        column, row = ~source.transform @ (np.asarray(x), np.asarray(y))
        return cls(window, np.asarray(column), np.asarray(row))

    def shift(self) -> tuple[int, int] | None:
        """Row and column under the window's first pixel; None where grids differ."""
        rows, columns = self.rows.shape
        height = np.linspace(0, self.window.height, rows)[:, None]
        width = np.linspace(0, self.window.width, columns)
        found = []
        for offsets in (self.rows - height, self.columns - width):
            if not np.isfinite(offsets).all():
                return None
            nearest = round(float(offsets[0, 0]))
            if np.abs(offsets - nearest).max() > _SAME_PLACE_PX:
                return None
            found.append(nearest)
        return found[0], found[1]

    def places(self) -> tuple[Floats, Floats]:
        """Column and row of the heights under the middle of every pixel of the window, (H, W)."""
        # From the points, which lie on the window's border too, to the middles of its pixels. Not
        # by OpenCV, whose maps are rounded to a 32nd, which is one of 64 pixels here.
        of_rows, of_columns = (
            _weights(length, num_points)
            for length, num_points in zip(
                (self.window.height, self.window.width), self.rows.shape, strict=True
            )
        )
        return of_rows @ self.columns @ of_columns.T, of_rows @ self.rows @ of_columns.T


def _weights(length: int, num_points: int) -> Floats:
    """(length, num_points): how much evenly spread points count for the middles of pixels."""
    places = (np.arange(length) + 0.5) / length * (num_points - 1)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(num_points)))


def _read_same_grid(
    source: rasterio.DatasetReader, window: Window, top: int, left: int
) -> _Heights:
    """(H, W) heights of a raster whose pixels are the photo's; NaN beyond it."""
    heights = np.full((window.height, window.width), np.nan, np.float32)
    rows = slice(max(0, -top), min(window.height, source.height - top))
    columns = slice(max(0, -left), min(window.width, source.width - left))
    if rows.start < rows.stop and columns.start < columns.stop:
        part = Window(
            left + columns.start,
            top + rows.start,
            columns.stop - columns.start,
            rows.stop - rows.start,
        )
        stored = source.read(1, window=part, masked=True).astype(np.float32)
        heights[rows, columns] = np.ma.filled(stored, np.nan)
    return heights


def _read_places(source: rasterio.DatasetReader, columns: Floats, rows: Floats) -> _Heights:
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
