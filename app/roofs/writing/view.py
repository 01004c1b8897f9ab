"""The photo that a take-off page shows: read from its file at no more pixels than are shown."""

from typing import Final

import numpy as np
from rasterio import Affine

from app.base.window import Window
from app.inference.photo_source import FilePhoto, open_photo
from app.roofs.writing.drawing import MAX_PHOTO_SIDE_PX
from app.roofs.writing.drawn import PhotoView

# Pixels of the photo that are read at once.
_READ_PX: Final = 2048


def read_view(photo: FilePhoto) -> PhotoView:
    """A photo of any size as a page shows it, in memory that does not grow with it.

    Args:
        photo: As it was predicted; its file is opened again.

    Raises:
        FileProblem: If it cannot be read.
    """
    own = photo.own_grid
    shrinking = max(1.0, max(own.height_px, own.width_px) / MAX_PHOTO_SIDE_PX)
    given_gsd_m = None if photo.has_scale else own.gsd_m
    small = open_photo(photo.path, own.gsd_m * shrinking, given_gsd_m)
    image = np.zeros((small.height_px, small.width_px, 3), np.uint8)
    side_px = max(1, round(_READ_PX / shrinking))
    for top in range(0, small.height_px, side_px):
        for left in range(0, small.width_px, side_px):
            height, width = min(side_px, small.height_px - top), min(side_px, small.width_px - left)
            window = Window(top, left, height, width)
            pixels, _ = small.read(window)
            image[window.rows, window.columns] = pixels.permute(1, 2, 0).numpy()
    grid = small.grid
    to_px = Affine.scale(grid.width_px / own.width_px, grid.height_px / own.height_px)
    if grid.crs is not None and grid.transform is not None:
        to_px = ~grid.transform
    return PhotoView(image, to_px, own.gsd_m * own.width_px / grid.width_px)
