"""What azimuths in a file count from, and which way round: found by what outlines say.

Files differ in at least five ways: compass or 0 = south, to 360 or from -180 to 180, clockwise or
not, downhill or uphill (which is 0 = south again), from true north or from the grid's.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, get_args

import numpy as np

from app.base.arrays import Floats
from app.base.errors import DataError
from app.base.units import AzimuthConvention, AzimuthNorth
from app.data.own.fields import find_field
from app.data.own.layout import TITLE

# Compass azimuth = sign * azimuth + degrees. In the order of preference.
_CONVENTIONS: Final[Mapping[AzimuthConvention, tuple[int, int]]] = {
    "compass": (1, 0),
    "south0": (1, 180),
    "east0": (1, 90),
    "west0": (1, 270),
    "compass_ccw": (-1, 0),
    "south0_ccw": (-1, 180),
    "east0_ccw": (-1, 90),
    "west0_ccw": (-1, 270),
}
# Fields that mean one thing; outlines are believed before them.
_COMPASS_FIELDS: Final = (
    "azimuth_degrees", "azimuthDegrees", "roof:direction", "b3_azimut", "rf_azimuth",
)  # fmt: skip
# Half of a bin and half of the next: the right convention is nearer, but for outlines misread.
_AGREES_DEG: Final = 22.5
_MIN_RATE: Final = 0.8
_MIN_LEAD: Final = 0.2
_MIN_PLANES: Final = 8
# Less than this between the grid and true north makes no difference.
_MIN_NORTH_DEG: Final = 0.3


class Convention(NamedTuple):
    """What azimuths count from.

    Attributes:
        name: The convention.
        north: Which north they count from.
        why: How it is known, for the log.
        doubt: Why it may be wrong; empty where nothing speaks against it.
    """

    name: AzimuthConvention
    north: AzimuthNorth
    why: str
    doubt: str = ""

    def to_true(self, azimuth_deg: Floats, grid_north_deg: Floats) -> Floats:
        """(N,) degrees clockwise from true north.

        Args:
            azimuth_deg: (N,) as stored.
            grid_north_deg: (N,) where the grid of the file's reference system points there.
        """
        sign, offset = _CONVENTIONS[self.name]
        compass = sign * azimuth_deg + offset
        return np.asarray(compass + (grid_north_deg if self.north == "grid" else 0.0), np.float64)


@dataclass(frozen=True)
class Evidence:
    """What is known of N planes whose outlines tell a direction.

    Attributes:
        stored_deg: (N,) azimuths as stored.
        facing_deg: (N,) directions by the outlines, clockwise from true north.
        grid_north_deg: (N,) where the grid of the file's reference system points there.
    """

    stored_deg: Floats
    facing_deg: Floats
    grid_north_deg: Floats

    @functools.cached_property
    def rates(self) -> dict[AzimuthConvention, float]:
        """Share of the planes on which each convention agrees with the outlines."""
        return {
            name: float((np.abs(self.off_deg(name)) <= _AGREES_DEG).mean()) for name in _CONVENTIONS
        }

    def off_deg(self, name: AzimuthConvention) -> Floats:
        """(N,) by how much a convention's directions differ from the outlines'."""
        compass = Convention(name, "true", "").to_true(self.stored_deg, self.grid_north_deg)
        return turn_between(compass, self.facing_deg)


def find_convention(
    evidence: Evidence, field: str, where: str, name: str, north: str
) -> Convention:
    """The convention of a file's azimuths.

    Args:
        evidence: Planes whose outlines tell a direction.
        field: The field.
        where: File, layer and field, for messages.
        name: A convention, or "auto".
        north: "true", "grid" or "auto".

    Raises:
        DataError: If it is to be found and none agrees with the outlines; shows the rates.
    """
    known: AzimuthConvention | None = next((each for each in _CONVENTIONS if each == name), None)
    doubt = ""
    if known is not None:
        why, doubt = f"by own_azimuth={name}", _doubt(evidence, where, known)
    elif len(evidence.stored_deg) < _MIN_PLANES and find_field([field], _COMPASS_FIELDS):
        known, why = "compass", "by its name: too few outlines tell a direction"
    else:
        known = _choose(evidence, where)
        num_planes = len(evidence.stored_deg)
        why = f"agrees with the outlines of {evidence.rates[known]:.0%} of {num_planes} planes"
    if north == "auto":
        return Convention(known, _find_north(evidence, known), why, doubt)
    return Convention(known, "grid" if north == "grid" else "true", why, doubt)


def turn_between(first: Floats, second: Floats) -> Floats:
    """Degrees from the second to the first, in [-180, 180)."""
    return np.asarray((first - second + 180) % 360 - 180, np.float64)


def _choose(evidence: Evidence, where: str) -> AzimuthConvention:
    num_planes = len(evidence.stored_deg)
    names = ", ".join(get_args(AzimuthConvention))
    remedy = f"set own_azimuth to one of {names} (docs/datasets.md)"
    if num_planes < _MIN_PLANES:
        raise DataError(
            f"{TITLE}: {where}: what azimuths count from cannot be found: the outlines of "
            f"{num_planes} planes tell a direction, expected {_MIN_PLANES}; {remedy}"
        )
    rates = evidence.rates
    best = max(rates, key=lambda name: rates[name])
    rivals = [name for name in rates if name != best and not _say_the_same(evidence, best, name)]
    second = max((rates[name] for name in rivals), default=0.0)
    if rates[best] < _MIN_RATE or rates[best] - second < _MIN_LEAD:
        found = ", ".join(f"{name} {rate:.0%}" for name, rate in _sorted(rates))
        raise DataError(
            f"{TITLE}: {where}: what azimuths count from is not clear: of {num_planes} planes "
            f"whose outlines tell a direction, these agree with it: {found}; expected one with at "
            f"least {_MIN_RATE:.0%} and {_MIN_LEAD:.0%} more than the next; {remedy}"
        )
    return best


def _doubt(evidence: Evidence, where: str, name: AzimuthConvention) -> str:
    """What outlines say against a convention that the user has set; empty if nothing."""
    num_planes = len(evidence.stored_deg)
    if num_planes < _MIN_PLANES:
        return ""
    best = max(evidence.rates, key=lambda each: evidence.rates[each])
    own_rate, best_rate = evidence.rates[name], evidence.rates[best]
    if best_rate < _MIN_RATE or best_rate - own_rate < _MIN_LEAD:
        return ""
    return (
        f"{where}: own_azimuth={name} agrees with the outlines of {own_rate:.0%} of {num_planes} "
        f"planes, {best} with {best_rate:.0%}: planes may face the wrong way; see that it is right"
    )


def _say_the_same(evidence: Evidence, first: AzimuthConvention, second: AzimuthConvention) -> bool:
    """Whether two conventions differ on no plane by more than a bin."""
    between = turn_between(evidence.off_deg(first), evidence.off_deg(second))
    return bool((np.abs(between) <= _AGREES_DEG).all())


def _find_north(evidence: Evidence, name: AzimuthConvention) -> AzimuthNorth:
    """The north by which azimuths lie evenly around the outlines' directions."""
    off = evidence.off_deg(name)
    near = np.abs(off) <= _AGREES_DEG
    if near.sum() < _MIN_PLANES or np.abs(evidence.grid_north_deg[near]).mean() < _MIN_NORTH_DEG:
        return "true"
    from_true = np.median(off[near])
    from_grid = np.median(off[near] + evidence.grid_north_deg[near])
    return "grid" if abs(from_grid) < abs(from_true) else "true"


def _sorted(rates: Mapping[AzimuthConvention, float]) -> Sequence[tuple[AzimuthConvention, float]]:
    return sorted(rates.items(), key=lambda item: -item[1])
