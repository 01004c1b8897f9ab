"""How stored rows and columns are turned so that north is up and east is right."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rasterio import Affine
from rasterio.windows import Window


class Turn(NamedTuple):
    """One of the eight ways to lay a raster, as steps from what is stored to north up.

    Attributes:
        swap_axes: First, rows become columns.
        flip_rows: Then the last row comes first.
        flip_columns: And the last column comes first.
    """

    swap_axes: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def apply(self, pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Stored pixels (..., H, W) north up: a view."""
        if self.swap_axes:
            pixels = pixels.swapaxes(-1, -2)
        rows = slice(None, None, -1 if self.flip_rows else 1)
        columns = slice(None, None, -1 if self.flip_columns else 1)
        return pixels[..., rows, columns]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the turn, or before it, from those on its other side."""
        return (width, height) if self.swap_axes else (height, width)

    def stored_window(self, window: Window, height: int, width: int) -> Window:
        """Where a window of the raster that is north up is stored.

        Args:
            window: In rows and columns after the turn.
            height: Rows after the turn.
            width: Columns after the turn.
        """
        top, left = window.row_off, window.col_off
        if self.flip_rows:
            top = height - top - window.height
        if self.flip_columns:
            left = width - left - window.width
        if self.swap_axes:
            return Window(top, left, window.height, window.width)
        return Window(left, top, window.width, window.height)

    def to_stored(self, height: int, width: int) -> Affine:
        """The map from (column, row) after the turn to (column, row) as stored.

        Args:
            height: Rows after the turn.
            width: Columns after the turn.
        """
        column, first_column = (-1, width) if self.flip_columns else (1, 0)
        row, first_row = (-1, height) if self.flip_rows else (1, 0)
        if self.swap_axes:
            return Affine(0, row, first_row, column, 0, first_column)
        return Affine(column, 0, first_column, 0, row, first_row)


AS_STORED = Turn()
