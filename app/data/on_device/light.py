"""The light of app.data.photometry in torch, to the level, and its JPEG in kind.

Images are (H, W, 3) here. Sums are of whole numbers where OpenCV's are, so that both give the same.
"""

import functools
import math
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from app.base.arrays import Floats
from app.data.on_device.jpeg import compress
from app.data.photometry import SHADOW_BLUR_PX, SHARPENING_BLUR_PX

# OpenCV's weights of red, green and blue in grey, of 2**15.
_GREY_WEIGHTS: Final = (9798, 19235, 3735)
_GREY_BITS: Final = 15
_VALUES: Final = 256
# OpenCV blurs bytes with weights of 2**-8.
_BLUR_BITS: Final = 8


class SentNoise(NamedTuple):
    """Noise as app.data.photometry.Noise, on the device: (256,) int16 and (H, W, 3) uint8."""

    levels: Tensor
    drawn: Tensor


class SentLight(NamedTuple):
    """A light as app.data.photometry.Light has it, with its arrays on the device."""

    tones: Tensor
    saturation: float
    shadows: Tensor | None = None
    blur_px: float | None = None
    sharpening: float | None = None
    noise: SentNoise | None = None
    jpeg_quality: int | None = None


def apply_light(image: Tensor, light: SentLight) -> Tensor:
    """The image in a light.

    Args:
        image: (H, W, 3) uint8.
        light: Drawn for an image of its size.

    Returns:
        (H, W, 3) uint8, new memory.
    """
    values = image + _VALUES * torch.arange(3, dtype=torch.int32, device=image.device)
    # By band, and then by value.
    image = light.tones.T.flatten().index_select(0, values.flatten()).view(image.shape)
    image = _saturate(image, light.saturation)
    if light.shadows is not None:
        image = _round(image.float() * (1 / 255) * _soften(light.shadows)[..., None])
    if light.blur_px is not None:
        image = _blur(image, light.blur_px)
    if light.sharpening is not None:
        blurred = _blur(image, SHARPENING_BLUR_PX).float()
        image = _round(image.float() * (1 + light.sharpening) - blurred * light.sharpening)
    if light.noise is not None:
        levels, drawn = light.noise
        added = levels.index_select(0, drawn.flatten().int()).view(image.shape)
        image = (added + image).clamp_(0, 255).byte()
    if light.jpeg_quality is not None:
        image = compress(image, light.jpeg_quality)
    return image


def _saturate(image: Tensor, share: float) -> Tensor:
    values = image.float()
    first, *others = values.unbind(dim=-1)
    grey = first * _GREY_WEIGHTS[0]
    for band, weight in zip(others, _GREY_WEIGHTS[1:], strict=True):
        grey.add_(band, alpha=weight)
    # Whole numbers that float32 holds, as OpenCV's.
    grey.add_(1 << (_GREY_BITS - 1)).div_(1 << _GREY_BITS).floor_()
    return _round(values.mul_(share).add_((grey * (1 - share))[..., None]))


def _soften(brightness: Tensor) -> Tensor:
    """(H, W) float32, whole numbers, of uint8."""
    reach = SHADOW_BLUR_PX // 2
    padded = F.pad(brightness[None, None].float(), (reach,) * 4, mode="reflect")
    return F.avg_pool2d(padded, SHADOW_BLUR_PX, stride=1)[0, 0].round_()


def _blur(image: Tensor, sigma_px: float) -> Tensor:
    """A Gaussian blur as OpenCV's of bytes: both passes in whole numbers, rounded once."""
    weights = _blur_weights(sigma_px)
    reach = len(weights) // 2
    bands = image.permute(2, 0, 1).float()
    padded = F.pad(bands[None], (reach,) * 4, mode="reflect")[0]
    height, width = bands.shape[-2:]
    across = sum(weight * padded[..., i : i + width] for i, weight in enumerate(weights) if weight)
    assert isinstance(across, Tensor)
    blurred = sum(
        weight * across[..., i : i + height, :] for i, weight in enumerate(weights) if weight
    )
    assert isinstance(blurred, Tensor)
    half = 1 << (2 * _BLUR_BITS - 1)
    return ((blurred + half) / (1 << (2 * _BLUR_BITS))).floor_().byte().permute(1, 2, 0)


@functools.cache
def _normal_curve(sigma_px: float) -> Floats:
    # As many as OpenCV takes for bytes.
    size = round(sigma_px * 6 + 1) | 1
    return np.asarray(cv2.getGaussianKernel(size, sigma_px)[:, 0], np.float64)


def _blur_weights(sigma_px: float) -> list[int]:
    """The curve in whole numbers of 2**-8, each with the error of those before it."""
    curve = _normal_curve(sigma_px) * (1 << _BLUR_BITS)
    half, error = len(curve) // 2, 0.0
    weights: list[int] = []
    for value in curve[:half].tolist():
        weights.append(round(value + error))
        error += value - weights[-1]
    return [*weights, (1 << _BLUR_BITS) - 2 * sum(weights), *weights[::-1]]


def _round(values: Tensor) -> Tensor:
    """Bytes of values, which are changed."""
    return values.round_().clamp_(0, 255).byte()


assert math.log2(255 << 2 * _BLUR_BITS) <= 24, "sums of a blur are exact in float32"
