"""A tile of AIRS: windows of its photo and its label, never all of it."""

from typing import NamedTuple

import numpy as np
from rasterio.windows import Window

from app.data.airs.index import TileFacts
from app.data.airs.labels import ROOF_CLASSES, wrong_values
from app.data.airs.layout import TileFiles
from app.data.files.rasters import OpenRasters, Pixels, StoredRaster
from app.data.sample import PhotoPixels


class Tile(NamedTuple):
    """A tile, by what its index says of it; rows and columns are north up."""

    files: TileFiles
    height_px: int
    width_px: int
    gsd_m: float
    block_px: tuple[int, int]
    roof_value: int
    image: StoredRaster
    label: StoredRaster
    num_rows: int
    num_columns: int

    @classmethod
    def of(cls, files: TileFiles, facts: TileFacts) -> "Tile":
        """A tile's files with what is known of them."""
        size_px = facts.height_px, facts.width_px
        image_bytes, label_bytes = facts.image_size_bytes, facts.label_size_bytes
        return cls(
            files,
            *size_px,
            facts.gsd_m,
            facts.block_px,
            facts.roof_value,
            StoredRaster(files.image_path, *size_px, facts.image_turn, image_bytes),
            StoredRaster(files.label_path, *size_px, facts.label_turn, label_bytes),
            *facts.num_cells,
        )

    def fit_to_blocks(self, window: Window) -> Window:
        """A nearby window of the same size for which the fewest blocks must be unpacked.

        In blocks of 256 px, a window of 683 px needs 13 of them on average, and nine where it is
        moved by 85 px at most.
        """
        top = _fit(window.row_off, window.height, self.block_px[0], self.height_px)
        left = _fit(window.col_off, window.width, self.block_px[1], self.width_px)
        return Window(left, top, window.width, window.height)

    def read(self, window: Window, rasters: OpenRasters) -> tuple[PhotoPixels, Pixels]:
        """The photo of a window, and (H, W) uint8 0/1 roof.

        Raises:
            FileProblem: If a file is damaged, was exchanged, or holds something else.
        """
        image, image_seen = rasters.read_photo(self.image, window)
        label, label_seen = rasters.read_label(self.label, window, ROOF_CLASSES)
        if label_seen is not None:
            label = np.where(label_seen, label, np.uint8(0))
        top = int(label.max())
        values = {0, self.roof_value} if self.roof_value else {0, 1, 255}
        roof = label == top if top else np.zeros(label.shape, np.bool_)
        if top not in values or np.count_nonzero(label) != np.count_nonzero(roof):
            raise wrong_values(self.label.path, label, self.roof_value)
        return PhotoPixels(image, image_seen, self.gsd_m), Pixels(roof.view(np.uint8), label_seen)


def _fit(start: int, length: int, block: int, side: int) -> int:
    """A nearby start from which a length touches the fewest blocks and stays inside the side."""
    room = -length % block  # the part of these blocks that is not used
    beyond = start % block - room
    if beyond <= 0:
        return start
    fitted = start - beyond if beyond <= block - start % block else start - start % block + block
    return fitted if fitted + length <= side else start - beyond
