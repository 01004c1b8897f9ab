"""A photo in a file of any size, of which windows are read at a network's sampling distance."""

import math
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from rasterio import Affine
from rasterio.windows import Window as StoredWindow
from torch import Tensor

from app.base.window import Window
from app.data.files.georeference import Georeference, settle_gsd_m
from app.data.files.header import open_raster
from app.data.files.meaning import photo_meaning
from app.data.files.opening import hold_blocks
from app.data.files.problems import FileProblem
from app.data.files.rasters import OpenRasters, StoredRaster
from app.data.files.turns import AS_STORED
from app.data.geometry import SAME_GSD_TOLERANCE, size_at
from app.inference.resampling import Axis, resample

_REMEDY: Final = "give another photo, or leave it out"
# A file without tiles has whole rows in a block; those of a row of windows are kept up to this.
_MAX_ROWS_BYTES: Final = 512 * 2**20


class Grid(NamedTuple):
    """Where the pixels of a raster lie.

    Attributes:
        height_px: Rows, north up.
        width_px: Columns, north up.
        gsd_m: Metres per pixel on the ground.
        transform: From (column, row) to x and y; None without georeference.
        crs: Coordinate reference system as text; None where none is named.
    """

    height_px: int
    width_px: int
    gsd_m: float
    transform: Affine | None = None
    crs: str | None = None


class NoScaleProblem(FileProblem):
    """Nobody says how large a photo's pixels are."""


class FileFacts(NamedTuple):
    """What tells a file from others, and how it is stored.

    Attributes:
        size_bytes: Its size.
        modified_ns: When it was written.
        num_bands: Alpha included.
        is_tiled: Whether a block is less than a row.
    """

    size_bytes: int
    modified_ns: int
    num_bands: int
    is_tiled: bool


class FilePhoto:
    """A photo in a file; windows are read at the network's sampling distance, north up.

    Nothing of it is kept. Only one thread may read.

    Attributes:
        path: The file, links followed.
        facts: What tells it from others.
        own_grid: The file's own pixels.
        grid: The pixels that windows are counted in, near the network's sampling distance; the
            file's own where those are within 3 % of it.
        assumed: What had to be taken for granted to know the scale; empty if nothing.
    """

    def __init__(
        self,
        stored: StoredRaster,
        facts: FileFacts,
        own_grid: Grid,
        gsd_m: float,
        assumed: str,
    ) -> None:
        self.path = stored.path
        self.facts = facts
        self.own_grid = own_grid
        self.assumed = assumed
        self._stored = stored
        self.grid = _find_grid(own_grid, gsd_m)
        self._rasters = OpenRasters(stored.path.parent, _REMEDY)
        size = (self.grid.height_px, self.grid.width_px)
        own_size = (own_grid.height_px, own_grid.width_px)
        self._rows, self._columns = (
            Axis(own_px, px) for own_px, px in zip(own_size, size, strict=True)
        )

    @property
    def has_scale(self) -> bool:
        """Whether the file says itself how large its pixels are."""
        return self.own_grid.transform is not None

    @property
    def height_px(self) -> int:
        """Rows of the grid."""
        return self.grid.height_px

    @property
    def width_px(self) -> int:
        """Columns of the grid."""
        return self.grid.width_px

    def read(self, window: Window) -> tuple[Tensor, Tensor | None]:
        """Pixels of a window, and which of them show something.

        Args:
            window: Within the grid.

        Returns:
            (3, h, w) uint8 RGB, black where the photo shows nothing; and (h, w) bool, None where it
            shows something everywhere.

        Raises:
            FileProblem: If it cannot be read.
        """
        rows = self._rows.needed(window.rows)
        columns = self._columns.needed(window.columns)
        self._hold_rows(rows.stop - rows.start)
        part = StoredWindow.from_slices((rows.start, rows.stop), (columns.start, columns.stop))
        values, seen = self._rasters.read_photo(self._stored, part)
        if self.grid is not self.own_grid:
            of_rows = self._rows.weights(window.rows, rows)
            of_columns = self._columns.weights(window.columns, columns)
            values, seen = resample(values, seen, of_rows, of_columns)
        if seen is None:
            return torch.from_numpy(values), None
        values[:, ~seen] = 0
        return torch.from_numpy(values), torch.from_numpy(seen)

    def _hold_rows(self, num_rows: int) -> None:
        """Have GDAL keep the rows of a row of windows, or each window would unpack them again."""
        if self.facts.is_tiled:
            return
        # Stored on its side, its columns are these rows.
        row_px = max(self.own_grid.width_px, self.own_grid.height_px)
        needed_bytes = num_rows * row_px * self.facts.num_bands
        hold_blocks(min(needed_bytes, _MAX_ROWS_BYTES))


