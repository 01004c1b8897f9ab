"""Rasters of predictions: written tile by tile, then as cloud-optimised GeoTIFFs, whole or not."""

import contextlib
import itertools
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import numpy as np
import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as FileWindow

from app.base.errors import StorageError, first_line
from app.base.machine import find_lack
from app.base.storage import move_whole, read_free_gib
from app.base.window import Window
from app.inference.layers import NODATA, Layer, Values
from app.inference.photo_source import Grid
from app.resources.cores import num_cores

TILE_PX: Final = 512
# Read once more and removed: quick.
_SCRATCH: Final = {"compress": "deflate", "zlevel": 1, "sparse_ok": True, "bigtiff": "IF_SAFER"}
# Level 3 takes half of the time of the default, 6, and 8 % more space.
_FINAL: Final = {
    "compress": "DEFLATE", "level": 3, "predictor": "YES", "blocksize": TILE_PX,
    "bigtiff": "IF_SAFER", "statistics": "NO",
}  # fmt: skip
_SIDECAR_END: Final = ".aux.xml"

_Tile = tuple[int, int]


class TiledRaster:
    """A raster that comes in rectangles; a tile is written once all of it is there.

    Memory is that of the tiles that have begun: where rectangles come row by row, one row of them.

    Args:
        path: The file, which is made.
        layer: What it holds.
        grid: Its pixels.
        tags: Of the whole file.

    Attributes:
        checksums: By row and column of tiles, the checksum of each tile that was written.
    """

    def __init__(self, path: Path, layer: Layer, grid: Grid, tags: Mapping[str, str]) -> None:
        self.path = path
        self.layer = layer
        self.grid = grid
        self.checksums: dict[_Tile, int] = {}
        self._begun: dict[_Tile, Values] = {}
        self._num_missing: dict[_Tile, int] = {}
        self._file = rasterio.open(path, "w", **_profile(layer, grid), **_SCRATCH)
        _describe(self._file, layer, tags)

    def add(self, window: Window, values: Values | None) -> None:
        """Take in a rectangle; no two may overlap.

        Args:
            window: Where it lies.
            values: (bands, h, w); None is no data.
        """
        rows = range(window.top // TILE_PX, (window.top + window.height - 1) // TILE_PX + 1)
        columns = range(window.left // TILE_PX, (window.left + window.width - 1) // TILE_PX + 1)
        for tile in itertools.product(rows, columns):
            place = _tile_window(tile, self.grid)
            top, bottom = _shared(place.rows, window.rows)
            left, right = _shared(place.columns, window.columns)
            if values is not None:
                target = self._begin(tile, place)[
                    :, top - place.top : bottom - place.top, left - place.left : right - place.left
                ]
                target[:] = values[
                    :,
                    top - window.top : bottom - window.top,
                    left - window.left : right - window.left,
                ]
            missing = self._num_missing.get(tile, place.height * place.width)
            self._num_missing[tile] = missing - (bottom - top) * (right - left)
            if self._num_missing[tile] == 0 and tile in self._begun:
                self._write(tile, place)

    def close(self) -> None:
        """Write what has begun."""
        for tile in sorted(self._begun):
            self._write(tile, _tile_window(tile, self.grid))
        self._file.close()

    def _begin(self, tile: _Tile, place: Window) -> Values:
        if tile not in self._begun:
            shape = (len(self.layer.bands), place.height, place.width)
            self._begun[tile] = np.full(shape, self.layer.nodata, self.layer.dtype)
        return self._begun[tile]

    def _write(self, tile: _Tile, place: Window) -> None:
        values = self._begun.pop(tile)
        self.checksums[tile] = zlib.crc32(values.tobytes())
        self._file.write(values, window=_file_window(place))


def finish(scratch: TiledRaster, grid: Grid, path: Path, tags: Mapping[str, str]) -> list[Path]:
    """Make the file that people get of one that is complete; returns what was written.

    Beside a raster of classes lies what GDAL keeps beside files: the names of the classes, and
    their colours once more.

    Args:
        scratch: Closed; other files are made beside it.
        grid: Pixels of the file; on others than those of `scratch` it is resampled.
        path: Where the file goes; what is there is replaced.
        tags: Of the whole file.

    Raises:
        StorageError: If it cannot be written.
    """
    if grid != scratch.grid:
        scratch = _regrid(scratch, grid, tags)
    finished = scratch.path.with_name(path.name)
    resampling = "MODE" if scratch.layer.classes else "AVERAGE"
    rasterio.shutil.copy(
        scratch.path,
        finished,
        driver="COG",
        overview_resampling=resampling,
        num_threads=num_cores(),  # which change no byte
        **_FINAL,
    )
    # GDAL does not tell of every write that a full disk refuses.
    _check(finished, scratch)
    outputs = [path]
    if scratch.layer.classes:
        sidecar = finished.with_name(finished.name + _SIDECAR_END)
        sidecar.write_text(_describe_classes(scratch.layer), encoding="utf-8")
        outputs.append(path.with_name(sidecar.name))
        move_whole(sidecar, outputs[-1])
    move_whole(finished, path)
    return outputs


@contextlib.contextmanager
def explained_writes(folder: Path) -> Iterator[None]:
    """Turns errors of writing to a folder into one line.

    Raises:
        StorageError: In place of such an error.
    """
    try:
        yield
    except StorageError:
        raise
    # GDAL's own errors reach us as they are where a file is closed.
    except (RasterioError, CPLE_BaseError, OSError) as error:
        cause = error.__cause__ or error
        reason = getattr(cause, "strerror", None) or first_line(cause)
        free_gib = read_free_gib(folder)
        free = "" if free_gib is None else f" ({find_lack(folder) or f'{free_gib:.2f} GiB free'})"
        raise StorageError(
            f"{folder}: a file cannot be written: {reason}{free}; give it more space or mount it "
            "writable, then run the command again: it predicts the photos that are missing"
        ) from error


def _profile(layer: Layer, grid: Grid) -> dict[str, Any]:
    place = {} if grid.transform is None else {"transform": grid.transform}
    if grid.crs is not None:
        place["crs"] = CRS.from_user_input(grid.crs)
    return {
        "driver": "GTiff",
        "height": grid.height_px,
        "width": grid.width_px,
        "count": len(layer.bands),
        "dtype": layer.dtype,
        "nodata": layer.nodata,
        "tiled": True,
        "blockxsize": TILE_PX,
        "blockysize": TILE_PX,
        # Four bands would be taken for red, green, blue and alpha.
        "photometric": "MINISBLACK",
        "alpha": "NO",
        **place,
    }


def _describe(file: rasterio.io.DatasetWriter, layer: Layer, tags: Mapping[str, str]) -> None:
    """Write what a file says of itself, before its pixels."""
    if layer.classes is not None:
        colours = dict(enumerate((*colour, 255) for colour in layer.classes.colours))
        file.write_colormap(1, {**colours, NODATA: (0, 0, 0, 0)})
        names = enumerate(layer.classes.class_names)
        tags = {**tags, **{f"CLASS_{number}": name for number, name in names}}
    else:
        others = [ColorInterp.undefined] * (len(layer.bands) - 1)
        file.colorinterp = [ColorInterp.gray, *others]
        file.scales = [band.scale for band in layer.bands]
        file.offsets = [band.offset for band in layer.bands]
    for number, band in enumerate(layer.bands, start=1):
        file.set_band_description(number, band.description)
        if band.unit:
            file.set_band_unit(number, band.unit)
    file.update_tags(**tags)


def _describe_classes(layer: Layer) -> str:
    """GDAL's `.aux.xml`: names of classes, and the table of attributes that QGIS colours by."""
    assert layer.classes is not None
    names = [escape(name) for name in layer.classes.class_names]
    categories = "".join(f"      <Category>{name}</Category>\n" for name in names)
    # Types: 0 integer, 2 text. Usages: 5 value, 2 name, 6 to 8 red, green and blue.
    fields = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))
    table = "".join(
        f'      <FieldDefn index="{number}"><Name>{name}</Name><Type>{kind}</Type>'
        f"<Usage>{usage}</Usage></FieldDefn>\n"
        for number, (name, kind, usage) in enumerate(fields)
    )
    for number, (name, colour) in enumerate(zip(names, layer.classes.colours, strict=True)):
        cells = "".join(f"<F>{cell}</F>" for cell in (number, name, *colour))
        table += f'      <Row index="{number}">{cells}</Row>\n'
    return (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n'
        f"    <CategoryNames>\n{categories}    </CategoryNames>\n"
        f'    <GDALRasterAttributeTable tableType="thematic">\n{table}'
        "    </GDALRasterAttributeTable>\n  </PAMRasterBand>\n</PAMDataset>\n"
    )


