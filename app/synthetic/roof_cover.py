"""What lies on the roofs: tiles, darker and lighter seams, solar modules, windows, chimneys."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from app.synthetic.canvas import Canvas, Rgb, shades
from app.synthetic.geometry import Vector
from app.synthetic.labels import CHIMNEY, DORMER, NO_SUPERSTRUCTURE, PV_MODULE, WINDOW
from app.synthetic.roofs import Facet, FloatImage, Mask, Roofs, Street, Window

# Clay from orange to brown, and slate: what the roofs of a Bavarian village show from above.
_TILE_COLOURS: Final = np.array(
    [
        (186, 104, 66), (170, 92, 60), (205, 122, 82), (140, 74, 56),
        (84, 84, 90), (110, 108, 108), (66, 64, 68), (138, 118, 100),
    ],
    np.float32,
)  # fmt: skip
_MODULE: Final = np.array([36, 42, 62], np.float32)
_MODULE_FRAME: Final = np.array([130, 134, 142], np.float32)
_CHIMNEY_BRICK: Final = np.array([120, 96, 86], np.float32)

_MARGIN_M = 0.45  # of a superstructure from the facet's edge
_CHIMNEY_HEIGHT_M = 1.1
# Waves per metre, in radians: tile rows 0.37 m apart up the slope, 0.31 m along the eave.
_TILE_ROWS, _TILE_COLUMNS = np.float32(17.0), np.float32(20.3)


def paint_roofs(
    rng: np.random.Generator,
    canvas: Canvas,
    roofs: Roofs,
    lines: npt.NDArray[np.uint8],
    street: Street,
) -> npt.NDArray[np.uint8]:
    """Paint every roof; chimneys also rise in canvas.surface_m.

    Args:
        rng: Source of every choice.
        canvas: What to paint on.
        roofs: Where the roofs are.
        lines: (4, H, W) uint8, the lines target.
        street: What things on flat roofs are aligned to.

    Returns:
        (H, W) uint8, RID's superstructure codes.
    """
    _lay_tiles(rng, canvas, roofs)
    _paint_seams(rng, canvas, roofs, lines)
    superstructures = np.full(roofs.facet_map.shape, NO_SUPERSTRUCTURE, np.uint8)
    for index, facet in enumerate(roofs.facets):
        on_facet = roofs.facet_map[facet.window] == index
        if facet.is_dormer:
            superstructures[facet.window][on_facet] = DORMER
            continue
        place = _Place.on(canvas, facet, on_facet, street)
        if place is not None:
            _furnish(rng, canvas, place, superstructures)
    return superstructures


def _lay_tiles(rng: np.random.Generator, canvas: Canvas, roofs: Roofs) -> None:
    """Colour of each facet and its rows of tiles, which run along the eave."""
    colours = np.zeros((len(roofs.facets), 3), np.float32)
    of_building: dict[int, Rgb] = {}
    for index, facet in enumerate(roofs.facets):
        if facet.plane.is_flat:
            colours[index] = rng.uniform(95, 185) + rng.normal(0, 3, 3)
            continue
        tile = _TILE_COLOURS[rng.integers(len(_TILE_COLOURS))]
        fresh = shades(rng, tile, 0.8, 1.25) + rng.normal(0, 4, 3).astype(np.float32)
        colours[index] = shades(rng, of_building.setdefault(facet.building, fresh), 0.96, 1.04)

    pixels = roofs.pixels
    row, column = np.divmod(pixels, canvas.grid.size_px)
    facet_index = roofs.facet_map.take(pixels)
    east_slope, south_slope = (slope.take(facet_index) for slope in roofs.slopes())
    steepness = np.maximum(np.hypot(east_slope, south_slope), np.float32(0.05))
    east_m, south_m = canvas.grid.east_m.take(column), canvas.grid.south_m.take(row)
    along_eave_m = (south_m * east_slope - east_m * south_slope) / steepness
    up_slope_m = roofs.height_m.take(pixels) / steepness
    canvas.colour.reshape(-1, 3)[pixels] = colours.take(facet_index, axis=0)
    canvas.texture.reshape(-1)[pixels] = (
        1
        + np.float32(rng.uniform(0.02, 0.09)) * np.sin(up_slope_m * _TILE_ROWS)
        + np.float32(rng.uniform(0.0, 0.05)) * np.sin(along_eave_m * _TILE_COLUMNS)
        + np.float32(0.05) * canvas.fine_noise.take(pixels)
        + np.float32(0.04) * canvas.coarse_noise.take(pixels)
    )


def _paint_seams(
    rng: np.random.Generator, canvas: Canvas, roofs: Roofs, lines: npt.NDArray[np.uint8]
) -> None:
    """Ridge tiles lighter or darker, gutters and valleys darker."""
    eave, ridge, hip, valley = lines
    for seam, low, high in ((ridge | hip, 0.85, 1.25), (eave | valley, 0.6, 0.95)):
        # A seam is narrower than its 3 px label: 2 of them are painted.
        thin = cv2.erode(seam, np.ones((2, 2), np.uint8)) > 0
        canvas.texture[thin & roofs.mask] *= np.float32(rng.uniform(low, high))


class _Place:
    """Room for superstructures on one facet, with axes along its eave and up its slope."""

    def __init__(self, window: Window, room: Mask, along_m: FloatImage, up_m: FloatImage) -> None:
        self.window = window
        self.along_m = along_m
        self.up_m = up_m
        self._room = room
        self._anchors = np.flatnonzero(room)

    @classmethod
    def on(cls, canvas: Canvas, facet: Facet, on_facet: Mask, street: Street) -> "_Place | None":
        """The room on a facet, or None if it is smaller than 2 x 2 m."""
        gsd_m = canvas.grid.gsd_m
        if on_facet.sum() * gsd_m**2 < 4.0:
            return None
        brush_px = 2 * max(1, round(_MARGIN_M / gsd_m)) + 1
        room = cv2.erode(
            on_facet.view(np.uint8),
            np.ones((brush_px, brush_px), np.uint8),
            borderType=cv2.BORDER_CONSTANT,
            borderValue=0,
        ).astype(np.bool_)
        if room.sum() * gsd_m**2 < 4.0:
            return None
        uphill = _uphill(facet, street)
        rows, columns = facet.window
        x, y = canvas.grid.east_m[:, columns], canvas.grid.south_m[rows]
        along_m = y * uphill[0] - x * uphill[1]
        return cls(facet.window, room, along_m, x * uphill[0] + y * uphill[1])

    def rectangle(self, rng: np.random.Generator, width_m: float, height_m: float) -> Mask:
        """Somewhere in the room, a rectangle of that size, cut off where the room ends."""
        anchor = self._anchors[rng.integers(len(self._anchors))]
        inside = np.abs(self.along_m - self.along_m.flat[anchor]) < width_m / 2
        inside &= np.abs(self.up_m - self.up_m.flat[anchor]) < height_m / 2
        return np.asarray(inside & self._room, np.bool_)


def _uphill(facet: Facet, street: Street) -> npt.NDArray[np.float32]:
    """(2,) unit vector up the facet's slope; on a flat one, across the street."""
    plane = facet.plane
    direction: Vector = np.array([plane.east_slope, plane.south_slope])
    if plane.is_flat:
        direction = np.array([-street.along[1], street.along[0]])
    return np.asarray(direction / np.hypot(*direction), np.float32)


