"""What a JPEG does to an image, in torch: colours halved, blocks of 8 px in rounded waves.

The same steps as libjpeg's, in floating point. A wave that lies between two steps of the quality
may be rounded the other way, so a few pixels differ from its by some levels.
"""

import functools
import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK_PX: Final = 8
# Brightness in two blocks a side has one block of each colour.
_UNIT_PX: Final = 2 * _BLOCK_PX
_MIDDLE: Final = 128
# Brightness, blueness and redness of (blue, green, red).
_TO_YCC: Final = (
    (0.114, 0.587, 0.299),
    (0.5, -0.331264, -0.168736),
    (-0.081312, -0.418688, 0.5),
)
_FROM_YCC: Final = ((1.0, 1.772, 0.0), (1.0, -0.344136, -0.714136), (1.0, 0.0, 1.402))
# Annex K of the standard: steps of the waves at quality 50.
_BRIGHTNESS_STEPS: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_COLOUR_STEPS: Final = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)  # fmt: skip


def compress(image: Tensor, quality: int) -> Tensor:
    """The image as it comes out of a JPEG.

    Args:
        image: (H, W, 3) uint8, its first band taken for blue, as OpenCV does.
        quality: 1 to 100.

    Returns:
        (H, W, 3) uint8, new memory.
    """
    height, width, _ = image.shape
    bands = image.permute(2, 0, 1)[None].float()
    padded = F.pad(bands, (0, -width % _UNIT_PX, 0, -height % _UNIT_PX), mode="replicate")[0]
    brightness, *colours = _mix(padded, _TO_YCC, (0, _MIDDLE, _MIDDLE)).round_()
    halved = F.avg_pool2d(torch.stack(colours), 2)
    # libjpeg adds 1/4 and 1/2 by turns, so that colours are not shifted.
    halved[..., ::2] += 0.25
    halved[..., 1::2] += 0.5
    halved.floor_()
    steps = _steps(quality, image.device)
    kept = _round_waves(brightness[None], steps[0])
    kept_colours = _round_waves(halved, steps[1])
    doubled = F.interpolate(kept_colours[None], scale_factor=2, mode="bilinear")[0].round_()
    shifted = torch.cat((kept, doubled - _MIDDLE))
    result = _mix(shifted, _FROM_YCC, (0, 0, 0)).round_().clamp_(0, 255).byte()
    return result[:, :height, :width].permute(1, 2, 0).contiguous()


def _mix(
    bands: Tensor, weights: tuple[tuple[float, ...], ...], shift: tuple[float, float, float]
) -> Tensor:
    """(3, H, W): sums of three bands; no product of matrices, whose precision may be lowered."""
    first, second, third = bands
    return torch.stack(
        [a * first + b * second + c * third + add
         for (a, b, c), add in zip(weights, shift, strict=True)]
    )  # fmt: skip


def _round_waves(bands: Tensor, steps: Tensor) -> Tensor:
    """(N, H, W) bands in blocks, each as a sum of waves whose heights are whole steps."""
    num_bands, height, width = bands.shape
    waves = _waves(bands.device)
    size = (num_bands, height // _BLOCK_PX, _BLOCK_PX, width // _BLOCK_PX, _BLOCK_PX)
    blocks = (bands - _MIDDLE).view(size).transpose(2, 3)
    heights = waves @ blocks @ waves.T / steps
    heights = (
        heights.sign() * (heights.abs() + 0.5).floor_() * steps
    )  # a half is rounded away from 0
    restored = (waves.T @ heights @ waves).transpose(2, 3).reshape(bands.shape)
    return (restored + _MIDDLE).round_().clamp_(0, 255)


@functools.cache
def _waves(device: torch.device) -> Tensor:
    """(8, 8): waves by rows, each of length 1 and at right angles to the others."""
    number = torch.arange(_BLOCK_PX, dtype=torch.float64)
    waves = torch.cos(math.pi / _BLOCK_PX * number[:, None] * (number + 0.5))
    waves *= math.sqrt(2 / _BLOCK_PX)
    waves[0] /= math.sqrt(2)
    return waves.float().to(device)


@functools.lru_cache(maxsize=128)
def _steps(quality: int, device: torch.device) -> Tensor:
    """(2, 8, 8): steps of brightness and of colours."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = (torch.tensor((_BRIGHTNESS_STEPS, _COLOUR_STEPS)) * percent + 50) // 100
    return steps.clamp(1, 255).float().to(device)
