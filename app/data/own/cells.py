"""Cells: whole photos where these are small, squares of about 51 m of large ones."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from rasterio.windows import Window

from app.data.own.catalogue import PhotoRoofs
from app.data.own.parts import Part

# Large photos are divided into cells of about this side, as AIRS's tiles are.
CELL_M: Final = 51.2


class Cell(NamedTuple):
    """A part of a photo to read around.

    Attributes:
        part: What its split may show of the photo.
        window: Of the photo.
        has_planes: Whether it shows a plane.
        name: As "NAME@row,column" of its first pixel; the photo's name where it is all of it.
    """

    part: Part
    window: Window
    has_planes: bool
    name: str


def find_cells(part: Part, photos: Sequence[PhotoRoofs]) -> list[Cell]:
    """The cells of a part with labels: planes, or ground where all roofs are labelled."""
    place, roofs = photos[part.photo]
    num_rows = max(1, round(part.height * place.gsd_m / CELL_M))
    num_columns = max(1, round(part.width * place.gsd_m / CELL_M))
    cells = []
    for row in range(num_rows):
        for column in range(num_columns):
            top, bottom = (part.height * i // num_rows for i in (row, row + 1))
            left, right = (part.width * i // num_columns for i in (column, column + 1))
            window = Window(part.left + left, part.top + top, right - left, bottom - top)
            planes = roofs.planes.touching(box_of(window))
            areas = roofs.areas.touching(box_of(window)) if roofs.areas is not None else ()
            if len(planes) or len(areas):
                name = name_window(
                    window, place.name, place.raster.height_px, place.raster.width_px
                )
                cells.append(Cell(part, window, len(planes) > 0, name))
    return cells


def name_window(window: Window, name: str, height_px: int, width_px: int) -> str:
    """The name of a window of a photo."""
    if (window.height, window.width) == (height_px, width_px):
        return name
    return f"{name}@{window.row_off},{window.col_off}"


def box_of(window: Window) -> tuple[float, float, float, float]:
    """West, north, east, south of a window."""
    left, top = window.col_off, window.row_off
    return left, top, left + window.width, top + window.height
