"""Raster files as every reader opens them: closed at once, bounded, and never outside the dataset."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from app.errors import SampleError

# Outside of this a georeference is wrong, and with it every length in metres.
MIN_GSD_M: Final = 0.01
MAX_GSD_M: Final = 1.0
# Whole files are read up to this size; a header may promise anything.
_MAX_WHOLE_PX: Final = 4096 * 4096


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
        dtype: Of all bands, as NumPy names it.
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
        root: Folder of the dataset, which the file must not leave through a link.
        remedy: What the user should do about a bad file.

    Raises:
        FileProblem: If it is no raster file, or leads outside of root.
    """
    return _read(path, root, remedy, None, None, want_pixels=False)[0]


def read_raster(
    path: Path,
    root: Path,
    remedy: str,
    window: Window | None = None,
    bands: Sequence[int] | None = None,
) -> tuple[RasterHeader, npt.NDArray[np.generic]]:
    """A raster file's header and its pixels, or those of a window of it.

    The file is opened and closed here: data loader workers share no handle.

    Args:
        path: A TIFF, or a PNG where the name ends so.
        root: Folder of the dataset, which the file must not leave through a link.
        remedy: What the user should do about a bad file.
        window: What to read; None is all of it, up to 4096 x 4096.
        bands: Which bands, from 1; None is all.

    Returns:
        Header, and (B, H, W) pixels of the file's type.

    Raises:
        FileProblem: If it cannot be read, is too large, or leads outside of root.
    """
    header, pixels = _read(path, root, remedy, window, bands, want_pixels=True)
    assert pixels is not None
    return header, pixels


def _read(
    path: Path,
    root: Path,
    remedy: str,
    window: Window | None,
    bands: Sequence[int] | None,
    *,
    want_pixels: bool,
) -> tuple[RasterHeader, npt.NDArray[np.generic] | None]:
    check_inside(path, root, remedy)
    # GDAL's fast path for whole PNGs leaves what a truncated file lacks uninitialised and reports
    # no error (GDAL 3.10). And it lists the folder at every opening, unless told not to.
    environment = rasterio.Env(
        GDAL_PNG_WHOLE_IMAGE_OPTIM="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"
    )
    try:
        with environment, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            # Named, because GDAL goes by content, and some formats point to other files.
            driver = "PNG" if path.suffix.lower() == ".png" else "GTiff"
            with rasterio.open(path, driver=driver) as source:
                header = _header(source)
                if not want_pixels:
                    return header, None
                if window is None and header.height_px * header.width_px > _MAX_WHOLE_PX:
                    raise FileProblem(path, f"{header.size} pixels", "at most 4096 x 4096", remedy)
                indexes = None if bands is None else list(bands)
                return header, source.read(indexes=indexes, window=window)
    # ValueError: rasterio's for paths and dtypes it cannot take. MemoryError: a lying header.
    except (RasterioError, OSError, ValueError, MemoryError) as error:
        reason = error.__cause__ or error  # rasterio's own text only points to its cause
        raise FileProblem(
            path,
            f"an unreadable file ({str(reason) or type(reason).__name__})",
            "a complete TIFF or PNG; is it truncated?",
            remedy,
        ) from error


def check_inside(path: Path, root: Path, remedy: str) -> None:
    """See that a file, links followed, lies in the dataset's folder.

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


def _header(source: rasterio.DatasetReader) -> RasterHeader:
    has_georeference = source.crs is not None
    return RasterHeader(
        num_bands=source.count,
        dtype=source.dtypes[0] if len(set(source.dtypes)) == 1 else " and ".join(source.dtypes),
        height_px=source.height,
        width_px=source.width,
        is_alpha=tuple(band == ColorInterp.alpha for band in source.colorinterp),
        gsd_m=_gsd_m(source) if has_georeference else None,
        bounds=tuple(source.bounds) if has_georeference else None,
        crs=str(source.crs) if has_georeference else None,
    )


def _gsd_m(source: rasterio.DatasetReader) -> float:
    """Metres per pixel, the mean of both axes at the centre of the image.

    Source: lengths of a degree from the series of the WGS 84 ellipsoid, as published by the
    National Geospatial-Intelligence Agency.
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
    return (column_m + row_m) / 2
