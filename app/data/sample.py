"""Sample: what every reader returns, and what nothing after the readers looks behind."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from app.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF


class Sample(TypedDict):
    """An image and a target for every task; a task its dataset does not label is all unknown.

    Attributes:
        image: (3, H, W) uint8, RGB.
        segments: (H, W) uint8: 0..15 azimuth class, 16 flat, 17 background, 18 some roof,
            255 unknown.
        lines: (4, H, W) uint8: 1 on a line of that kind, 0 off it, 255 unknown.
        depth: (H, W) float32, metres above ground; NaN where unknown.
        dataset: "rid".
        sample_id: The name by which a person finds the file.
        gsd_m: Ground sampling distance, metres per pixel.
    """

    image: Tensor
    segments: Tensor
    lines: Tensor
    depth: Tensor
    dataset: str
    sample_id: str
    gsd_m: float


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
    assert sample["gsd_m"] > 0
