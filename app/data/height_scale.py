"""How the heights of a file become metres above ground: unit, direction, zero, and what is lost."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from app.base.counts import Counts
from app.base.tasks import DEPTH_RANGE_M
from app.base.units import METRES_PER_UNIT, HeightUnit

Positive = Literal["up", "down"]


@dataclass(frozen=True)
class HeightScale:
    """What the settings say about the heights of a file.

    Attributes:
        prefix: What the names of these settings begin with, such as roofline_depth.
        unit: Unit of the stored values.
        positive: "down" where they measure how far below a common level things lie.
        offset_m: Added once they are metres that grow upwards.
    """

    prefix: str
    unit: HeightUnit = "metres"
    positive: Positive = "up"
    offset_m: float = 0.0

    @property
    def metres_per_unit(self) -> float:
        """Metres upwards that a stored value of 1 more stands for; negative where it is down."""
        metres = METRES_PER_UNIT[self.unit]
        return metres if self.positive == "up" else -metres

    def to_metres(self, stored: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Metres above ground, of the same shape; unchanged if they are already."""
        if self.metres_per_unit == 1 and self.offset_m == 0:
            return stored
        # Damaged values stay impossible ones.
        with np.errstate(invalid="ignore", over="ignore"):
            return stored * np.float32(self.metres_per_unit) + np.float32(self.offset_m)

    def settings(self, other: "HeightScale") -> str:
        """The settings by which the other scale differs, as a person writes them."""
        words = []
        if other.unit != self.unit:
            words.append(f"{self.prefix}_unit={other.unit}")
        if other.positive != self.positive:
            words.append(f"{self.prefix}_positive={other.positive}")
        if other.offset_m != self.offset_m:
            words.append(f"{self.prefix}_offset_m={other.offset_m:g}")
        return " and ".join(words)


@dataclass(frozen=True)
class HeightCount(Counts):
    """How many heights there are, and how many of them are of no use.

    Attributes:
        num_values: Pixels.
        num_missing: Those without a number.
        num_dropped: Those with one that by the settings is impossible, so that they become unknown.
    """

    num_values: int = 0
    num_missing: int = 0
    num_dropped: int = 0

    @property
    def dropped_share(self) -> float:
        """Of the values that are numbers."""
        return self.num_dropped / max(1, self.num_values - self.num_missing)

    def describe_dropped(self) -> str:
        """How many are dropped, and why."""
        low_m, high_m = DEPTH_RANGE_M
        return (
            f"{100 * self.dropped_share:.1f} % of the heights ({self.num_dropped:,} of "
            f"{self.num_values - self.num_missing:,}) are outside of {low_m:g} to {high_m:g} m and "
            "become unknown"
        )


def count_heights(stored: npt.NDArray[np.float32], scale: HeightScale) -> HeightCount:
    """How many of the stored values are no numbers, and how many are impossible."""
    low_m, high_m = DEPTH_RANGE_M
    metres = scale.to_metres(stored)
    is_number = np.isfinite(stored)
    is_possible = (metres >= low_m) & (metres <= high_m)
    return HeightCount(
        stored.size,
        int(np.count_nonzero(~is_number)),
        int(np.count_nonzero(is_number & ~is_possible)),
    )
