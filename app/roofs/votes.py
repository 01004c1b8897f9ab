"""Which way the network says that each pixel and each plane runs down."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats, Labels
from app.base.azimuth import class_vectors
from app.base.tasks import BACKGROUND_CLASS, FLAT_CLASS
from app.roofs.evidence import PROBABILITY_SCALE, RoofEvidence, as_shares


class Votes(NamedTuple):
    """What the pixels of N planes say together.

    Attributes:
        mean: (N, 2) mean unit vector, right and up in the photo; its length is how much they agree.
        flat_share: (N,) of the pixels with a class of direction or flat, those that are flat; NaN
            where there are none.
        roof_share: (N,) mean probability of a roof.
        half_width_rad: How far a vote may be off because classes are so wide.
    """

    mean: Floats
    flat_share: Floats
    roof_share: Floats
    half_width_rad: float


def pixel_votes(
    part: RoofEvidence, classes: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(h, w) right and up parts of each pixel's vote; 0 where it has none.

    Args:
        part: A part of a photo, in memory.
        classes: (h, w) its classes as of `class_table`.
    """
    if part.direction_x is not None and part.direction_y is not None:
        is_roof = classes < BACKGROUND_CLASS
        is_roof &= classes != FLAT_CLASS
        x, y = (
            _as_fraction(np.asarray(layer)) * is_roof
            for layer in (part.direction_x, part.direction_y)
        )
        return x, y
    table = np.zeros((2, 256), np.float32)
    if part.num_bins > 1:
        table[:, : part.num_bins] = class_vectors(part.num_bins).T
    return table[0][classes], table[1][classes]


def sum_votes(
    part: RoofEvidence, classes: npt.NDArray[np.uint8], labels: Labels, num_planes: int
) -> Votes:
    """What the pixels of each plane say together.

    Args:
        part: A part of a photo, in memory.
        classes: (h, w) its classes as of `class_table`.
        labels: (h, w) 1..num_planes, 0 outside.
        num_planes: N.
    """
    inside = np.flatnonzero(labels)
    plane, class_id = labels.ravel()[inside] - 1, classes.ravel()[inside]

    def add(values: npt.NDArray[np.float32] | npt.NDArray[np.bool_]) -> Floats:
        return np.bincount(plane, values, num_planes).astype(np.float64)

    votes = [add(image.ravel()[inside]) for image in pixel_votes(part, classes)]
    flat, pitched = add(class_id == FLAT_CLASS), add(class_id < FLAT_CLASS)
    size = np.bincount(plane, minlength=num_planes)
    with np.errstate(invalid="ignore"):
        flat_share = flat / (flat + pitched)
    roof_share = np.ones(num_planes)
    if part.roof_probability is not None:
        roof_share = add(as_shares(np.asarray(part.roof_probability).ravel()[inside])) / size
    mean = np.stack(votes, axis=1) / np.maximum(pitched, 1)[:, None]
    has_vectors = part.direction_x is not None
    half_width = np.pi / part.num_bins * (0.5 if has_vectors else 1.0)
    return Votes(mean, flat_share, roof_share, half_width)


def _as_fraction(layer: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if layer.dtype == np.uint8:
        steps = np.float32(PROBABILITY_SCALE / 2)
        return np.where(layer > PROBABILITY_SCALE, np.float32(0), layer / steps - np.float32(1))
    return np.asarray(layer, np.float32)
