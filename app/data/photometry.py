"""Another sun, camera and haze over the same roofs; no label changes.

Every draw comes from the generator passed in. The set is mild: colour carries what a roof is made
of, and shading which way it faces.
"""

import functools
from collections.abc import Callable
from statistics import NormalDist
from typing import Final

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

Image = npt.NDArray[np.uint8]


def change_light(image: Image, rng: np.random.Generator) -> Image:
    """The image as another flight might have taken it.

    Args:
        image: (H, W, 3) uint8.
        rng: Source of the draws.

    Returns:
        (H, W, 3) uint8, new memory.
    """
    changes: tuple[tuple[float, Callable[[Image, np.random.Generator], Image]], ...] = (
        (1.0, _tone),
        (1.0, _saturate),
        # The costly ones are made to a share of the samples.
        (0.3, _cast_shadows),
        (0.2, _blur),
        (0.2, _sharpen),
        (0.3, _add_noise),
        (0.3, _compress),
    )
    for share, change in changes:
        if rng.random() < share:
            image = change(image, rng)
    return image


def _tone(image: Image, rng: np.random.Generator) -> Image:
    """Gamma, contrast, brightness and a gain per band, in one look-up."""
    tone = np.linspace(0, 1, 256) ** rng.uniform(*_GAMMA)
    tone = (tone - 0.5) * rng.uniform(1 - _CONTRAST, 1 + _CONTRAST) + 0.5
    tone = tone * rng.uniform(1 - _BRIGHTNESS, 1 + _BRIGHTNESS)
    gains = rng.uniform(1 - _CHANNEL_GAIN, 1 + _CHANNEL_GAIN, 3)
    table = np.clip(255 * tone[:, None] * gains, 0, 255).astype(np.uint8)
    return _as_image(cv2.LUT(image, table[None]))


def _saturate(image: Image, rng: np.random.Generator) -> Image:
    share = float(rng.uniform(*_SATURATION))
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return _as_image(cv2.addWeighted(image, share, grey, 1 - share, 0))


def _cast_shadows(image: Image, rng: np.random.Generator) -> Image:
    """Darkens one or two triangles or quadrangles, as of trees and towers outside the photo."""
    height, width = image.shape[:2]
    brightness = np.full((height, width), 255, np.uint8)
    for _ in range(int(rng.integers(1, _MAX_SHADOWS + 1))):
        corners = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 5)), 2)) * (width, height)
        hull = cv2.convexHull(corners.astype(np.int32))
        cv2.fillConvexPoly(brightness, hull, int(255 * rng.uniform(*_SHADOW_BRIGHTNESS)))
    soft = cv2.blur(brightness, (5, 5))
    return _as_image(cv2.multiply(image, cv2.cvtColor(soft, cv2.COLOR_GRAY2RGB), scale=1 / 255))


def _blur(image: Image, rng: np.random.Generator) -> Image:
    sigma_px = float(rng.uniform(0.1, _MAX_BLUR_PX))
    return _as_image(cv2.GaussianBlur(image, (0, 0), sigma_px))


def _sharpen(image: Image, rng: np.random.Generator) -> Image:
    amount = float(rng.uniform(0, _MAX_SHARPENING))
    return _as_image(
        cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.0), -amount, 0)
    )


def _add_noise(image: Image, rng: np.random.Generator) -> Image:
    """Normal noise, independent in every value: a byte is drawn and looked up among 256 levels.

    A level is rounded as the sum would be, so 256 tell the noise of a normal number apart to its
    far tail, and take a twentieth of the time of drawing it.
    """
    levels = np.rint(rng.uniform(0, _MAX_NOISE) * _normal_levels())
    num_words = -(-image.size // 8)
    drawn = rng.bit_generator.random_raw(num_words).view(np.uint8)[: image.size]
    drawn = drawn.reshape(image.shape)
    # One of the two is zero: added in turn they saturate as their difference does.
    brighter, darker = (
        cv2.LUT(drawn, np.clip(sign * levels, 0, 255).astype(np.uint8)) for sign in (1, -1)
    )
    return _as_image(cv2.subtract(cv2.add(image, brighter), darker))


@functools.cache
def _normal_levels() -> npt.NDArray[np.float64]:
    """(256,) equally likely values of a standard normal number, scaled to a variance of 1."""
    normal = NormalDist()
    levels = np.array([normal.inv_cdf((i + 0.5) / 256) for i in range(256)])
    return np.asarray(levels / levels.std(), np.float64)


def _compress(image: Image, rng: np.random.Generator) -> Image:
    quality = int(rng.integers(*_JPEG_QUALITY))
    # Encoded as BGR or RGB alike: the error is what is wanted.
    done, encoded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert done, "OpenCV could not encode a JPEG in memory"
    return _as_image(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def _as_image(array: object) -> Image:
    return np.asarray(array, np.uint8)
