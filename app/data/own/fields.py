"""Fields of planes and lines: the names people's tools give them, and what their values mean."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.base.arrays import Flags, Floats
from app.base.azimuth import BIN_NAMES, NUM_BINS

# In the order in which they are looked for. Of others the only one with this part in its name.
_AZIMUTH_PART: Final = "azimut"
AZIMUTH_FIELDS: Final = (
    "azimuth_degrees", "azimuthDegrees", "azimuth", "aspect", "roof:direction", "b3_azimut",
    "rf_azimuth", "ROOFDIR",
)  # fmt: skip
PITCH_FIELDS: Final = (
    "pitch_degrees", "pitchDegrees", "tilt", "slope", "roof:angle", "b3_hellingshoek", "rf_slope",
)  # fmt: skip
FLAT_FIELDS: Final = ("flat", "is_flat")
KIND_FIELDS: Final = ("kind", "type", "class")

# Shapefiles cut names here.
_MAX_NAME_CHARS: Final = 10
# Less than this runs down to nowhere that one could see.
_MAX_FLAT_PITCH_DEG: Final = 3.0
# ArcGIS's Aspect says so of level ground.
_FLAT_AZIMUTH: Final = -1.0
_LETTERS: Final = {"N": "north", "E": "east", "S": "south", "W": "west"}
# "northnortheast" and all others. None in other languages: of O, west and east are both meant.
POINT_WORDS: Final = {"".join(_LETTERS[each] for each in name): name for name in BIN_NAMES}
_POINTS: Final = {
    **{name: i * 360 / NUM_BINS for i, name in enumerate(BIN_NAMES)},
    **{word.upper(): BIN_NAMES.index(name) * 360 / NUM_BINS for word, name in POINT_WORDS.items()},
}
# Also the signs that look like that of degrees.
_UNIT: Final = re.compile(r"\s*([°º˚]|deg\.?|degrees?)$", re.IGNORECASE)
_TRUE: Final = frozenset({"true", "t", "yes", "y", "on", "ja", "j"})
_FALSE: Final = frozenset({"", "none", "nan", "null", "false", "f", "no", "n", "off", "nein"})

# Channels of the lines task, and one more for lines of which the kind is not known.
EAVE, RIDGE, HIP, VALLEY, UNCLEAR = range(5)
# Rakes have no channel of their own, and are outlines as eaves are.
LINE_KINDS: Final[Mapping[str, int]] = {
    "eave": EAVE, "eaves": EAVE, "gutter": EAVE, "traufe": EAVE,
    "rake": EAVE, "rakes": EAVE, "verge": EAVE, "gable": EAVE, "ortgang": EAVE, "giebel": EAVE,
    "ridge": RIDGE, "ridges": RIDGE, "first": RIDGE,
    "hip": HIP, "hips": HIP, "grat": HIP,
    "valley": VALLEY, "valleys": VALLEY, "kehle": VALLEY,
    "other": UNCLEAR,
}  # fmt: skip
RAKES: Final = frozenset({"rake", "rakes", "verge", "gable", "ortgang", "giebel"})
KINDS_SHOWN: Final = "eave, rake, ridge, hip, valley or other"


def find_field(names: Sequence[str], known: Sequence[str]) -> str | None:
    """The first of the known fields that is there, in any case or cut; None if none is."""
    lower = {name.lower(): name for name in names}
    wanted = [name.lower()[:length] for length in (None, _MAX_NAME_CHARS) for name in known]
    return next((lower[name] for name in wanted if name in lower), None)


def find_azimuth_field(names: Sequence[str]) -> str | None:
    """The field of azimuths; None if there is none.

    Where none is known by its name, it is the only one that says so in part, as azimuth_deg does:
    what its numbers count from is asked of the outlines in any case.
    """
    known = find_field(names, AZIMUTH_FIELDS)
    alike = [name for name in names if _AZIMUTH_PART in name.lower()]
    return alike[0] if known is None and len(alike) == 1 else known


def read_degrees(values: npt.NDArray[Any]) -> tuple[Floats, Flags]:
    """Angles of a field of numbers or of texts such as "270", "270,5°", "WSW" or "north-west".

    Returns:
        (N,) degrees, NaN where there is none; and (N,) whether a value is there that is none.
    """
    if values.dtype.kind in "iufb":
        degrees = values.astype(np.float64)
        return degrees, np.isinf(degrees)
    found = [_to_degrees(value) for value in values]
    degrees = np.array([math.nan if number is None else number for number in found], np.float64)
    return degrees, np.array([number is None for number in found], np.bool_) | np.isinf(degrees)


def read_flags(values: npt.NDArray[Any]) -> tuple[Flags, Flags]:
    """Truth values of a field of such, of numbers, or of texts.

    Returns:
        (N,) whether each says yes; and (N,) whether it says neither yes nor no.
    """
    if values.dtype.kind in "iufb":
        return np.nan_to_num(values.astype(np.float64)) > 0, np.zeros(len(values), np.bool_)
    found = [_to_flag(str(value).strip().lower()) for value in values]
    flags = np.array([flag is True for flag in found], np.bool_)
    return flags, np.array([flag is None for flag in found], np.bool_)


def find_flat(
    azimuth_deg: Floats, pitch_deg: Floats | None, flags: Flags | None
) -> tuple[Floats, Flags]:
    """Which planes are flat, and the azimuths of the others.

    A plane is flat by its flag, by a pitch of 0 to 3 degrees, or by an azimuth of -1 among azimuths
    that are never below 0 else. A pitch below 0 stands for none.
    """
    is_flat = np.zeros(len(azimuth_deg), np.bool_) if flags is None else flags.copy()
    if pitch_deg is not None:
        is_flat |= (pitch_deg >= 0) & (pitch_deg <= _MAX_FLAT_PITCH_DEG)
    below = azimuth_deg < 0
    if below.any() and (azimuth_deg[below] == _FLAT_AZIMUTH).all():
        is_flat |= below
    return np.where(is_flat, np.nan, azimuth_deg), is_flat


def _to_degrees(value: object) -> float | None:
    """NaN where nothing is there, None where it is no angle."""
    text = "" if value is None else str(value).strip()
    if text.lower() in ("", "nan", "none", "null"):
        return math.nan
    point = re.sub(r"[\s_-]", "", text).upper()
    if point in _POINTS:
        return _POINTS[point]
    try:
        return float(_UNIT.sub("", text).replace(",", "."))
    except ValueError:
        return None


def _to_flag(text: str) -> bool | None:
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    try:
        return float(text) > 0
    except ValueError:
        return None
