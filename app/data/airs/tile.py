"""A tile of AIRS: windows of its photo and its label, never all of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from app.data.airs.index import TileFacts, wrong_values
from app.data.airs.layout import TILE_REMEDY, TileFiles
from app.data.files.rasters import FileProblem, OpenRasters

_Mask = npt.NDArray[np.uint8]


class Tile(NamedTuple):
    """A tile, by what its index says of it."""

    files: TileFiles
    height_px: int
    width_px: int
    gsd_m: float
    block_px: tuple[int, int]
    roof_value: int
    image_size_bytes: int
    label_size_bytes: int
    num_rows: int
    num_columns: int

    @classmethod
    def of(cls, files: TileFiles, facts: TileFacts) -> "Tile":
        """A tile's files with what is known of them."""
        num_rows, num_columns = facts.num_cells
        return cls(
            files,
            facts.height_px,
            facts.width_px,
            facts.gsd_m,
            facts.block_px,
            facts.roof_value,
            facts.image_size_bytes,
            facts.label_size_bytes,
            num_rows,
            num_columns,
        )

    def fit_to_blocks(self, window: Window) -> Window:
        """A nearby window of the same size for which the fewest blocks must be unpacked.

        In blocks of 256 px, a window of 683 px needs 13 of them on average, and nine where it is
        moved by 85 px at most.
        """
        top = _fit(window.row_off, window.height, self.block_px[0], self.height_px)
        left = _fit(window.col_off, window.width, self.block_px[1], self.width_px)
        return Window(left, top, window.width, window.height)

    def read(self, window: Window, rasters: OpenRasters) -> tuple[_Mask, _Mask]:
        """(3, H, W) uint8 RGB and (H, W) uint8 0/1 roof of a window.

        Raises:
            FileProblem: If a file is damaged, was exchanged, or holds something else.
        """
        image_path, label_path = self.files.image_path, self.files.label_path
        image = self._read(image_path, rasters, window, (1, 2, 3), self.image_size_bytes)
        label = self._read(label_path, rasters, window, (1,), self.label_size_bytes)[0]
        top = int(label.max())
        values = {0, self.roof_value} if self.roof_value else {0, 1, 255}
        roof = label == top if top else np.zeros(label.shape, np.bool_)
        if top not in values or np.count_nonzero(label) != np.count_nonzero(roof):
            raise wrong_values(label_path, label, self.roof_value)
        return image, roof.view(np.uint8)

    def _read(
        self,
        path: Path,
        rasters: OpenRasters,
        window: Window,
        bands: Sequence[int],
        size_bytes: int,
    ) -> _Mask:
        header, pixels = rasters.read(path, window, bands, size_bytes)
        if (header.height_px, header.width_px) != (self.height_px, self.width_px):
            expected = f"{self.width_px} x {self.height_px}, as when the job started"
            raise FileProblem(path, f"{header.size} pixels", expected, TILE_REMEDY)
        return np.ascontiguousarray(pixels, np.uint8)


def _fit(start: int, length: int, block: int, side: int) -> int:
    """A nearby start from which a length touches the fewest blocks and stays inside the side."""
    room = -length % block  # the part of these blocks that is not used
    beyond = start % block - room
    if beyond <= 0:
        return start
    fitted = start - beyond if beyond <= block - start % block else start - start % block + block
    return fitted if fitted + length <= side else start - beyond
