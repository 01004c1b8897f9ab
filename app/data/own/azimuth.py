"""What azimuths in a file count from, and which way round: found by what outlines say.

Files differ in at least five ways: compass or 0 = south, to 360 or from -180 to 180, clockwise or
not, downhill or uphill (which is 0 = south again), from true north or from the grid's.
"""

from collections.abc import Mapping, Sequence
from typing import Final, get_args

import numpy as np

from app.base.errors import DataError
from app.base.units import AzimuthConvention, AzimuthNorth
from app.data.own.convention import AGREES_DEG, CONVENTIONS, Convention, Evidence, turn_between
from app.data.own.fields import find_field
from app.data.own.layout import TITLE

# Fields that mean one thing; outlines are believed before them.
_COMPASS_FIELDS: Final = (
    "azimuth_degrees", "azimuthDegrees", "roof:direction", "b3_azimut", "rf_azimuth",
)  # fmt: skip
_MIN_RATE: Final = 0.8
_MIN_LEAD: Final = 0.2
_MIN_PLANES: Final = 8
# Less than this between the grid and true north makes no difference.
_MIN_NORTH_DEG: Final = 0.3


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
    known: AzimuthConvention | None = next((each for each in CONVENTIONS if each == name), None)
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
    return bool((np.abs(between) <= AGREES_DEG).all())


def _find_north(evidence: Evidence, name: AzimuthConvention) -> AzimuthNorth:
    """The north by which azimuths lie evenly around the outlines' directions."""
    off = evidence.off_deg(name)
    near = np.abs(off) <= AGREES_DEG
    if near.sum() < _MIN_PLANES or np.abs(evidence.grid_north_deg[near]).mean() < _MIN_NORTH_DEG:
        return "true"
    from_true = np.median(off[near])
    from_grid = np.median(off[near] + evidence.grid_north_deg[near])
    return "grid" if abs(from_grid) < abs(from_true) else "true"


def _sorted(rates: Mapping[AzimuthConvention, float]) -> Sequence[tuple[AzimuthConvention, float]]:
    return sorted(rates.items(), key=lambda item: -item[1])