class ArrayPhoto:
    """A photo in memory; windows are read at the network's sampling distance, as of FilePhoto.

    Args:
        pixels: (3, H, W) uint8 RGB, north up.
        own_gsd_m: Metres per pixel.
        gsd_m: Metres per pixel at which the network expects photos.
    """

    def __init__(self, pixels: npt.NDArray[np.uint8], own_gsd_m: float, gsd_m: float) -> None:
        self._pixels = pixels
        height_px, width_px = pixels.shape[1:]
        own_grid = Grid(height_px, width_px, own_gsd_m)
        self.grid = _find_grid(own_grid, gsd_m)
        self.height_px, self.width_px = self.grid.height_px, self.grid.width_px
        self._rows = Axis(own_grid.height_px, self.height_px)
        self._columns = Axis(own_grid.width_px, self.width_px)

    def read(self, window: Window) -> tuple[Tensor, Tensor | None]:
        """As FilePhoto.read; it shows something everywhere."""
        rows, columns = self._rows.needed(window.rows), self._columns.needed(window.columns)
        values = self._pixels[:, rows, columns]
        if self._pixels.shape[1:] != (self.height_px, self.width_px):
            of_rows = self._rows.weights(window.rows, rows)
            of_columns = self._columns.weights(window.columns, columns)
            values, _ = resample(values, None, of_rows, of_columns)
        return torch.from_numpy(np.ascontiguousarray(values)), None


def open_photo(path: Path, gsd_m: float, given_gsd_m: float | None = None) -> FilePhoto:
    """A photo in a TIFF, PNG or JPEG, to be read at a sampling distance.

    Args:
        path: The file.
        gsd_m: Metres per pixel on the ground at which the network expects photos.
        given_gsd_m: Metres per pixel of a photo that says nothing of its scale.

    Raises:
        NoScaleProblem: If nothing says how large its pixels are.
        FileProblem: If it cannot be read, has no bands of red, green and blue with 8 bits, or lies
            askew.
    """
    try:
        path = path.resolve(strict=True)
        status = path.stat()
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileProblem(path, f"no such file ({reason})", "a photo", _REMEDY) from error
    with open_raster(path, path.parent, _REMEDY) as (header, source):
        photo_meaning(header, source, _REMEDY)
        is_tiled = source.block_shapes[0][1] < source.width
    facts = FileFacts(status.st_size, status.st_mtime_ns, header.num_bands, is_tiled)
    place = header.georeference
    if place is None and given_gsd_m is None:
        expected = "a georeference, or a world file beside it"
        remedy = "give its gsd_m in metres per pixel (--gsd-m)"
        raise NoScaleProblem(path, "no word of its scale", expected, remedy)
    own_gsd_m = settle_gsd_m(path, place, given_gsd_m or 0.0, _REMEDY)
    turn = AS_STORED if place is None else place.turn
    # Not the size of a complete file: what a truncated one lacks is to be an error.
    stored = StoredRaster(path, header.height_px, header.width_px, turn, size_bytes=-1)
    own_grid = Grid(header.height_px, header.width_px, own_gsd_m, *_place_of(place))
    return FilePhoto(stored, facts, own_grid, gsd_m, "" if place is None else place.assumed)


def _place_of(place: Georeference | None) -> tuple[Affine | None, str | None]:
    return (None, None) if place is None else (place.transform, place.crs)


def _find_grid(own: Grid, gsd_m: float) -> Grid:
    """The grid of windows: what a photo covers, in pixels of about that size."""
    ratio = gsd_m / own.gsd_m
    if math.isclose(ratio, 1, abs_tol=SAME_GSD_TOLERANCE, rel_tol=0):
        return own
    height_px, width_px = size_at(own.height_px, own.width_px, ratio)
    transform = own.transform
    if transform is not None:
        transform = transform @ Affine.scale(own.width_px / width_px, own.height_px / height_px)
    return Grid(height_px, width_px, gsd_m, transform, own.crs)
