"""What was stated of found planes whose truth is known, and how far off it is."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import numpy as np

from app.base.arrays import Flags, Floats

# A direction that is off by more is another side of the roof, and not a less exact one.
RIGHT_DEG: Final = 22.5


class MatchedPlanes(NamedTuple):
    """Found planes with a true partner, N of them.

    Attributes:
        off_deg: (N,) angle between found and true azimuth, 0 to 180; NaN where one has none.
        half_width_deg: (N,) how far the true azimuth may be from the one that is known of it; 0
            where it is known in degrees, and not by its class.
        is_right: (N,) in [0, 1], whether the direction is within 22.5 degrees, or flat in both; of
            an azimuth known by its class, the probability of that.
        azimuth_sd_deg: (N,) as stated; NaN where none is.
        confidence: (N,) as stated.
        pitch_off_deg: (N,) error of the pitch; NaN where none is known, or found.
        pitch_sd_deg: (N,) as stated; NaN where none is.
        is_pitched: (N,) bool, whether it is pitched in truth.
        has_pitch: (N,) bool, whether its true pitch is known.
    """

    off_deg: Floats
    half_width_deg: Floats
    is_right: Floats
    azimuth_sd_deg: Floats
    confidence: Floats
    pitch_off_deg: Floats
    pitch_sd_deg: Floats
    is_pitched: Flags
    has_pitch: Flags

    @classmethod
    def all_of(cls, parts: Sequence[Self]) -> Self:
        """Those of many photos; none of none."""
        if not parts:
            none, never = np.zeros(0), np.zeros(0, np.bool_)
            return cls(none, none, none, none, none, none, none, never, never)
        return cls(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    @property
    def num_planes(self) -> int:
        """N."""
        return len(self.off_deg)


def angle_between(one_deg: Floats, other_deg: Floats) -> Floats:
    """(N,) the angle between directions, 0 to 180."""
    return np.asarray(np.abs((one_deg - other_deg + 180.0) % 360.0 - 180.0), np.float64)


def find_right(true_deg: Floats, found_deg: Floats, half_width_deg: float) -> Floats:
    """(N,) in [0, 1], as `MatchedPlanes.is_right`.

    Args:
        true_deg: (N,) azimuths; NaN where flat.
        found_deg: (N,) the same.
        half_width_deg: Of the class by which the true ones are known; 0 where they are exact.
    """
    off_deg = angle_between(found_deg, true_deg)
    if half_width_deg > 0:
        # The truth lies anywhere in its class, as likely here as there.
        is_right = np.clip((RIGHT_DEG + half_width_deg - off_deg) / (2 * half_width_deg), 0, 1)
    else:
        is_right = (off_deg <= RIGHT_DEG).astype(np.float64)
    both_flat = np.isnan(true_deg) & np.isnan(found_deg)
    return np.where(np.isnan(off_deg), both_flat, is_right).astype(np.float64)
