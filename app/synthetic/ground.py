"""Everything around the houses: lawns, plots, streets, terraces, hedges, cars and trees."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from app.synthetic.canvas import Canvas, Rgb, shades
from app.synthetic.geometry import Rectangle
from app.synthetic.roofs import ROAD_WIDTH_M, FloatImage, Mask, Roofs, Street

_GRASS: Final = np.array([92, 103, 68], np.float32)
_SOIL: Final = np.array([132, 122, 98], np.float32)
_ASPHALT: Final = np.array([116, 114, 108], np.float32)
_STONE: Final = np.array([168, 160, 146], np.float32)
_HEDGE: Final = np.array([62, 76, 44], np.float32)
_CAR_COLOURS: Final = ((42, 43, 46), (118, 120, 124), (228, 228, 228), (60, 72, 110), (150, 40, 34))
# Green, yellow-green in spring, bare.
_CROWN_COLOURS: Final = ((72, 88, 48), (110, 132, 56), (112, 104, 86))

_PAVEMENT_WIDTH_M = 1.4
_TREES_PER_M2 = (1.5e-3, 1.1e-2)


def paint_ground(rng: np.random.Generator, canvas: Canvas, roofs: Roofs, street: Street) -> None:
    """Paint all that is no roof; hedges, cars and trees also rise in canvas.surface_m.

    Nothing is painted over a roof, so that the labels stay exact.
    """
    roof_distance_m, plot = _plots(roofs)
    _paint_lawns(rng, canvas, plot)
    _paint_paving(rng, canvas, roofs, roof_distance_m, street)
    _paint_hedges(rng, canvas, roof_distance_m, plot)
    _paint_road(rng, canvas, roofs, street)
    _park_cars(rng, canvas, roofs, street)
    _plant_trees(rng, canvas, roofs)


def _plots(roofs: Roofs) -> tuple[FloatImage, npt.NDArray[np.int32]]:
    """Distance to the nearest building in metres, and which building that is: its plot."""
    free = (~roofs.mask).view(np.uint8)
    distance_px, plot = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, cv2.DIST_MASK_5)
    return (
        np.asarray(distance_px, np.float32) * np.float32(roofs.grid.gsd_m),
        np.asarray(plot, np.int32),
    )


def _paint_lawns(rng: np.random.Generator, canvas: Canvas, plot: npt.NDArray[np.int32]) -> None:
    soil_share = np.clip(canvas.coarse_noise * 0.35 + rng.uniform(-0.2, 0.4), 0, 1)
    grass, soil = shades(rng, _GRASS, 0.75, 1.15), shades(rng, _SOIL, 0.8, 1.1)
    # Column 0 multiplies the soil's share, column 1 is the constant.
    mixture = np.stack([soil - grass, grass], 1)
    canvas.colour[:] = cv2.transform(soil_share, mixture)
    tone = rng.uniform(0.8, 1.15, int(plot.max()) + 1).astype(np.float32)
    rough = 1 + canvas.coarse_noise * 0.1 + canvas.fine_noise * 0.08 + canvas.grain * 0.05
    np.multiply(rough, tone[plot], out=canvas.texture)


def _paint_paving(
    rng: np.random.Generator,
    canvas: Canvas,
    roofs: Roofs,
    roof_distance_m: FloatImage,
    street: Street,
) -> None:
    """Paths around houses, and a terrace or a drive beside most."""
    ring = (roof_distance_m < 1.0) & (canvas.coarse_noise > rng.uniform(-0.8, 1.0))
    _cover(canvas, ring & ~roofs.mask, shades(rng, _STONE, 0.7, 1.0))
    for rows, columns in {facet.building: facet.window for facet in roofs.facets}.values():
        if rng.random() < 0.25:
            continue
        centre_px = (rng.uniform(columns.start, columns.stop), rng.uniform(rows.start, rows.stop))
        paved = Rectangle(
            np.array(centre_px) * roofs.grid.gsd_m,
            street.along,
            rng.uniform(6.0, 16.0),
            rng.uniform(4.0, 9.0),
        )
        window, inside = roofs.grid.rectangle(paved)
        inside &= ~roofs.mask[window]
        canvas.colour[window][inside] = shades(rng, _STONE, 0.65, 1.1)


def _paint_hedges(
    rng: np.random.Generator,
    canvas: Canvas,
    roof_distance_m: FloatImage,
    plot: npt.NDArray[np.int32],
) -> None:
    """Hedges on the borders between plots, with gaps."""
    border = np.zeros(plot.shape, np.uint8)
    border[:, 1:] |= plot[:, 1:] != plot[:, :-1]
    border[1:] |= plot[1:] != plot[:-1]
    width_px = max(1, round(rng.uniform(0.6, 1.4) / canvas.grid.gsd_m))
    wide = cv2.dilate(border, np.ones((width_px, width_px), np.uint8)) > 0
    hedge = wide & (roof_distance_m > 1.5) & (canvas.coarse_noise < rng.uniform(-0.5, 1.2))
    _cover(canvas, hedge, shades(rng, _HEDGE, 0.8, 1.2))
    canvas.surface_m[hedge] = rng.uniform(0.8, 2.2) + 0.2 * canvas.fine_noise[hedge]


def _paint_road(rng: np.random.Generator, canvas: Canvas, roofs: Roofs, street: Street) -> None:
    from_middle_m = street.distance_m(canvas.grid)
    from_middle_m[roofs.mask] = np.inf
    is_road = from_middle_m < ROAD_WIDTH_M / 2
    is_pavement = from_middle_m < ROAD_WIDTH_M / 2 + _PAVEMENT_WIDTH_M
    canvas.surface_m[is_pavement] = 0.0
    _cover(canvas, is_pavement & ~is_road, shades(rng, _STONE, 0.75, 0.95))
    _cover(canvas, is_road, shades(rng, _ASPHALT, 0.85, 1.2))


def _cover(canvas: Canvas, mask: Mask, colour: Rgb) -> None:
    """Paint a hard, even surface."""
    pixels = np.flatnonzero(mask)
    rough = canvas.grain.take(pixels) + canvas.fine_noise.take(pixels)
    canvas.colour.reshape(-1, 3)[pixels] = colour
    canvas.texture.reshape(-1)[pixels] = 1 + 0.04 * rough


def _park_cars(rng: np.random.Generator, canvas: Canvas, roofs: Roofs, street: Street) -> None:
    along = street.along
    for _ in range(_count(rng, canvas, (0.0, 3e-3))):
        centre_m = rng.uniform(0.0, canvas.grid.extent_m, 2)
        colour = _CAR_COLOURS[rng.integers(len(_CAR_COLOURS))]
        length_m, width_m = rng.uniform(3.8, 4.8), rng.uniform(1.7, 1.9)
        direction = along if rng.random() < 0.7 else np.array([-along[1], along[0]])
        body = Rectangle(centre_m, direction, length_m, width_m)
        window, inside = canvas.grid.rectangle(body)
        if not inside.any() or roofs.mask[window][inside].any():
            continue
        canvas.colour[window][inside] = colour
        canvas.texture[window][inside] = 1.0
        canvas.surface_m[window][inside] = 0.9
        # The cabin is a box on the body, with dark glass before and behind the roof.
        glass = Rectangle(centre_m - 0.2 * direction, direction, 2.6, width_m - 0.3)
        window, inside = canvas.grid.rectangle(glass)
        canvas.colour[window][inside] = _CAR_COLOURS[0]
        top = Rectangle(centre_m - 0.2 * direction, direction, 1.5, width_m - 0.4)
        window, inside = canvas.grid.rectangle(top)
        canvas.colour[window][inside] = colour
        canvas.surface_m[window][inside] = 1.45


def _plant_trees(rng: np.random.Generator, canvas: Canvas, roofs: Roofs) -> None:
    num_trees = _count(rng, canvas, _TREES_PER_M2)
    groves_m = rng.uniform(0.0, canvas.grid.extent_m, (3, 2))
    for _ in range(num_trees):
        centre_m = rng.uniform(0.0, canvas.grid.extent_m, 2)
        if rng.random() < 0.5:
            centre_m = groves_m[rng.integers(len(groves_m))] + rng.normal(0.0, 5.0, 2)
        radius_m = rng.uniform(0.8, 4.2)
        colour = shades(rng, _CROWN_COLOURS[rng.integers(len(_CROWN_COLOURS))], 0.7, 1.2)
        is_sparse = rng.random() < 0.4
        height_share = rng.uniform(1.0, 2.0)
        window = canvas.grid.window(centre_m[0], centre_m[1], 1.5 * radius_m)
        x, y = canvas.grid.offsets_m(window, centre_m[0], centre_m[1])
        rough = canvas.fine_noise[window]
        # The crown is a dome with a ragged outline and lumps.
        distance = np.sqrt(x * x + y * y) * (1 + 0.14 * rough) / np.float32(radius_m)
        crown = (distance < 1) & ~roofs.mask[window]
        if is_sparse:
            crown &= canvas.grain[window] < 0.4
        if not crown.any():
            continue
        dome = np.sqrt(np.maximum(1 - distance[crown] ** 2, 0))
        lumps = 0.35 * rough[crown] + 0.15 * canvas.grain[window][crown]
        top_m = np.maximum(radius_m * height_share * dome + lumps, 0.1)
        canvas.surface_m[window][crown] = np.maximum(canvas.surface_m[window][crown], top_m)
        canvas.colour[window][crown] = colour
        canvas.texture[window][crown] = 1 + 0.12 * rough[crown] + 0.18 * canvas.grain[window][crown]


def _count(rng: np.random.Generator, canvas: Canvas, per_m2: tuple[float, float]) -> int:
    """A random number of things for the scene's area."""
    return int(rng.uniform(*per_m2) * canvas.grid.extent_m**2)
