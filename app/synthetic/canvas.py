"""What the painters paint on, and the noise they paint with."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from app.synthetic.roofs import FloatImage, Grid

Rgb = npt.NDArray[np.float32]  # (3,): red, green, blue in 0..255


@dataclass(frozen=True)
class Canvas:
    """A scene before light falls on it.

    Attributes:
        grid: The pixels.
        colour: (H, W, 3) float32, RGB as in full light, 0..255.
        texture: (H, W) float32, what the colour is multiplied with, around 1.
        surface_m: (H, W) float32, height of whatever is seen from above, metres.
        coarse_noise: (H, W) float32, patches of metres; mean 0, deviation 1.
        fine_noise: (H, W) float32, patches of decimetres; mean 0, deviation 1.
        grain: (H, W) float32, independent pixels; mean 0, deviation 1.
    """

    grid: Grid
    colour: FloatImage
    texture: FloatImage
    surface_m: FloatImage
    coarse_noise: FloatImage
    fine_noise: FloatImage
    grain: FloatImage


def blank_canvas(rng: np.random.Generator, grid: Grid, surface_m: FloatImage) -> Canvas:
    """A canvas over a surface, with its noise drawn and nothing painted."""
    shape = (grid.size_px, grid.size_px)
    return Canvas(
        grid=grid,
        colour=np.zeros((*shape, 3), np.float32),
        texture=np.ones(shape, np.float32),
        surface_m=surface_m.copy(),
        coarse_noise=value_noise(rng, grid, patch_m=13.0, num_octaves=6),
        fine_noise=value_noise(rng, grid, patch_m=1.6, num_octaves=4),
        grain=rng.standard_normal(shape, dtype=np.float32),
    )


def value_noise(
    rng: np.random.Generator, grid: Grid, patch_m: float, num_octaves: int
) -> FloatImage:
    """Smooth random patches with ever finer and weaker detail.

    Args:
        rng: Source of the noise.
        grid: The pixels.
        patch_m: Size of the largest patches.
        num_octaves: How often the detail is halved in size.

    Returns:
        (H, W) float32, mean 0, deviation 1.
    """
    total = np.zeros((1, 1), np.float32)
    for octave in range(num_octaves):
        # Growing the sum, not each octave, to full size costs a third.
        side = max(2, round(grid.extent_m / patch_m * 2**octave))
        if side >= grid.size_px:
            break
        layer = rng.standard_normal((side, side), dtype=np.float32) * np.float32(0.6**octave)
        total = _resize(total, side) + layer
    total = _resize(total, grid.size_px)
    # A scene smaller than two patches may hold none.
    total -= total.mean()
    total /= total.std() + np.float32(1e-6)
    return total


def _resize(image: FloatImage, side_px: int) -> FloatImage:
    resized = cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def shades(rng: np.random.Generator, colour: npt.ArrayLike, low: float, high: float) -> Rgb:
    """A colour, lighter or darker by a random factor."""
    return np.asarray(colour, np.float32) * np.float32(rng.uniform(low, high))