def _regrid(scratch: TiledRaster, grid: Grid, tags: Mapping[str, str]) -> TiledRaster:
    """The same raster in other pixels that cover the same ground."""
    path = scratch.path.with_name(f"regridded_{scratch.path.name}")
    other = TiledRaster(path, scratch.layer, grid, tags)
    rows = scratch.grid.height_px / grid.height_px
    columns = scratch.grid.width_px / grid.width_px
    resampling = Resampling.nearest if scratch.layer.classes else Resampling.bilinear
    with rasterio.open(scratch.path) as file:
        for tile in itertools.product(
            range(-(-grid.height_px // TILE_PX)), range(-(-grid.width_px // TILE_PX))
        ):
            place = _tile_window(tile, grid)
            source = FileWindow(
                place.left * columns, place.top * rows, place.width * columns, place.height * rows
            )
            values = file.read(
                window=source,
                out_shape=(file.count, place.height, place.width),
                resampling=resampling,
            )
            other.add(place, None if _is_empty(values, scratch.layer) else values)
    other.close()
    return other


def _is_empty(values: Values, layer: Layer) -> bool:
    return bool((np.isnan(values) if layer.dtype == "float32" else values == NODATA).all())


def _check(path: Path, scratch: TiledRaster) -> None:
    """Check that a file holds what was written to another one.

    Raises:
        OSError: If not.
    """
    with rasterio.open(path) as file:
        for tile, checksum in scratch.checksums.items():
            values = file.read(window=_file_window(_tile_window(tile, scratch.grid)))
            if zlib.crc32(values.tobytes()) != checksum:
                raise OSError("what was written cannot be read again")


def _tile_window(tile: _Tile, grid: Grid) -> Window:
    top, left = tile[0] * TILE_PX, tile[1] * TILE_PX
    return Window(top, left, min(TILE_PX, grid.height_px - top), min(TILE_PX, grid.width_px - left))


def _shared(first: slice, second: slice) -> tuple[int, int]:
    return max(first.start, second.start), min(first.stop, second.stop)


def _file_window(window: Window) -> FileWindow:
    return FileWindow(window.left, window.top, window.width, window.height)