def _furnish(
    rng: np.random.Generator,
    canvas: Canvas,
    place: _Place,
    superstructures: npt.NDArray[np.uint8],
) -> None:
    """Perhaps a solar array, some windows, perhaps a chimney."""
    colour, texture = canvas.colour[place.window], canvas.texture[place.window]
    code = superstructures[place.window]
    if rng.random() < 0.22:
        array = place.rectangle(rng, rng.uniform(3.0, 9.0), rng.uniform(1.7, 4.0))
        frame = (np.mod(place.along_m, 1.0) < 0.09) | (np.mod(place.up_m, 1.65) < 0.09)
        colour[array] = _MODULE * rng.uniform(0.8, 1.6)
        colour[array & frame] = _MODULE_FRAME
        texture[array] = 1.0
        code[array] = PV_MODULE
    for _ in range(rng.poisson(1.2)):
        window = place.rectangle(rng, 0.8, 1.15)
        colour[window] = rng.choice([50.0, 210.0])
        texture[window] = 1.0
        code[window] = WINDOW
    if rng.random() < 0.35:
        chimney = place.rectangle(rng, 0.7, 0.7)
        colour[chimney] = _CHIMNEY_BRICK
        code[chimney] = CHIMNEY
        canvas.surface_m[place.window][chimney] += _CHIMNEY_HEIGHT_M
