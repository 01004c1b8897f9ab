"""What roofs are found by: a network's predictions, packed into eleven bytes a pixel."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.base.azimuth import class_vectors
from app.base.tasks import IGNORE_INDEX, Task
from app.base.window import Window
from app.inference.tiles import Block

# What a probability of 1 is, and what a whole direction is.
PROBABILITY_SCALE: Final = 200
DIRECTION_SCALE: Final = 127

_Bytes = npt.NDArray[np.uint8]
_Directions = npt.NDArray[np.int8]
_Heights = npt.NDArray[np.float16]


class EvidenceBlock(NamedTuple):
    """A rectangle of a photo's evidence.

    Attributes:
        window: Where it lies.
        classes: (h, w) uint8, the likeliest class of the segments task.
        direction: (2, h, w) int8, how far the probabilities of the directions point right and up:
            the sum of their unit vectors, weighted by them, times DIRECTION_SCALE. Flat and
            background add nothing, so the length says how sure the direction is.
        roof: (h, w) uint8, probability of any roof times PROBABILITY_SCALE.
        lines: (4, h, w) uint8, probability of each kind times PROBABILITY_SCALE; None where the
            network does not tell.
        heights: (h, w) float16, metres above ground, NaN where it is no number; None where the
            network does not tell.
    """

    window: Window
    classes: _Bytes
    direction: _Directions
    roof: _Bytes
    lines: _Bytes | None
    heights: _Heights | None


@dataclass(frozen=True)
class PhotoEvidence:
    """The evidence of a whole photo: as EvidenceBlock, but of its size.

    Attributes:
        classes: (H, W) uint8; 255 where no block was put.
        direction: (2, H, W) int8.
        roof: (H, W) uint8.
        lines: (4, H, W) uint8, or None.
        heights: (H, W) float16, or None.
    """

    classes: _Bytes
    direction: _Directions
    roof: _Bytes
    lines: _Bytes | None
    heights: _Heights | None

    @classmethod
    def empty(cls, size: tuple[int, int], like: EvidenceBlock) -> Self:
        """Room for a photo.

        Args:
            size: Its rows and columns.
            like: A block of it, which tells what the network predicts.
        """
        return cls(
            np.full(size, IGNORE_INDEX, np.uint8),
            np.zeros((2, *size), np.int8),
            np.zeros(size, np.uint8),
            None if like.lines is None else np.zeros((len(like.lines), *size), np.uint8),
            None if like.heights is None else np.full(size, np.nan, np.float16),
        )

    def put(self, block: EvidenceBlock) -> None:
        """Fill in a rectangle."""
        rows, columns = block.window.rows, block.window.columns
        self.classes[rows, columns] = block.classes
        self.direction[:, rows, columns] = block.direction
        self.roof[rows, columns] = block.roof
        if self.lines is not None and block.lines is not None:
            self.lines[:, rows, columns] = block.lines
        if self.heights is not None and block.heights is not None:
            self.heights[rows, columns] = block.heights


@torch.inference_mode()
def find_evidence(block: Block, segments: Task) -> EvidenceBlock:
    """What a block of logits says, in memory of its own.

    Args:
        block: As predict_blocks gives it; segments are among its tasks.
        segments: The segments task of the network.
    """
    logits = block.logits["segments"].float()
    probabilities = logits.softmax(dim=0)
    lines, heights = block.logits.get("lines"), block.logits.get("depth")
    roof = probabilities[: segments.background_class].sum(dim=0)
    return EvidenceBlock(
        block.window,
        _to_numpy(logits.max(dim=0).indices.byte()),
        _to_numpy(_find_direction(probabilities, segments.azimuth_bins)),
        _to_numpy(_pack(roof, PROBABILITY_SCALE).byte()),
        None if lines is None else _to_numpy(_pack(lines.sigmoid(), PROBABILITY_SCALE).byte()),
        None if heights is None else _to_numpy(_pack_heights(heights[0])),
    )


def _find_direction(probabilities: Tensor, num_bins: int) -> Tensor:
    """(2, h, w) int8, right and up."""
    if num_bins == 0:
        return probabilities.new_zeros((2, *probabilities.shape[1:]), dtype=torch.int8)
    vectors = torch.from_numpy(class_vectors(num_bins)).to(probabilities)
    expected = torch.einsum("cd,chw->dhw", vectors, probabilities[:num_bins])
    return _pack(expected, DIRECTION_SCALE).char()


def _pack(values: Tensor, scale: int) -> Tensor:
    """Whole numbers; 0 for what a network that has diverged says."""
    return (values.float() * scale).round().nan_to_num(nan=0.0)


def _pack_heights(heights: Tensor) -> Tensor:
    packed = heights.half()
    return packed.where(packed.isfinite(), torch.full_like(packed, torch.nan))


def _to_numpy(values: Tensor) -> npt.NDArray[Any]:
    return values.cpu().numpy().copy()
