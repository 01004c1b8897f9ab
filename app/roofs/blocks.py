"""Groups of roofs that can be looked at alone, so that a photo of any size fits into memory.

A coarse grid tells where roofs are. Cells with roofs that touch form a group; between two groups
lies at least one empty cell, so what is done to the one does not reach the other. Only the grid and
one group at a time are in memory.
"""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from app.roofs.evidence import Layer

# Wider than planes of one building stand apart, and than all corners together move.
_CELL_M: Final = 0.5
_CELLS_AT_ONCE: Final = 128
# Two tiles of a file, whose unpacked blocks GDAL keeps.
_SQUARE_PX: Final = 1024
# Cells around a group, so that its roofs have an outside.
_MARGIN: Final = 1


class Block(NamedTuple):
    """A group of roofs.

    Attributes:
        rows: The photo's rows that it takes, with a margin.
        columns: Its columns.
        cells: (h, w) bool, which cells of the box are the group's.
        corner_px: Row and column of the first cell.
        cell_px: Rows and columns of a cell.
    """

    rows: slice
    columns: slice
    cells: npt.NDArray[np.bool_]
    corner_px: tuple[int, int]
    cell_px: int

    def mask(self) -> npt.NDArray[np.bool_]:
        """(rows, columns) which pixels are in its cells."""
        row = (np.arange(self.rows.start, self.rows.stop) - self.corner_px[0]) // self.cell_px
        column = (np.arange(self.columns.start, self.columns.stop) - self.corner_px[1]) // (
            self.cell_px
        )
        padded = np.pad(self.cells, _MARGIN)
        mask: npt.NDArray[np.bool_] = padded[(row + _MARGIN)[:, None], (column + _MARGIN)[None]]
        return mask


def find_blocks(classes: Layer, is_roof: npt.NDArray[np.bool_], gsd_m: float) -> Iterator[Block]:
    """The groups of roofs of a photo, square by square, so that files are read in order.

    Args:
        classes: (H, W) uint8.
        is_roof: (256,) which of its values are roofs.
        gsd_m: Metres per pixel.
    """
    cell_px = max(1, math.ceil(_CELL_M / gsd_m))
    cells = _find_cells(classes, is_roof, cell_px)
    _, groups, boxes, _ = cv2.connectedComponentsWithStats(cells, connectivity=8)
    height, width = classes.shape
    squares = boxes[1:, [cv2.CC_STAT_TOP, cv2.CC_STAT_LEFT]] * cell_px // _SQUARE_PX
    for group in 1 + np.lexsort(squares.T[::-1]):
        x, y, w, h = (int(value) for value in boxes[group][:4])
        yield Block(
            _span(y, h, cell_px, height),
            _span(x, w, cell_px, width),
            groups[y : y + h, x : x + w] == group,
            (y * cell_px, x * cell_px),
            cell_px,
        )


def _span(start: int, num_cells: int, cell_px: int, length_px: int) -> slice:
    stop = start + num_cells + _MARGIN
    return slice(max(0, start - _MARGIN) * cell_px, min(length_px, stop * cell_px))


def _find_cells(
    classes: Layer, is_roof: npt.NDArray[np.bool_], cell_px: int
) -> npt.NDArray[np.uint8]:
    """(h, w) uint8: 1 where a cell holds any roof; a few hundred rows are read at once."""
    height, width = classes.shape
    starts = np.arange(0, width, cell_px)
    cells = np.zeros((-(-height // cell_px), len(starts)), np.uint8)
    table = is_roof.astype(np.uint8)
    for first in range(0, len(cells), _CELLS_AT_ONCE):
        top = first * cell_px
        stripe = np.asarray(classes[top : min(height, top + _CELLS_AT_ONCE * cell_px), :])
        # A look-up of cv2's takes a fifth of numpy's time.
        roofs = cv2.LUT(np.ascontiguousarray(stripe), table)
        rows = np.maximum.reduceat(roofs, np.arange(0, len(roofs), cell_px), axis=0)
        cells[first : first + len(rows)] = np.maximum.reduceat(rows, starts, axis=1)
    return cells
