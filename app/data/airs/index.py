"""The index of AIRS's tiles: facts that drawing windows needs, found once and kept.

A tile is read thinly: its headers, every 32nd pixel of every 32nd row of its label (and of what
says which pixels of its image are there), and the last pixel of both files, which is what a
truncated file lacks. Overviews are never read: they may hold averages, or another label.
"""

import logging
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rasterio.windows import Window
from tqdm import tqdm

from app.base.errors import printable
from app.data.airs.labels import ROOF_CLASSES, roof_value_of
from app.data.airs.layout import TILE_REMEDY, TITLE, TileFiles
from app.data.files.georeference import MAX_GSD_M, MIN_GSD_M, settle_gsd_m
from app.data.files.header import RasterHeader, fit_label, open_raster
from app.data.files.meaning import Meaning, check_seen, label_meaning, one_band, photo_meaning
from app.data.files.problems import FileProblem
from app.data.files.threads import run_in_threads
from app.data.files.turns import AS_STORED, Turn
from app.data.sample import BadFile
from app.resources.cores import num_cores

# A tile is divided into cells of about this side: RID's images have it.
CELL_M: Final = 51.2
# Of the release; its tiles may come without georeference.
DEFAULT_GSD_M: Final = 0.075
# Mirrors for quick looks hold the tiles at a tenth of their size, and nothing in them says so.
_RESIZED_SIDE_PX: Final = 1024
# A header may promise anything.
_MAX_SIDE_PX: Final = 32768
_MAX_STEP_PX: Final = 32
_MIN_SAMPLES_PER_CELL_SIDE: Final = 16
_MAX_THREADS: Final = 8

logger = logging.getLogger(__name__)


class TileFacts(BaseModel):
    """What is known of a tile.

    Attributes:
        height_px: Rows, north up.
        width_px: Columns, north up.
        gsd_m: Metres per pixel.
        assumed_scale: What was taken for granted of them; empty if nothing.
        image_turn: From the image's rows and columns as stored to those that are north up.
        label_turn: The same of the label.
        block_px: Rows and columns in which the image is packed, at most those of the tile.
        roof_value: What the label holds on roofs: 1 or 255, or 0 if no roof was seen.
        image_size_bytes: Size of the image's file, which was complete.
        label_size_bytes: Size of the label's file, which was complete.
        roof_share: Share of roof in each cell, by row and column of cells.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    height_px: int = Field(ge=1)
    width_px: int = Field(ge=1)
    gsd_m: float = Field(ge=MIN_GSD_M, le=MAX_GSD_M)
    assumed_scale: str
    image_turn: Turn
    label_turn: Turn
    block_px: tuple[int, int]
    roof_value: Literal[0, 1, 255]
    image_size_bytes: int
    label_size_bytes: int
    roof_share: list[list[float]]

    @property
    def num_cells(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return num_cells(self.height_px, self.gsd_m), num_cells(self.width_px, self.gsd_m)

    @property
    def is_whole(self) -> bool:
        """Whether there is a share of roof for every cell."""
        rows, columns = self.num_cells
        return len(self.roof_share) == rows and all(
            len(row) == columns and all(0 <= share <= 1 for share in row) for row in self.roof_share
        )


class _Stamp(NamedTuple):
    """Path, size and time of a file, by which it is recognised."""

    relative_path: str
    size_bytes: int
    modified_ns: int


class _KeptTile(BaseModel):
    """A tile in the file that keeps the index."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stamps: list[_Stamp]
    facts: TileFacts


