"""What is stated of planes, corrected by how right it has proved where the truth is known.

Geometry says how a plane's direction was found, and not how often the network is wrong. On photos
that it was not trained on, planes of known direction tell two things, which are not one. How often
the direction is right, within 22.5 degrees: one that is not is another side of the roof, and no
wider standard deviation describes that. And how far off the right ones are. So confidence is the
probability of the first, by Platt scaling (Platt, Probabilistic outputs for support vector
machines, 1999), and a standard deviation is of the second, times a factor.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from scipy import special

from app.base.arrays import Floats
from app.base.errors import CheckpointError, first_line
from app.metrics.matched import RIGHT_DEG
from app.roofs.model import Plane, Roofs

# In model.json.
CALIBRATION_KEY: Final = "calibration"
# From so many planes on, what is measured of them is more than what is taken where nothing is.
ENOUGH_PLANES: Final = 100

# Right directions that lie anywhere within their limit, and pitches between level and vertical.
_MAX_AZIMUTH_SD_DEG: Final = RIGHT_DEG / math.sqrt(3.0)
_MAX_PITCH_SD_DEG: Final = 45.0 / math.sqrt(3.0)
_LEAST_CONFIDENCE: Final = 0.01


@dataclass(frozen=True)
class Calibration:
    """How to correct what is stated of planes.

    Attributes:
        num_planes: How many planes confidence was compared with; 0 where nothing was measured.
        confidence_intercept: Of the logit of confidence.
        confidence_slope: Of it, by the logit of what is stated.
        num_azimuths: How many right directions standard deviations were compared with.
        azimuth_factor: Of the standard deviations of azimuths.
        num_pitches: How many pitches standard deviations were compared with.
        pitch_factor: Of the standard deviations of pitches.
    """

    num_planes: int
    confidence_intercept: float
    confidence_slope: float
    num_azimuths: int
    azimuth_factor: float
    num_pitches: int
    pitch_factor: float

    @classmethod
    def of_model(cls, description: Mapping[str, Any]) -> Self:
        """That of a model; `UNMEASURED` where it has none.

        Args:
            description: The content of model.json.

        Raises:
            CheckpointError: If it has one that cannot be used.
        """
        described = description.get(CALIBRATION_KEY)
        if described is None:
            return cls(**asdict(UNMEASURED))
        try:
            found = cls(**{name: described[name] for name in asdict(UNMEASURED)})
            numbers = asdict(found).values()
            if not all(math.isfinite(number) for number in numbers):
                raise ValueError("a number is not finite")
            if min(found.azimuth_factor, found.pitch_factor) <= 0:
                raise ValueError("a factor is not above 0")
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"model.json: got a {CALIBRATION_KEY} that cannot be read ({first_line(error)}), "
                "expected that of `app evaluate --vectors --calibrate`; run it, or remove the entry"
            ) from error
        return found

    def to_json(self) -> dict[str, Any]:
        """As model.json has it."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }

    def correct(self, roofs: Roofs) -> Roofs:
        """The same roofs, of whose planes is stated what holds."""
        return replace(roofs, planes=tuple(map(self._correct, roofs.planes)))

    @property
    def is_enough(self) -> bool:
        """Whether it rests on what was measured, and hardly on what is taken otherwise."""
        return self.num_planes >= ENOUGH_PLANES

    def describe(self) -> str:
        """In words, how much it rests on."""
        if self.num_planes == 0:
            return "not measured: stated intervals are wide, and confidences low"
        text = f"measured on {self.num_planes} planes"
        return text if self.is_enough else f"{text}, too few: stated intervals are wide"

    def confidence(self, stated: npt.ArrayLike) -> Floats:
        """Probabilities to be right, of those that geometry states."""
        clipped = np.clip(stated, _LEAST_CONFIDENCE, 1 - _LEAST_CONFIDENCE)
        logit = self.confidence_intercept + self.confidence_slope * special.logit(clipped)
        return np.asarray(special.expit(logit), np.float64)

    def azimuth_sd_deg(self, stated: npt.ArrayLike) -> Floats:
        """Standard deviations of right azimuths, of those that geometry states."""
        return np.minimum(np.multiply(self.azimuth_factor, stated), _MAX_AZIMUTH_SD_DEG)

    def pitch_sd_deg(self, stated: npt.ArrayLike) -> Floats:
        """The same of pitches."""
        return np.minimum(np.multiply(self.pitch_factor, stated), _MAX_PITCH_SD_DEG)

    def _correct(self, plane: Plane) -> Plane:
        azimuth_sd, pitch_sd = plane.azimuth_sd_degrees, plane.pitch_sd_degrees
        return replace(
            plane,
            confidence=float(self.confidence(plane.confidence)),
            azimuth_sd_degrees=None
            if azimuth_sd is None
            else float(self.azimuth_sd_deg(azimuth_sd)),
            pitch_sd_degrees=None if pitch_sd is None else float(self.pitch_sd_deg(pitch_sd)),
        )


# Of networks that have learnt for minutes: what better ones state is too wide then, not too narrow.
UNMEASURED: Final = Calibration(0, -1.0, 0.5, 0, 3.0, 0, 3.0)
