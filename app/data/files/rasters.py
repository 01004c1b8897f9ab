"""Photos and labels as every reader gets them: north up, red, green and blue, with what is seen."""

import os
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from app.base.arrays import Flags
from app.data.files.georeference import settle_gsd_m
from app.data.files.header import RasterHeader, describe, fit_label, open_raster
from app.data.files.meaning import Meaning, check_seen, label_meaning, one_band, photo_meaning
from app.data.files.opening import mask_beside, open_source, problems_of
from app.data.files.problems import FileProblem
from app.data.files.turns import AS_STORED, Turn
from app.data.sample import PhotoPixels

# Whole files are read up to this size; a header may promise anything.
_MAX_WHOLE_PX: Final = 4096 * 4096
# Two files a tile: enough for the tiles of a small dataset, of little use with 857 of them.
_MAX_OPEN: Final = 32

_Pixels = npt.NDArray[np.uint8]


class Pixels(NamedTuple):
    """Pixels of a photo or a label, north up.

    Attributes:
        values: (3, H, W) uint8, red, green and blue, side by side in memory; of a label (H, W), the
            numbers in its file.
        seen: (H, W), false where the file says that nothing is there; None if all is.
    """

    values: _Pixels
    seen: Flags | None


class StoredRaster(NamedTuple):
    """A file of which windows are read, and what was found when it was first looked at.

    Attributes:
        path: The file.
        height_px: Rows, north up.
        width_px: Columns, north up.
        turn: From rows and columns as stored to these.
        size_bytes: Size of the file when all of it was there; -1 where nobody knows.
    """

    path: Path
    height_px: int
    width_px: int
    turn: Turn
    size_bytes: int


class _Opened(NamedTuple):
    """An open file, how it is read, and the mask that lies beside it, open as well."""

    header: RasterHeader
    source: rasterio.DatasetReader
    meaning: Meaning
    beside: rasterio.DatasetReader | None

    def read(self, window: Window | None) -> tuple[_Pixels, Flags | None]:
        """(B, H, W) of all bands, and what masks show of them, as stored.

        Bands lie side by side in memory, as most files have them.
        """
        bands, source = self.meaning.all_bands, self.source
        size = (source.height, source.width) if window is None else (window.height, window.width)
        pixels = np.empty((*size, len(bands)), source.dtypes[bands[0] - 1]).transpose(2, 0, 1)
        source.read(indexes=bands, window=window, out=pixels)
        mask = None
        if self.meaning.has_mask:
            mask = self.source.read_masks(1, window=window) != 0
        if self.beside is not None:
            shown = (self.beside.read(window=window) != 0).any(axis=0)
            mask = shown if mask is None else mask & shown
        return pixels, mask

    def close(self) -> None:
        self.source.close()
        if self.beside is not None:
            self.beside.close()


def read_photo(
    path: Path, root: Path, remedy: str, assumed_gsd_m: float
) -> tuple[RasterHeader, PhotoPixels]:
    """A whole photo of at most 4096 x 4096 pixels, and its header.

    The file is opened and closed here.

    Args:
        path: A TIFF, or a PNG where the name ends so.
        root: The dataset's folder; a symlink must not lead outside it.
        remedy: What the user should do about a bad file.
        assumed_gsd_m: Metres per pixel where nothing says so.

    Raises:
        FileProblem: If it cannot be read, is too large, has no bands of red, green and blue, shows
            nothing, lies askew, or leads outside of root.
    """
    with open_raster(path, root, remedy) as (header, source):
        meaning = photo_meaning(header, source, remedy)
        values, seen = _read_whole(header, source, meaning, root, remedy)
    gsd_m = settle_gsd_m(path, header.georeference, assumed_gsd_m, remedy)
    turn = AS_STORED if header.georeference is None else header.georeference.turn
    values, seen = _turned(turn, values, seen)
    return header, PhotoPixels(values, seen, gsd_m)


