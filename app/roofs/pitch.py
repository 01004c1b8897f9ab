"""How steep planes are, once it is known which way they run down."""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats
from app.roofs.directions import Direction, turn_between, unit
from app.roofs.settings import RoofSettings
from app.roofs.slope import Slope

# Of planes whose pitch is not known, where it is asked which way an edge bends: 35 degrees.
_USUAL_STEEPNESS: Final = 0.7
# Heights that run down another way than the plane say nothing of its pitch.
_MAX_OFF_RAD: Final = math.radians(60.0)
_MIN_SD_DEG: Final = 0.3
_MAX_PITCH_DEG: Final = 80.0


class Pitch(NamedTuple):
    """How steep a plane is.

    Attributes:
        steepness: Metres down per metre.
        degrees: The same as an angle.
        sd_degrees: Its standard deviation.
    """

    steepness: float
    degrees: float
    sd_degrees: float


def find_pitched(
    flat_share: Floats, slopes: list[Slope | None], settings: RoofSettings
) -> npt.NDArray[np.bool_]:
    """(P,) which planes run down in a direction: as their class says, else as their heights.

    Args:
        flat_share: (P,) as of `Votes`.
        slopes: P, of the heights.
        settings: What is flat.
    """
    steep = math.tan(math.radians(settings.flat_deg))
    by_heights = [slope is None or slope.steepness >= steep for slope in slopes]
    return np.where(np.isnan(flat_share), by_heights, flat_share < 0.5)


def find_pitch(
    slope: Slope | None, direction: Direction | None, is_pitched: bool, settings: RoofSettings
) -> Pitch | None:
    """The pitch of a plane, along its direction where it has one; None where heights do not say.

    Args:
        slope: Of its heights.
        direction: Which way it runs down.
        is_pitched: Whether it runs down in any.
        settings: What is flat.
    """
    if slope is None:
        return None
    azimuth = slope.downhill_rad
    if direction is not None:
        azimuth = direction.azimuth_rad
        if abs(float(turn_between(azimuth, slope.downhill_rad))) > _MAX_OFF_RAD:
            return None
    elif not is_pitched and slope.steepness > math.tan(math.radians(3 * settings.flat_deg)):
        return None  # it is flat, and its heights are something else's
    steepness, sd = slope.down(azimuth)
    degrees = math.degrees(math.atan(steepness))
    if not 0 <= degrees <= _MAX_PITCH_DEG:
        return None
    sd_degrees = math.degrees(sd / (1 + steepness**2))
    return Pitch(steepness, degrees, max(sd_degrees, _MIN_SD_DEG))


def downhill(direction: Direction | None, pitch: Pitch | None, is_pitched: bool) -> Floats | None:
    """(2,) metres down per metre east and north; (0, 0) where flat, None where nothing tells."""
    if not is_pitched:
        return np.zeros(2)
    if direction is None:
        return None
    steepness = _USUAL_STEEPNESS if pitch is None else pitch.steepness
    return steepness * unit(direction.azimuth_rad)
