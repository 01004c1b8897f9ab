"""A rectangle of a photo."""

from typing import NamedTuple


class Window(NamedTuple):
    """A rectangle of a photo, in its pixels.

    Attributes:
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """Its rows of the photo."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Its columns of the photo."""
        return slice(self.left, self.left + self.width)