def read_label(
    path: Path, root: Path, remedy: str, photo: RasterHeader, classes: Collection[int]
) -> Pixels:
    """A whole label, laid on its photo.

    The file is opened and closed here.

    Args:
        path: A TIFF, or a PNG where the name ends so.
        root: The dataset's folder; a symlink must not lead outside it.
        remedy: What the user should do about a bad file.
        photo: Header of its photo. A label that does not say where it lies has the photo's rows.
        classes: Numbers that mean something.

    Raises:
        FileProblem: If it cannot be read, is of another size or place than the photo, holds no
            plain numbers, or leads outside of root.
    """
    with open_raster(path, root, remedy) as (header, source):
        meaning = label_meaning(header, classes, remedy)
        values, seen = _read_whole(header, source, meaning, root, remedy)
    values = one_band(path, values)
    return _turned(fit_label(header, photo, remedy), values, seen)


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
        self._open: OrderedDict[Path, _Opened] = OrderedDict()
        self._process_id = os.getpid()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": OrderedDict(), "_process_id": 0}

    def read_photo(self, file: StoredRaster, window: Window) -> Pixels:
        """A window of a photo, in rows and columns that are north up.

        Raises:
            FileProblem: If it cannot be read, was exchanged, has no bands of red, green and blue,
                or leads outside of the dataset's folder.
        """
        return self._read(file, window, photo_meaning)

    def read_label(self, file: StoredRaster, window: Window, classes: Collection[int]) -> Pixels:
        """A window of a label, in rows and columns that are north up.

        Args:
            file: The label.
            window: What to read.
            classes: Numbers that mean something.

        Raises:
            FileProblem: If it cannot be read, was exchanged, holds no plain numbers, or leads
                outside of the dataset's folder.
        """

        def meaning(header: RasterHeader, _: rasterio.DatasetReader, remedy: str) -> Meaning:
            return label_meaning(header, classes, remedy)

        values, seen = self._read(file, window, meaning)
        return Pixels(one_band(file.path, values), seen)

    def _read(self, file: StoredRaster, window: Window, find_meaning: "_FindMeaning") -> Pixels:
        height_px, width_px = file.height_px, file.width_px
        try:
            opened = self._get(file, find_meaning)
            if file.turn.size(opened.header.height_px, opened.header.width_px) != (
                height_px,
                width_px,
            ):
                expected = f"{width_px} x {height_px}, as when the job started"
                got = f"{opened.header.size} pixels"
                raise FileProblem(file.path, got, expected, self.remedy)
            stored = window
            if file.turn != AS_STORED:
                stored = file.turn.stored_window(window, height_px, width_px)
            with problems_of(file.path, self.remedy):
                pixels, mask = opened.read(stored)
        except FileProblem:
            self._open.pop(file.path, None)
            raise
        return _turned(file.turn, *opened.meaning.split(pixels, mask))

    def _get(self, file: StoredRaster, find_meaning: "_FindMeaning") -> _Opened:
        if self._process_id != os.getpid():  # handles of the process that forked this one
            self._open, self._process_id = OrderedDict(), os.getpid()
        opened = self._open.pop(file.path, None)
        if opened is None:
            source = open_source(
                file.path,
                self.root,
                self.remedy,
                complete_size_bytes=file.size_bytes,
                with_georeference=False,
            )
            header = describe(source, file.path)
            meaning = find_meaning(header, source, self.remedy)
            opened = _Opened(header, source, meaning, _open_beside(header, self.root, self.remedy))
        self._open[file.path] = opened
        if len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return opened


_FindMeaning = Callable[[RasterHeader, rasterio.DatasetReader, str], Meaning]


def _read_whole(
    header: RasterHeader,
    source: rasterio.DatasetReader,
    meaning: Meaning,
    root: Path,
    remedy: str,
) -> Pixels:
    """All of an open file, as stored."""
    if header.height_px * header.width_px > _MAX_WHOLE_PX:
        raise FileProblem(header.path, f"{header.size} pixels", "at most 4096 x 4096", remedy)
    opened = _Opened(header, source, meaning, _open_beside(header, root, remedy))
    pixels, mask = opened.read(None)
    if opened.beside is not None:
        opened.beside.close()
    values, seen = meaning.split(pixels, mask)
    check_seen(header.path, None if meaning.alpha is None else pixels[-1], seen, remedy)
    return Pixels(values, seen)


def _open_beside(header: RasterHeader, root: Path, remedy: str) -> rasterio.DatasetReader | None:
    """The mask beside a file, open; None if there is none."""
    path = mask_beside(header.path)
    if path is None:
        return None
    beside = open_source(path, root, remedy, with_georeference=False)
    stored = (beside.height, beside.width)
    if sorted(stored) != sorted((header.height_px, header.width_px)):
        got = f"a mask of {beside.width} x {beside.height} pixels"
        raise FileProblem(path, got, f"{header.size}, the size of {header.path}", remedy)
    return beside


def _turned(turn: Turn, values: _Pixels, seen: Flags | None) -> Pixels:
    """Both north up, in memory of their own order: rows, columns, bands."""
    if turn != AS_STORED:
        values = np.asarray(turn.apply(values), np.uint8)
        seen = None if seen is None else np.ascontiguousarray(turn.apply(seen), np.bool_)
    if values.ndim == 3:
        values = np.ascontiguousarray(values.transpose(1, 2, 0)).transpose(2, 0, 1)
    return Pixels(np.ascontiguousarray(values) if values.ndim == 2 else values, seen)
