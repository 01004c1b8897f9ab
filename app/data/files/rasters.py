"""Raster files as every reader opens them: bounded, never outside of the dataset."""

import contextlib
import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from app.base.errors import SampleError

# Outside of this a georeference is wrong, and with it every length in metres.
MIN_GSD_M: Final = 0.01
MAX_GSD_M: Final = 1.0
# Whole files are read up to this size; a header may promise anything.
_MAX_WHOLE_PX: Final = 4096 * 4096
_MAX_WHOLE_BANDS: Final = 4
# Two files a tile: enough for the tiles of a small dataset, of little use with 857 of them.
_MAX_OPEN: Final = 32
_SAFE_OPTIONS: Final = {
    # GDAL's fast path for whole PNGs leaves what a truncated file lacks uninitialised and reports
    # no error (GDAL 3.10).
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    # GDAL lists the folder at every opening, unless told not to.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # MB of unpacked blocks; GDAL's default is 5 % of the memory for every process.
    "GDAL_CACHEMAX": 64,
}
# Squares of ground are squares of an image, to this ratio of its axes.
_MAX_ASPECT: Final = 1.1


class FileProblem(Exception):
    """What a file holds, what it should hold, and what to do; a reader makes a SampleError of it.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, got: str, expected: str, remedy: str) -> None:
        super().__init__(f"{path}: got {got}, expected {expected}; {remedy}")
        self.path = path

    def to_sample_error(self, dataset_title: str, sample_id: str) -> SampleError:
        """The error a reader raises."""
        return SampleError(sample_id, self.path, f"{dataset_title}: {self}")


class RasterHeader(NamedTuple):
    """What a raster file says of itself before its pixels are read.

    Attributes:
        num_bands: Alpha included.
        dtype: Type of all bands, as NumPy names it.
        height_px: Rows.
        width_px: Columns.
        is_alpha: For each band, whether it is alpha.
        gsd_m: Metres per pixel; None without georeference.
        bounds: West, south, east, north in units of `crs`; None without georeference.
        crs: Coordinate reference system as text; None without georeference.
    """

    num_bands: int
    dtype: str
    height_px: int
    width_px: int
    is_alpha: tuple[bool, ...]
    gsd_m: float | None
    bounds: tuple[float, float, float, float] | None
    crs: str | None

    @property
    def size(self) -> str:
        """Width x height, for messages."""
        return f"{self.width_px} x {self.height_px}"

    @property
    def bands(self) -> str:
        """Bands and type, for messages."""
        alpha = " with alpha" if any(self.is_alpha) else ""
        return f"{self.num_bands} band{'s' if self.num_bands != 1 else ''}{alpha} of {self.dtype}"

    @property
    def is_rgb(self) -> bool:
        """Three bands of uint8, perhaps with alpha behind them."""
        without_alpha = self.num_bands - (self.is_alpha == (False, False, False, True))
        return self.dtype == "uint8" and without_alpha == 3


def read_header(path: Path, root: Path, remedy: str) -> RasterHeader:
    """A raster file's header.

    Args:
        path: A TIFF, or a PNG where the name ends so.
        root: The dataset's folder; a symlink must not lead outside it.
        remedy: What the user should do about a bad file.

    Raises:
        FileProblem: If it is no raster file, or leads outside of root.
    """
    with open_raster(path, root, remedy) as (header, _):
        return header


def read_raster(
    path: Path, root: Path, remedy: str
) -> tuple[RasterHeader, npt.NDArray[np.generic]]:
    """A raster file's header and all of its pixels, at most 4096 x 4096 of four bands.

    The file is opened and closed here.

    Args:
        path: A TIFF, or a PNG where the name ends so.
        root: The dataset's folder; a symlink must not lead outside it.
        remedy: What the user should do about a bad file.

    Returns:
        Header, and (B, H, W) pixels of the file's type.

    Raises:
        FileProblem: If it cannot be read, is too large, or leads outside of root.
    """
    with open_raster(path, root, remedy) as (header, source):
        if header.height_px * header.width_px > _MAX_WHOLE_PX:
            raise FileProblem(path, f"{header.size} pixels", "at most 4096 x 4096", remedy)
        if header.num_bands > _MAX_WHOLE_BANDS:
            raise FileProblem(path, header.bands, f"at most {_MAX_WHOLE_BANDS} bands", remedy)
        return header, source.read()


@contextlib.contextmanager
def open_raster(
    path: Path, root: Path, remedy: str
) -> Iterator[tuple[RasterHeader, rasterio.DatasetReader]]:
    """A raster file while it is open, and its header.

    Args:
        path: A TIFF, or a PNG where the name ends so.
        root: The dataset's folder; a symlink must not lead outside it.
        remedy: What the user should do about a bad file.

    Raises:
        FileProblem: If it cannot be read, now or in the with block, or leads outside of root.
    """
    check_inside(path, root, remedy)
    with (
        _problems_of(path, remedy),
        rasterio.Env(**_SAFE_OPTIONS, GTIFF_DIRECT_IO="NO"),
        _open(path, with_georeference=True) as source,
    ):
        yield _header(source, path, remedy), source


class OpenRasters:
    """Large files of which windows are read again and again; those read last stay open.

    For one thread. Sent to another process, it opens the files again there.

    Args:
        root: The dataset's folder; a symlink must not lead outside it.
        remedy: What the user should do about a bad file.
    """

    def __init__(self, root: Path, remedy: str) -> None:
        self.root = root
        self.remedy = remedy
        self._open: OrderedDict[Path, _OpenRaster] = OrderedDict()
        self._process_id = os.getpid()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": OrderedDict(), "_process_id": 0}

    def read(
        self, path: Path, window: Window, bands: Sequence[int], complete_size_bytes: int
    ) -> tuple[RasterHeader, npt.NDArray[np.generic]]:
        """Header, without georeference, and (B, H, W) pixels of a window.

        Args:
            path: The file.
            window: What to read.
            bands: Which bands, from 1.
            complete_size_bytes: Size of the file when all of it was there. Where it still has this
                size, windows of uncompressed strips are read without the rest of their rows,
                several times sooner; that way GDAL takes what a truncated file lacks as zeros.

        Raises:
            FileProblem: If it cannot be read, or leads outside of the dataset's folder.
        """
        try:
            with _problems_of(path, self.remedy):
                opened = self._get(path, complete_size_bytes)
                return opened.header, opened.source.read(indexes=list(bands), window=window)
        except FileProblem:
            self._open.pop(path, None)
            raise

    def _get(self, path: Path, complete_size_bytes: int) -> "_OpenRaster":
        if self._process_id != os.getpid():  # handles of the process that forked this one
            self._open, self._process_id = OrderedDict(), os.getpid()
        opened = self._open.pop(path, None)
        if opened is None:
            check_inside(path, self.root, self.remedy)
            is_complete = path.stat().st_size == complete_size_bytes
            # Looked at when a file is opened, for all of its reads.
            direct = "YES" if is_complete else "NO"
            with rasterio.Env(**_SAFE_OPTIONS, GTIFF_DIRECT_IO=direct):
                # To open a file takes four times as long with its georeference.
                source = _open(path, with_georeference=False)
            opened = _OpenRaster(_header(source, path, self.remedy), source)
        self._open[path] = opened
        if len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)[1].source.close()
        return opened


class _OpenRaster(NamedTuple):
    header: RasterHeader
    source: rasterio.DatasetReader


@contextlib.contextmanager
def _problems_of(path: Path, remedy: str) -> Iterator[None]:
    """Turns errors of opening and reading a file into a FileProblem."""
    try:
        yield
    except UnicodeEncodeError as error:
        expected = "names of folders and files that are"
        raise FileProblem(
            path, "a name that is not UTF-8", expected, "rename the folder"
        ) from error
    # ValueError: rasterio's for paths and dtypes it cannot take. MemoryError: a lying header.
    except (RasterioError, OSError, ValueError, MemoryError) as error:
        reason = error.__cause__ or error  # rasterio's own text only points to its cause
        raise FileProblem(
            path,
            f"an unreadable file ({str(reason) or type(reason).__name__})",
            "a complete TIFF or PNG; is it truncated?",
            remedy,
        ) from error


def _open(path: Path, with_georeference: bool) -> rasterio.DatasetReader:
    # Named, because GDAL goes by content, and some formats point to other files.
    driver = "PNG" if path.suffix.lower() == ".png" else "GTiff"
    options = {} if with_georeference or driver == "PNG" else {"GEOREF_SOURCES": "NONE"}
    return rasterio.open(path, driver=driver, **options)


def check_inside(path: Path, root: Path, remedy: str) -> None:
    """Check that a path leads to a file and, with links followed, lies in the dataset's folder.

    Raises:
        FileProblem: If it does not, or does not exist.
    """
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileProblem(path, f"no such file ({reason})", "a file", remedy) from error
    if not resolved.is_relative_to(root.resolve()):
        raise FileProblem(
            path, "a link that leads out of the dataset's folder", "a file inside of it", remedy
        )
    # To open a pipe would wait for its writer.
    if not resolved.is_file():
        got = "a folder" if resolved.is_dir() else "neither file nor folder"
        raise FileProblem(path, got, "a file", remedy)


def _header(source: rasterio.DatasetReader, path: Path, remedy: str) -> RasterHeader:
    has_georeference = source.crs is not None
    return RasterHeader(
        num_bands=source.count,
        dtype=source.dtypes[0] if len(set(source.dtypes)) == 1 else " and ".join(source.dtypes),
        height_px=source.height,
        width_px=source.width,
        is_alpha=tuple(band == ColorInterp.alpha for band in source.colorinterp),
        gsd_m=_gsd_m(source, path, remedy) if has_georeference else None,
        bounds=_bounds(source) if has_georeference else None,
        crs=str(source.crs) if has_georeference else None,
    )


def _bounds(source: rasterio.DatasetReader) -> tuple[float, float, float, float]:
    """West, south, east, north of everything that a file shows, however it is turned."""
    transform = source.transform
    corners = [(0, 0), (source.width, 0), (0, source.height), (source.width, source.height)]
    x = [transform.c + transform.a * column + transform.b * row for column, row in corners]
    y = [transform.f + transform.d * column + transform.e * row for column, row in corners]
    return min(x), min(y), max(x), max(y)


def _gsd_m(source: rasterio.DatasetReader, path: Path, remedy: str) -> float:
    """Metres per pixel, the mean of both axes at the centre of the image.

    Source: lengths of a degree from the series of the WGS 84 ellipsoid, as published by the
    National Geospatial-Intelligence Agency.

    Raises:
        FileProblem: If its pixels are no squares.
    """
    transform = source.transform
    if source.crs.is_geographic:
        latitude_deg = transform.f + (transform.d * source.width + transform.e * source.height) / 2
        latitude = math.radians(latitude_deg)
        x_unit_m = 111412.84 * math.cos(latitude) - 93.5 * math.cos(3 * latitude)
        y_unit_m = 111132.92 - 559.82 * math.cos(2 * latitude) + 1.175 * math.cos(4 * latitude)
    else:
        x_unit_m = y_unit_m = source.crs.linear_units_factor[1]
    column_m = math.hypot(transform.a * x_unit_m, transform.d * y_unit_m)
    row_m = math.hypot(transform.b * x_unit_m, transform.e * y_unit_m)
    if not 0 < max(column_m, row_m) <= _MAX_ASPECT * min(column_m, row_m):
        got = f"a georeference of {column_m:.6g} x {row_m:.6g} m per pixel"
        raise FileProblem(path, got, "pixels as wide as high, to a tenth", remedy)
    return (column_m + row_m) / 2
