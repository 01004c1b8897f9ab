"""Compass bins: degrees to class and back, and what flips and turns of an image do to classes.

A roof plane's azimuth is the compass direction in which it runs down: 0 degrees is north,
clockwise. Class k of n covers the 360/n degrees around k * 360/n. Images are north up: x is east,
y is south.
"""

import numpy as np
import numpy.typing as npt

NUM_BINS = 16
BIN_NAMES = (
    "N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE",
    "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW",
)  # fmt: skip


def degrees_to_class(azimuth_deg: npt.ArrayLike, num_bins: int = NUM_BINS) -> npt.NDArray[np.int64]:
    """The class of each azimuth.

    Args:
        azimuth_deg: Degrees clockwise from north, any shape; multiples of 360 make no difference.
        num_bins: 1, 4, 8 or 16.

    Returns:
        Same shape, int64 in [0, num_bins).
    """
    bin_deg = 360.0 / num_bins
    bins = np.floor((np.asarray(azimuth_deg, np.float64) % 360.0 + bin_deg / 2) / bin_deg)
    return bins.astype(np.int64) % num_bins


def class_to_degrees(class_id: npt.ArrayLike, num_bins: int = NUM_BINS) -> npt.NDArray[np.float64]:
    """The centre azimuth of each class, degrees clockwise from north in [0, 360)."""
    return np.asarray(class_id, np.float64) % num_bins * (360.0 / num_bins)


def class_vectors(num_bins: int = NUM_BINS) -> npt.NDArray[np.float64]:
    """(num_bins, 2) unit vectors, east and north, of the centres of all classes."""
    azimuth_rad = np.radians(class_to_degrees(np.arange(num_bins), num_bins))
    return np.stack((np.sin(azimuth_rad), np.cos(azimuth_rad)), axis=1)


def bins_of_class(class_id: int, num_bins: int) -> tuple[int, ...]:
    """The coarser bins that hold part of a 16-bin class: one, or two where an edge cuts it in half.

    Args:
        class_id: In [0, 16).
        num_bins: 4, 8 or 16.

    Returns:
        One bin, or two neighbours (k, k + 1 mod num_bins) in this order.
    """
    step = NUM_BINS // num_bins
    lower, rest = divmod(class_id, step)
    if 2 * rest == step:
        return lower, (lower + 1) % num_bins
    return ((lower + (2 * rest > step)) % num_bins,)


def turn_class(class_id: int, turn_bins: int, flip: bool, num_bins: int = NUM_BINS) -> int:
    """The class a plane has after its image was turned and flipped.

    A turn clockwise adds to the azimuth; a left-right flip mirrors east and west, so it negates it.

    Args:
        class_id: Azimuth class before, in [0, num_bins).
        turn_bins: By how many bins the content was rotated clockwise; any integer.
        flip: Whether it was mirrored left-right after that.
        num_bins: Bins of the whole circle.

    Returns:
        Azimuth class after, in [0, num_bins).
    """
    turned = class_id + turn_bins
    return (-turned if flip else turned) % num_bins
