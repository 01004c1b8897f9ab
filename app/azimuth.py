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

# The eight ways to lay a square image on itself: quarter turns, then perhaps a left-right flip.
NUM_SQUARE_SYMMETRIES = 8


def degrees_to_class(azimuth_deg: npt.ArrayLike, num_bins: int = NUM_BINS) -> npt.NDArray[np.int64]:
    """The class of each azimuth.

    Args:
        azimuth_deg: Degrees clockwise from north, any shape, any multiple of 360 off.
        num_bins: 4, 8 or 16.

    Returns:
        Same shape, int64 in [0, num_bins).
    """
    bin_deg = 360.0 / num_bins
    bins = np.floor((np.asarray(azimuth_deg, np.float64) % 360.0 + bin_deg / 2) / bin_deg)
    return bins.astype(np.int64) % num_bins


def class_to_degrees(class_id: npt.ArrayLike, num_bins: int = NUM_BINS) -> npt.NDArray[np.float64]:
    """The centre azimuth of each class, degrees clockwise from north in [0, 360)."""
    return np.asarray(class_id, np.float64) % num_bins * (360.0 / num_bins)


def turn_class(class_id: int, symmetry: int, num_bins: int = NUM_BINS) -> int:
    """The class a plane has after its image was flipped or turned.

    A quarter turn counter-clockwise takes 90 degrees off the azimuth; a left-right flip mirrors
    east and west, so it negates it.

    Args:
        class_id: Azimuth class before, in [0, num_bins).
        symmetry: In [0, 8): symmetry % 4 quarter turns counter-clockwise, then a left-right flip
            if symmetry >= 4.
        num_bins: A multiple of 4.

    Returns:
        Azimuth class after, in [0, num_bins).
    """
    turned = class_id - (symmetry % 4) * (num_bins // 4)
    return (-turned if symmetry >= 4 else turned) % num_bins
