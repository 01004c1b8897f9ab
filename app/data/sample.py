"""Sample: what every reader returns, and what nothing after the readers looks behind."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from app.base.dataset_names import DATASET_NAMES, DatasetName
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF


class Sample(TypedDict):
    """An image and a target for every task; a task its dataset does not label is all unknown.

    Attributes:
        image: (3, H, W) uint8, RGB.
        segments: (H, W) uint8: 0..15 azimuth class, 16 flat, 17 background, 18 some roof,
            255 unknown.
        lines: (4, H, W) uint8: 1 on the centre of a line of that kind, one pixel thick, 0 off it,
            255 unknown. The transforms give lines their width.
        depth: (H, W) float32, metres above ground; NaN where unknown.
        superstructures: (H, W) uint8: RID's 0..7, 8 background, 255 unknown.
        dataset: Which dataset it is from; nothing after the readers asks.
        sample_id: The name by which a person finds the file.
        gsd_m: Ground sampling distance, metres per pixel.
    """

    image: Tensor
    segments: Tensor
    lines: Tensor
    depth: Tensor
    superstructures: Tensor
    dataset: DatasetName
    sample_id: str
    gsd_m: float


def unknown_labels(*shape: int) -> Tensor:
    """uint8 of that shape, all unknown: segments, lines or superstructures nobody labelled."""
    return torch.full(shape, IGNORE_INDEX, dtype=torch.uint8)


def unknown_depth(*shape: int) -> Tensor:
    """float32 of that shape, all unknown."""
    return torch.full(shape, torch.nan)


@dataclass(frozen=True)
class BadFile:
    """A sample that cannot be used, and why.

    Attributes:
        sample_id: Its name.
        path: The file a person should look at.
        reason: One line: what, where, got, expected, how to fix.
    """

    sample_id: str
    path: Path
    reason: str


def check_sample(sample: Sample) -> None:
    """Raise AssertionError where a reader of ours broke the contract of Sample."""
    height, width = sample["image"].shape[-2:]
    assert sample["image"].shape == (3, height, width)
    assert sample["image"].dtype == torch.uint8
    assert sample["segments"].shape == (height, width)
    assert sample["segments"].dtype == torch.uint8
    segments = sample["segments"]
    assert bool(((segments <= SOME_ROOF) | (segments == IGNORE_INDEX)).all())
    assert BACKGROUND_CLASS < SOME_ROOF < IGNORE_INDEX
    assert sample["lines"].shape == (4, height, width)
    assert sample["lines"].dtype == torch.uint8
    assert bool(((sample["lines"] <= 1) | (sample["lines"] == IGNORE_INDEX)).all())
    assert sample["depth"].shape == (height, width)
    assert sample["depth"].dtype == torch.float32
    superstructures = sample["superstructures"]
    assert superstructures.shape == (height, width)
    assert superstructures.dtype == torch.uint8
    assert bool(((superstructures <= 8) | (superstructures == IGNORE_INDEX)).all())
    assert sample["dataset"] in DATASET_NAMES
    assert sample["gsd_m"] > 0
