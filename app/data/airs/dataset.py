"""AirsDataset: windows of the large tiles of Aerial Imagery for Roof Segmentation."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, Self, TypeGuard, overload

import cv2
import numpy as np
import numpy.typing as npt
import torch
from rasterio.windows import Window
from torch import Tensor
from torch.utils.data import Dataset

from app.base.arrays import Ints, Mask8
from app.base.dataset_names import DatasetName
from app.base.errors import DataError, join_problems
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX, LINE_KINDS, SOME_ROOF, TaskName
from app.data.airs.index import TileFacts, index_tiles, num_cells
from app.data.airs.layout import TILE_REMEDY, TITLE, find_tiles
from app.data.airs.tile import Tile
from app.data.files.header import describe_assumed
from app.data.files.problems import FileProblem
from app.data.files.rasters import OpenRasters
from app.data.line_bits import NUM_LINE_KINDS, UNKNOWN_BITS
from app.data.lines import close_slits
from app.data.reader import Reader, ReaderRequest, Release, Split
from app.data.sample import BadFile, LineBits, Sample, hide_unseen, with_unknown
from app.settings.hyperparameters import Hyperparameters

# Share of a pass that goes to cells with roof edges, spread evenly over shares of roof. Without it,
# half of all cells would show only a few per cent of roof, and some nothing but grass.
_EDGE_SHARE: Final = 0.7
_EDGE_LOWEST, _EDGE_HIGHEST = 0.05, 0.9
_NUM_EDGE_BINS: Final = 6
_EAVE: Final = 0
# In a byte of lines, the bits of the other kinds.
_OTHERS_UNKNOWN: Final = np.uint8(UNKNOWN_BITS & ~(1 << _EAVE))
# Of a mask's 0 and 1, which are neighbours among the classes, too.
_ROOF_CLASSES: Final = (np.uint8(BACKGROUND_CLASS), np.uint8(SOME_ROOF))
assert _ROOF_CLASSES[1] == _ROOF_CLASSES[0] + 1
_CROSS: Final = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
# What the release holds.
_RELEASED_TRAIN_TILES: Final = 857
_RELEASED_VAL_TILES: Final = 94
_RELEASED_SIDE_PX: Final = 10_000
_RELEASED_GSD_M: Final = 0.075


class AirsDataset(Dataset[Sample]):
    """Aerial photos of a city, and where roofs are.

    Source: Chen et al. 2019, ISPRS Journal of Photogrammetry and Remote Sensing 147, 42-55
    (arXiv 1807.09532); images of Land Information New Zealand. The original release, or the mirror
    of it that has labels of the test tiles as well.

    Folders (see app/data/airs/layout.py):

        [trainval/]{train,val,test}/image/christchurch_N.tif    RGB, uint8, 10000 x 10000 px
        [trainval/]{train,val,test}/label/christchurch_N.tif    0 and 1 (or 255) on roofs
        [trainval/]{train,val,test}/label/christchurch_N_vis.tif    for people; not read
        [trainval/]{train,val}.txt                              names, with .tif or without

    0.075 m per pixel; 857 tiles to train on, 94 to validate, 96 to test.

    A sample is a cell: tiles are divided into cells of about 51.2 m, and nothing larger than what
    is asked for is read. On roofs the segments are "some roof", eaves are the roofs' outline, and
    all other lines are unknown.

    Known defects: neighbouring tiles overlap by a tenth, also those of different splits; tiles of
    the mirror may be truncated; other mirrors are smaller by a factor that no file tells.

    Attributes:
        sample_ids: Cells by tile, row and column of their first pixel: "christchurch_3@683,0".
        missing: Tiles that lack a file, and tiles found to be damaged. They have no cells.
        num_files: Tiles, those in `missing` included.
        span_m: Smallest side of a tile, metres.
        assumed_scale: What was taken for granted of the tiles' scale; empty if nothing.
        tiles: The tiles that have cells.
        folder: Holds all of their files.
        height_scale: None: there are no heights.
        bad_features: None: labels are pixels.
    """

    name: ClassVar[DatasetName] = "airs"
    title: ClassVar[str] = TITLE
    # Labels show roofs, not their planes; of the lines they show only the outline.
    labels: ClassVar[Mapping[TaskName, tuple[str, ...]]] = {
        "segments": ("background",),
        "lines": ("eave",),
    }
    height_scale: ClassVar[None] = None
    bad_features: ClassVar[None] = None

    def __init__(self, root: Path, split: Split, scratch_dir: Path) -> None:
        """Find the tiles of a split, and where in them roofs are.

        Args:
            root: Folder that holds `train/`, `val/` and `test/`, or `trainval/` with these, or one
                folder around them.
            split: One of the three, or "all" for those that have images and labels.
            scratch_dir: Where the index is kept for the next start; not below root.

        Raises:
            DataError: If a folder is absent or empty, a list cannot be read, or no tile is usable.
        """
        tiles = find_tiles(root, split)
        found = index_tiles(tiles.files, tiles.folder, scratch_dir / f"airs_index_{split}.json")
        damaged = [result for result in found if isinstance(result, BadFile)]
        self.missing = [*tiles.missing, *damaged]
        self.num_files = len(tiles.files) + len(tiles.missing)
        self.folder = tiles.folder
        pairs = [(f, facts) for f, facts in zip(tiles.files, found, strict=True) if _is_good(facts)]
        self.tiles = [Tile.of(files, facts) for files, facts in pairs]
        self.assumed_scale = describe_assumed(Counter(facts.assumed_scale for _, facts in pairs))
        if not self.tiles:
            reasons = join_problems([bad.reason for bad in self.missing])
            raise DataError(f"{TITLE}: no tile of split {split} can be used: {reasons}")

        cells = [tile.num_rows * tile.num_columns for tile in self.tiles]
        self._first_cells: Ints = np.cumsum([0, *cells])
        shares = [np.ravel(facts.roof_share) for _, facts in pairs]
        self._edge_cells, self._edge_starts = _bins_of_edges(np.concatenate(shares))
        self.span_m = min(min(t.height_px, t.width_px) * t.gsd_m for t in self.tiles)
        self.sample_ids: Sequence[str] = _Names(self._name_cell, len(self))
        self._rasters = OpenRasters(self.folder, TILE_REMEDY)

    @classmethod
    def open(cls, request: ReaderRequest) -> Self:
        """As DatasetReader.open."""
        return cls(request.root, request.split, request.scratch_dir)

    @classmethod
    def release(cls, hyperparameters: Hyperparameters) -> Release:  # noqa: ARG003
        """As DatasetReader.release."""
        cells_of_a_tile = num_cells(_RELEASED_SIDE_PX, _RELEASED_GSD_M) ** 2
        return Release(
            _RELEASED_TRAIN_TILES * cells_of_a_tile,
            _RELEASED_VAL_TILES * cells_of_a_tile,
            _RELEASED_SIDE_PX * _RELEASED_GSD_M,
        )

    def __len__(self) -> int:
        return int(self._first_cells[-1])

    def extent_m(self, index: int) -> tuple[float, float]:
        """As Reader.extent_m."""
        place = self._place(index)
        gsd_m = self.tiles[place.tile_index].gsd_m
        return place.window.height * gsd_m, place.window.width * gsd_m

    def __getitem__(self, index: int) -> Sample:
        """Read one cell.

        Raises:
            SampleError: If a file of its tile cannot be read or is unlike AIRS's files. The error
                bears the tile's name.
        """
        place = self._place(index)
        return self._read(place.tile_index, place.window)

    def draw(self, index: int, span_m: float, rng: np.random.Generator) -> Sample:
        """Read a square around a place drawn within a cell.

        Args:
            index: Which cell.
            span_m: Least side of the square, metres; the whole tile where that is smaller. At the
                border of the tile the square is moved inside.
            rng: Draws the place, which is then moved by some pixels to need fewer blocks of the
                file.

        Raises:
            SampleError: As __getitem__.
        """
        place = self._place(index)
        square = self._square(place, span_m, rng.random(2))
        return self._read(place.tile_index, self.tiles[place.tile_index].fit_to_blocks(square))

    def stored_labels(self, index: int) -> Mapping[TaskName, npt.NDArray[np.float32]]:  # noqa: ARG002
        """None: cells hold what the files do."""
        return {}

    def pass_order(self, rng: np.random.Generator) -> Ints:
        """(len,) cells of one pass, some twice, some not at all.

        70 % are cells with roof edges (5 to 90 % of roof), drawn so that each of several ranges of
        that share, on a logarithmic scale, comes as often; 30 % are any cells.
        """
        order = rng.integers(len(self), size=len(self))
        if len(self._edge_cells):
            places = np.flatnonzero(rng.random(len(self)) < _EDGE_SHARE)
            counts = np.diff(self._edge_starts)
            edge_bin = rng.integers(len(counts), size=len(places))
            position = self._edge_starts[edge_bin] + rng.integers(counts[edge_bin])
            order[places] = self._edge_cells[position]
        return order

    def eval_view(self, max_samples: int | None) -> Reader:
        """Cells spread over all tiles; those at equal steps would all be of the same column."""
        return AirsWindows(self, max_samples)

    def _place(self, index: int) -> "_Place":
        index = range(len(self))[index]  # IndexError, and negative indices, as of a list
        tile_index = int(np.searchsorted(self._first_cells, index, side="right")) - 1
        tile = self.tiles[tile_index]
        row, column = divmod(index - int(self._first_cells[tile_index]), tile.num_columns)
        top, bottom = (tile.height_px * i // tile.num_rows for i in (row, row + 1))
        left, right = (tile.width_px * i // tile.num_columns for i in (column, column + 1))
        return _Place(tile_index, Window(left, top, right - left, bottom - top))

    def _square(self, place: "_Place", span_m: float, fractions: npt.NDArray[np.float64]) -> Window:
        """The window around a point of a cell, given as fractions of its height and width."""
        tile, cell = self.tiles[place.tile_index], place.window
        span_px = math.ceil(round(span_m / tile.gsd_m, 6))
        height, width = min(span_px, tile.height_px), min(span_px, tile.width_px)
        top = round(cell.row_off + fractions[0] * cell.height - height / 2)
        left = round(cell.col_off + fractions[1] * cell.width - width / 2)
        top = min(max(top, 0), tile.height_px - height)
        left = min(max(left, 0), tile.width_px - width)
        return Window(left, top, width, height)

    def _name_cell(self, index: int) -> str:
        place = self._place(index)
        return _name(self.tiles[place.tile_index], place.window)

    def _read(self, tile_index: int, window: Window) -> Sample:
        tile = self.tiles[tile_index]
        try:
            photo, (roof, seen) = tile.read(window, self._rasters)
        except FileProblem as problem:
            raise problem.to_sample_error(self.title, tile.files.name) from problem
        lines = np.full((len(LINE_KINDS), *roof.shape), IGNORE_INDEX, np.uint8)
        lines[_EAVE] = _outline(roof, tile.gsd_m)
        targets: dict[TaskName, Tensor] = {
            "segments": torch.from_numpy(roof + _ROOF_CLASSES[0]),
            "lines": torch.from_numpy(lines),
        }
        bits: LineBits = {}
        if seen is None and photo.seen is None:
            packed = lines[_EAVE] << np.uint8(NUM_LINE_KINDS) | _OTHERS_UNKNOWN
            bits = {"line_bits": torch.from_numpy(packed)}
        return {
            **with_unknown(photo, hide_unseen(targets, seen, tile.gsd_m)),
            **bits,
            "dataset": self.name,
            "sample_id": _name(tile, window),
            "gsd_m": tile.gsd_m,
        }


class AirsWindows(Dataset[Sample]):
    """Cells to validate on: always the same ones, spread evenly over all tiles.

    Args:
        dataset: The tiles.
        max_windows: How many at most; None for every cell, which shows all of every tile once.

    Attributes:
        sample_ids: By tile, row and column of their first pixel: "christchurch_3@683,0".
        missing: As the dataset's.
        num_files: As the dataset's.
        span_m: As the dataset's.
        bad_features: None: labels are pixels.
    """

    name: ClassVar[DatasetName] = AirsDataset.name
    title: ClassVar[str] = TITLE
    labels: ClassVar[Mapping[TaskName, tuple[str, ...]]] = AirsDataset.labels
    bad_features: ClassVar[None] = None

    def __init__(self, dataset: AirsDataset, max_windows: int | None = None) -> None:
        self._dataset = dataset
        self.missing = dataset.missing
        self.num_files = dataset.num_files
        self.span_m = dataset.span_m
        num_windows = len(dataset) if max_windows is None else min(max_windows, len(dataset))
        # One from each of as many equal runs of cells, drawn once for all: cells at equal steps
        # would be the same column of every tile.
        starts = np.arange(num_windows + 1) * len(dataset) // num_windows
        self._cells: Ints = np.random.default_rng(0).integers(starts[:-1], starts[1:])
        self.sample_ids: Sequence[str] = _Names(self._name_window, len(self))

    def __len__(self) -> int:
        return len(self._cells)

    def extent_m(self, index: int) -> tuple[float, float]:
        """As Reader.extent_m: about that of the cell."""
        return self._dataset.extent_m(int(self._cells[index]))

    def __getitem__(self, index: int) -> Sample:
        """Read one cell.

        Raises:
            SampleError: As of AirsDataset.
        """
        return self._dataset[int(self._cells[index])]

    def _name_window(self, index: int) -> str:
        return self._dataset.sample_ids[int(self._cells[index])]


class _Place(NamedTuple):
    """A cell: of which tile, and where in it."""

    tile_index: int
    window: Window


class _Names(Sequence[str]):
    """Names made when asked for: there are 200,000 cells, and workers get a copy of the dataset."""

    def __init__(self, name: Callable[[int], str], length: int) -> None:
        self._name = name
        self._length = length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self._name(i) for i in range(self._length)[index]]
        return self._name(range(self._length)[index])


def _is_good(result: TileFacts | BadFile) -> TypeGuard[TileFacts]:
    return isinstance(result, TileFacts)


def _name(tile: Tile, window: Window) -> str:
    return f"{tile.files.name}@{window.row_off},{window.col_off}"


def _bins_of_edges(roof_share: npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
    """The cells with roof edges, ordered by ranges of their share of roof.

    Returns:
        (E,) indices of cells, and (B + 1,) where among them each of B ranges starts and the last
        one ends. Ranges without cells are left out.
    """
    edges = np.geomspace(_EDGE_LOWEST, _EDGE_HIGHEST, _NUM_EDGE_BINS + 1)
    cells = np.flatnonzero((roof_share >= _EDGE_LOWEST) & (roof_share <= _EDGE_HIGHEST))
    bins = np.searchsorted(edges[1:-1], roof_share[cells], side="right")
    counts = np.bincount(bins)
    starts = np.cumsum([0, *counts[counts > 0]])
    return cells[np.argsort(bins, kind="stable")], starts


def _outline(roof: Mask8, gsd_m: float) -> Mask8:
    """The roofs' outline: (H, W) uint8, 1 on the outermost pixels of roofs.

    The same as the eaves of lines_from_segments where all directions are unknown, but without its
    search for creases, which takes five times as long. The border of the window is no outline.

    Args:
        roof: (H, W) uint8 0/1.
        gsd_m: Metres per pixel.
    """
    closed = close_slits(roof, gsd_m)
    beside_ground = np.asarray(cv2.dilate(1 - closed, _CROSS), np.uint8)
    return closed & beside_ground
