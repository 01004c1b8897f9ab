"""What a training sample goes through: a window, a flip or turn, a change of light.

Every draw comes from the generator passed in, so a sample depends on nothing but its key.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from app.azimuth import NUM_SQUARE_SYMMETRIES
from app.data.sample import Sample
from app.tasks import IGNORE_INDEX, segments_after_symmetry

_SEGMENTS_AFTER_SYMMETRY = torch.from_numpy(segments_after_symmetry())
_BRIGHTNESS = 0.2
_CONTRAST = 0.2
_CHANNEL_GAIN = 0.05
_GAMMA = (0.8, 1.2)
_SATURATION = (0.5, 1.3)
_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)


@dataclass(frozen=True)
class TrainTransform:
    """Random square window, symmetry of the square and light.

    Attributes:
        crop_size_px: Side of the window. A smaller image is padded, with unknown targets.
    """

    crop_size_px: int

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A new sample; the one passed in is left as it is."""
        sample = pad_to(sample, self.crop_size_px)
        height, width = sample["image"].shape[-2:]
        top = int(rng.integers(height - self.crop_size_px + 1))
        left = int(rng.integers(width - self.crop_size_px + 1))
        sample = crop(sample, top, left, self.crop_size_px)
        sample = apply_symmetry(sample, int(rng.integers(NUM_SQUARE_SYMMETRIES)))
        return {**sample, "image": change_light(sample["image"], rng)}


def pad_to(sample: Sample, size_px: int) -> Sample:
    """The sample with at least size_px rows and columns, grown below and right, targets unknown."""
    height, width = sample["image"].shape[-2:]
    padding = (0, max(0, size_px - width), 0, max(0, size_px - height))
    if not any(padding):
        return sample
    return {
        **sample,
        "image": F.pad(sample["image"], padding),
        "segments": F.pad(sample["segments"], padding, value=IGNORE_INDEX),
        "lines": F.pad(sample["lines"], padding, value=IGNORE_INDEX),
        "depth": F.pad(sample["depth"], padding, value=float("nan")),
    }


def crop(sample: Sample, top_px: int, left_px: int, size_px: int) -> Sample:
    """The square window of image and targets whose upper left corner is given."""

    def window(x: Tensor) -> Tensor:
        return x[..., top_px : top_px + size_px, left_px : left_px + size_px]

    return {
        **sample,
        "image": window(sample["image"]),
        "segments": window(sample["segments"]),
        "lines": window(sample["lines"]),
        "depth": window(sample["depth"]),
    }


def apply_symmetry(sample: Sample, symmetry: int) -> Sample:
    """The sample flipped or turned, with the directions of its planes following.

    Args:
        sample: Any sample.
        symmetry: In [0, 8): symmetry % 4 quarter turns counter-clockwise, then a left-right flip
            if symmetry >= 4. Lines and heights keep their values.
    """

    def move(x: Tensor) -> Tensor:
        x = torch.rot90(x, symmetry % 4, dims=(-2, -1))
        return (x.flip(-1) if symmetry >= 4 else x).contiguous()

    return {
        **sample,
        "image": move(sample["image"]),
        "segments": _SEGMENTS_AFTER_SYMMETRY[symmetry][move(sample["segments"]).int()],
        "lines": move(sample["lines"]),
        "depth": move(sample["depth"]),
    }


def change_light(image: Tensor, rng: np.random.Generator) -> Tensor:
    """The image under another sun, camera and haze.

    Args:
        image: (3, H, W) uint8.
        rng: Source of the draws.

    Returns:
        (3, H, W) uint8.
    """
    tables = torch.from_numpy(_tone_tables(rng))
    toned = torch.stack([table[band.int()] for table, band in zip(tables, image, strict=True)])
    grey = (toned * _LUMA).sum(0, keepdim=True)
    saturated = torch.lerp(grey, toned, rng.uniform(*_SATURATION))
    return saturated.clamp_(0, 255).to(torch.uint8)


def _tone_tables(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """(3, 256) float32: new value of each old one, per band: gamma, contrast, brightness, gain."""
    tone = np.linspace(0, 1, 256) ** rng.uniform(*_GAMMA)
    tone = (tone - 0.5) * rng.uniform(1 - _CONTRAST, 1 + _CONTRAST) + 0.5
    tone = tone * rng.uniform(1 - _BRIGHTNESS, 1 + _BRIGHTNESS)
    gains = rng.uniform(1 - _CHANNEL_GAIN, 1 + _CHANNEL_GAIN, (3, 1))
    return (255 * tone * gains).astype(np.float32)
