"""Another sun, camera and haze over the same roofs; no label changes.

Every draw comes from the generator passed in. The set is mild: colour carries what a roof is made
of, and shading which way it faces.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

_BRIGHTNESS: Final = 0.2
_CONTRAST: Final = 0.2
_CHANNEL_GAIN: Final = 0.05
_GAMMA: Final = (0.8, 1.2)
_SATURATION: Final = (0.5, 1.3)
_MAX_BLUR_PX: Final = 1.0
_MAX_SHARPENING: Final = 1.0
_MAX_NOISE: Final = 5.0
_JPEG_QUALITY: Final = (50, 95)
_MAX_SHADOWS: Final = 2
_SHADOW_BRIGHTNESS: Final = (0.45, 0.8)
SHADOW_BLUR_PX: Final = 5
SHARPENING_BLUR_PX: Final = 1.0

Image = npt.NDArray[np.uint8]
Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class Light:
    """What is done to the light of a sample, in the order of its attributes; None for nothing.

    Attributes:
        tones: (256, 3) uint8: what a value of each band becomes.
        saturation: Share of the colour, the rest is grey.
        shadows: (H, W) uint8, brightness in shadows with hard edges, 255 elsewhere.
        blur_px: Standard deviation of a blur.
        sharpening: Strength of an unsharp mask.
        noise: What is added.
        jpeg_quality: Of a JPEG that it is kept in for a moment.
    """

    tones: Image
    saturation: float
    shadows: Image | None = None
    blur_px: float | None = None
    sharpening: float | None = None
    noise: "Noise | None" = None
    jpeg_quality: int | None = None


class Noise(NamedTuple):
    """Normal noise, independent in every value: a byte is drawn and looked up among 256 levels.

    A level is rounded as the sum would be, so 256 tell the noise of a normal number apart to its
    far tail, and take a twentieth of the time of drawing it.

    Attributes:
        levels: (256,) int16, what is added.
        drawn: (H, W, 3) uint8, which of them.
    """

    levels: npt.NDArray[np.int16]
    drawn: Image


def change_light(image: Image, rng: np.random.Generator) -> Image:
    """The image as another flight might have taken it.

    Args:
        image: (H, W, 3) uint8.
        rng: Source of the draws.

    Returns:
        (H, W, 3) uint8, new memory.
    """
    height, width, _ = image.shape
    return apply_light(image, draw_light((height, width), rng))


def draw_light(size: tuple[int, int], rng: np.random.Generator) -> Light:
    """A light.

    Args:
        size: Rows and columns of the image.
        rng: Source of the draws.
    """

    def draw(
        share: float, change: Callable[[tuple[int, int], np.random.Generator], Drawn]
    ) -> Drawn | None:
        return change(size, rng) if rng.random() < share else None

    # A share is drawn for those, too, that every sample gets.
    rng.random()
    tones = _draw_tones(rng)
    rng.random()
    saturation = float(rng.uniform(*_SATURATION))
    # The costly ones are made to a share of the samples.
    return Light(
        tones=tones,
        saturation=saturation,
        shadows=draw(0.3, _draw_shadows),
        blur_px=draw(0.2, lambda _, rng: float(rng.uniform(0.1, _MAX_BLUR_PX))),
        sharpening=draw(0.2, lambda _, rng: float(rng.uniform(0, _MAX_SHARPENING))),
        noise=draw(0.3, _draw_noise),
        jpeg_quality=draw(0.3, lambda _, rng: int(rng.integers(*_JPEG_QUALITY))),
    )


def apply_light(image: Image, light: Light) -> Image:
    """The image in a light.

    Args:
        image: (H, W, 3) uint8.
        light: Drawn for an image of its size.

    Returns:
        (H, W, 3) uint8, new memory.
    """
    image = _as_image(cv2.LUT(image, light.tones[None]))
    image = _saturate(image, light.saturation)
    if light.shadows is not None:
        soft = cv2.blur(light.shadows, (SHADOW_BLUR_PX, SHADOW_BLUR_PX))
        shade = cv2.cvtColor(soft, cv2.COLOR_GRAY2RGB)
        image = _as_image(cv2.multiply(image, shade, scale=1 / 255))
    if light.blur_px is not None:
        image = _as_image(cv2.GaussianBlur(image, (0, 0), light.blur_px))
    if light.sharpening is not None:
        blurred = cv2.GaussianBlur(image, (0, 0), SHARPENING_BLUR_PX)
        weight = light.sharpening
        image = _as_image(cv2.addWeighted(image, 1 + weight, blurred, -weight, 0))
    if light.noise is not None:
        image = _add_noise(image, light.noise)
    if light.jpeg_quality is not None:
        image = _compress(image, light.jpeg_quality)
    return image


def _draw_tones(rng: np.random.Generator) -> Image:
    """Gamma, contrast, brightness and a gain per band, in one look-up."""
    tone = np.linspace(0, 1, 256) ** rng.uniform(*_GAMMA)
    tone = (tone - 0.5) * rng.uniform(1 - _CONTRAST, 1 + _CONTRAST) + 0.5
    tone = tone * rng.uniform(1 - _BRIGHTNESS, 1 + _BRIGHTNESS)
    gains = rng.uniform(1 - _CHANNEL_GAIN, 1 + _CHANNEL_GAIN, 3)
    return np.clip(255 * tone[:, None] * gains, 0, 255).astype(np.uint8)


def _draw_shadows(size: tuple[int, int], rng: np.random.Generator) -> Image:
    """One or two triangles or quadrangles, as of trees and towers outside the photo."""
    height, width = size
    brightness = np.full(size, 255, np.uint8)
    for _ in range(int(rng.integers(1, _MAX_SHADOWS + 1))):
        corners = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 5)), 2)) * (width, height)
        hull = cv2.convexHull(corners.astype(np.int32))
        cv2.fillConvexPoly(brightness, hull, int(255 * rng.uniform(*_SHADOW_BRIGHTNESS)))
    return brightness


def _draw_noise(size: tuple[int, int], rng: np.random.Generator) -> Noise:
    levels = np.rint(rng.uniform(0, _MAX_NOISE) * _normal_levels()).astype(np.int16)
    num_values = 3 * math.prod(size)
    drawn = rng.bit_generator.random_raw(-(-num_values // 8)).view(np.uint8)[:num_values]
    return Noise(levels, drawn.reshape(*size, 3))


def _saturate(image: Image, share: float) -> Image:
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _as_image(cv2.addWeighted(image, share, grey, 1 - share, 0))


def _add_noise(image: Image, noise: Noise) -> Image:
    # One of the two is zero: added in turn they saturate as their difference does.
    brighter, darker = (
        cv2.LUT(noise.drawn, np.clip(sign * noise.levels, 0, 255).astype(np.uint8))
        for sign in (1, -1)
    )
    return _as_image(cv2.subtract(cv2.add(image, brighter), darker))


@functools.cache
def _normal_levels() -> npt.NDArray[np.float64]:
    """(256,) equally likely values of a standard normal number, scaled to a variance of 1."""
    normal = NormalDist()
    levels = np.array([normal.inv_cdf((i + 0.5) / 256) for i in range(256)])
    return np.asarray(levels / levels.std(), np.float64)


def _compress(image: Image, quality: int) -> Image:
    # Encoded as BGR or RGB alike: the error is what is wanted.
    done, encoded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert done, "OpenCV could not encode a JPEG in memory"
    return _as_image(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def _as_image(array: object) -> Image:
    return np.asarray(array, np.uint8)