class _KeptIndex(BaseModel):
    """The file that keeps the index."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["airs index 3"] = "airs index 3"
    tiles: list[_KeptTile]


def num_cells(side_px: int, gsd_m: float) -> int:
    """How many cells of about CELL_M stand along a side of a tile."""
    return max(1, round(side_px * gsd_m / CELL_M))


def index_tiles(
    tiles: Sequence[TileFiles], folder: Path, index_path: Path
) -> list[TileFacts | BadFile]:
    """The facts of each tile, or why it cannot be used.

    Args:
        tiles: The tiles.
        folder: The dataset's, which no file may leave through a link.
        index_path: Where facts are kept for the next start; may be absent, damaged or about other
            files. Bad tiles are not kept: they are looked at again.

    Returns:
        One for each tile, in their order.
    """
    kept = _read_kept(index_path)
    stamps = [_stamps(tile, folder) for tile in tiles]
    results: list[TileFacts | BadFile | None] = [kept.get(stamp) for stamp in stamps]
    unknown = [index for index, result in enumerate(results) if result is None]
    found = run_in_threads(
        lambda place: _index_tile(tiles[unknown[place]], folder),
        len(unknown),
        min(_MAX_THREADS, num_cores()),
    )
    # disable=None: no bar where stderr is no terminal, as in a job's log.
    bar = tqdm(found, total=len(unknown), desc="AIRS tiles", disable=None, leave=False)
    for index, result in zip(unknown, bar, strict=True):
        results[index] = result
    known = [result for result in results if result is not None]
    if unknown:
        _keep(index_path, zip(stamps, known, strict=True))
    return known


def _index_tile(tile: TileFiles, folder: Path) -> TileFacts | BadFile:
    try:
        return _read_facts(tile, folder)
    except FileProblem as problem:
        return BadFile(tile.name, problem.path, printable(f"{TITLE}: {problem}"))


def _read_facts(tile: TileFiles, folder: Path) -> TileFacts:
    """Facts of a tile.

    Raises:
        FileProblem: If one of its files is damaged or not what AIRS's files are, or the label lies
            elsewhere than the image.
    """
    with open_raster(tile.image_path, folder, TILE_REMEDY) as (header, image):
        _check_image(header, image)
        block_px = image.block_shapes[0]
    turn = AS_STORED if header.georeference is None else header.georeference.turn
    gsd_m = _gsd_m(header)
    cells = num_cells(header.height_px, gsd_m), num_cells(header.width_px, gsd_m)
    with open_raster(tile.label_path, folder, TILE_REMEDY) as (label_header, label):
        meaning = label_meaning(label_header, ROOF_CLASSES, TILE_REMEDY)
        label_turn = fit_label(label_header, header, TILE_REMEDY)
        _read_last_pixel(label)
        step_px = _step_px((header.height_px, header.width_px), cells)
        values, seen = meaning.split(*_thin(label, meaning, step_px))
    sampled = one_band(tile.label_path, values)
    if seen is not None:
        check_seen(tile.label_path, None, seen, TILE_REMEDY)
        sampled = np.where(seen, sampled, np.uint8(0))
    height_px, width_px = turn.size(*block_px)
    return TileFacts(
        height_px=header.height_px,
        width_px=header.width_px,
        gsd_m=gsd_m,
        assumed_scale=header.assumed_scale(DEFAULT_GSD_M),
        image_turn=turn,
        label_turn=label_turn,
        block_px=(min(height_px, header.height_px), min(width_px, header.width_px)),
        roof_value=roof_value_of(tile.label_path, sampled),
        image_size_bytes=tile.image_path.stat().st_size,
        label_size_bytes=tile.label_path.stat().st_size,
        roof_share=_mean_by_cell(label_turn.apply(sampled) != 0, cells),
    )


def _check_image(header: RasterHeader, image: rasterio.DatasetReader) -> None:
    """Raise FileProblem if an image's bands are no photo, or none of it is there."""
    meaning = photo_meaning(header, image, TILE_REMEDY)
    if max(header.height_px, header.width_px) > _MAX_SIDE_PX:
        expected = f"at most {_MAX_SIDE_PX} x {_MAX_SIDE_PX}"
        raise FileProblem(header.path, f"{header.size} pixels", expected, TILE_REMEDY)
    _read_last_pixel(image)
    if meaning.alpha is not None or meaning.nodata is not None or meaning.has_mask:
        pixels, mask = _thin(image, meaning, _MAX_STEP_PX)
        _, seen = meaning.split(pixels, mask)
        alpha = None if meaning.alpha is None else pixels[-1]
        check_seen(header.path, alpha, seen, TILE_REMEDY)


def _read_last_pixel(source: rasterio.DatasetReader) -> None:
    """Raise rasterio's error if the file ends before its pixels do."""
    source.read(source.count, window=Window(source.width - 1, source.height - 1, 1, 1))


def _gsd_m(header: RasterHeader) -> float:
    """Metres per pixel, from the georeference or assumed."""
    if header.georeference is None and header.height_px == header.width_px == _RESIZED_SIDE_PX:
        raise FileProblem(
            header.path,
            f"{header.size} pixels and no georeference, as in a mirror whose tiles were made "
            "smaller",
            "tiles of 10000 x 10000 pixels, or a georeference",
            "use the dataset at its full size",
        )
    return settle_gsd_m(header.path, header.georeference, DEFAULT_GSD_M, TILE_REMEDY)


def _step_px(sides_px: tuple[int, int], cells: tuple[int, int]) -> int:
    """Every how many pixels a label is looked at: several times in every cell."""
    step_px = min(side // num for side, num in zip(sides_px, cells, strict=True))
    return max(1, min(_MAX_STEP_PX, step_px // _MIN_SAMPLES_PER_CELL_SIDE))


def _thin(
    source: rasterio.DatasetReader, meaning: Meaning, step_px: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_] | None]:
    """Every so many rows and columns of a file itself, as stored.

    Returns:
        (B, H, W) of all bands to read, and (H, W), what a mask in the file shows; None without one.
    """
    bands = meaning.all_bands
    if not source.overviews(1) and not meaning.has_mask:
        shape = [-(-side // step_px) for side in (source.height, source.width)]
        return np.asarray(source.read(bands, out_shape=(len(bands), *shape)), np.uint8), None
    # A smaller copy would be read from an overview. One row at a time comes from the file itself.
    rows = [Window(0, y, source.width, 1) for y in range(0, source.height, step_px)]
    pixels = np.concatenate([source.read(bands, window=row)[:, :, ::step_px] for row in rows], 1)
    if not meaning.has_mask:
        return pixels, None
    masks = [source.read_masks(1, window=row)[:, ::step_px] for row in rows]
    return pixels, np.concatenate(masks) != 0


def _mean_by_cell(is_roof: npt.NDArray[np.bool_], cells: tuple[int, int]) -> list[list[float]]:
    """Mean of what lies in each cell, in four decimals."""
    starts = [
        np.arange(num) * length // num for length, num in zip(is_roof.shape, cells, strict=True)
    ]
    sums = np.add.reduceat(is_roof.astype(np.int64), starts[0], axis=0)
    sums = np.add.reduceat(sums, starts[1], axis=1)
    counts = [
        np.diff(start, append=length) for start, length in zip(starts, is_roof.shape, strict=True)
    ]
    shares: list[list[float]] = (sums / np.outer(*counts)).round(4).tolist()
    return shares


def _stamps(tile: TileFiles, folder: Path) -> tuple[_Stamp, ...]:
    """Stamps of a tile's two files; empty where one of them has none that can be kept."""
    stamps = []
    for path in (tile.image_path, tile.label_path):
        try:
            status = path.stat()
            relative_path = path.relative_to(folder).as_posix()
            relative_path.encode()
        except (OSError, UnicodeEncodeError):
            return ()
        stamps.append(_Stamp(relative_path, status.st_size, status.st_mtime_ns))
    return tuple(stamps)


def _read_kept(index_path: Path) -> dict[tuple[_Stamp, ...], TileFacts]:
    """The facts of an earlier start, by stamps; empty if none can be used."""
    try:
        kept = _KeptIndex.model_validate_json(index_path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        logger.info("%s cannot be used (%s): looking at the tiles again", index_path, reason)
        return {}
    return {
        tuple(tile.stamps): tile.facts for tile in kept.tiles if tile.stamps and tile.facts.is_whole
    }


def _keep(
    index_path: Path, results: Iterable[tuple[tuple[_Stamp, ...], TileFacts | BadFile]]
) -> None:
    """Write facts for the next start, whole or not at all; a failure costs only time."""
    tiles = [
        _KeptTile(stamps=list(stamps), facts=facts)
        for stamps, facts in results
        if stamps and isinstance(facts, TileFacts)
    ]
    content = _KeptIndex(tiles=tiles).model_dump_json()
    try:
        index_path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".airs-", dir=index_path.parent) as temporary:
            path = Path(temporary) / index_path.name
            path.write_text(content, encoding="utf-8")
            path.replace(index_path)
    except OSError as error:
        logger.warning(
            "%s cannot be written (%s): the tiles will be looked at again next time",
            index_path,
            error,
        )
