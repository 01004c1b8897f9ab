"""Calibrations measured on found planes whose truth is known.

What is taken where nothing is measured counts like a few planes more, so that few planes make
intervals wider and confidences lower, and not the other way round.
"""

import math
from typing import Any, Final

import numpy as np
from scipy import optimize, special

from app.base.arrays import Floats
from app.metrics.matched import RIGHT_DEG, MatchedPlanes
from app.roofs.calibration import UNMEASURED, Calibration

_LEVEL: Final = 0.9
# Standard deviations on either side of the mean that hold 90 % of a normal distribution.
_HALF_INTERVAL_SD: Final = 1.6448536269514722
# What is taken where nothing is measured counts like so many planes.
_PRIOR_PLANES: Final = 10
# And of confidence, with such standard deviations of its intercept and slope.
_PRIOR_SD: Final = np.array([0.7, 0.35])
_LEAST_CONFIDENCE: Final = 0.01
_PRIOR_LOG_SD: Final = 0.5
# By so much the log likelihood falls within a standard error.
_STANDARD_ERROR: Final = 0.5
_MIN_FACTOR: Final = 0.2
_MAX_FACTOR: Final = 50.0
_LEAST_LIKELIHOOD: Final = 1e-12
_LEAST_HALF_WIDTH_DEG: Final = 0.5


def fit_calibration(planes: MatchedPlanes) -> Calibration:
    """What makes confidences hold, and intervals of 90 %, on planes like these.

    Args:
        planes: As they are stated by geometry alone, of photos that the network was not trained on.
    """
    stated = np.isfinite(planes.confidence)
    intercept, slope = _fit_confidence(planes.confidence[stated], planes.is_right[stated])
    # Of a class, whatever may be right.
    is_right = planes.off_deg <= RIGHT_DEG + planes.half_width_deg
    is_right &= np.isfinite(planes.azimuth_sd_deg)
    # Known in degrees they tell more, and enough of them tell all.
    is_exact = is_right & (planes.half_width_deg == 0)
    if is_exact.sum() >= min(30, is_right.sum()):
        num_azimuths = int(is_exact.sum())
        azimuth_factor = _fit_factor(
            planes.off_deg[is_exact] / planes.azimuth_sd_deg[is_exact], UNMEASURED.azimuth_factor
        )
    else:
        num_azimuths = int(is_right.sum())
        azimuth_factor = _fit_factor_by_class(
            planes.off_deg[is_right],
            planes.half_width_deg[is_right],
            planes.azimuth_sd_deg[is_right],
        )
    has_pitch = np.isfinite(planes.pitch_off_deg) & np.isfinite(planes.pitch_sd_deg)
    off_sd = planes.pitch_off_deg[has_pitch] / planes.pitch_sd_deg[has_pitch]
    return Calibration(
        int(stated.sum()),
        intercept,
        slope,
        num_azimuths,
        azimuth_factor,
        int(has_pitch.sum()),
        _fit_factor(off_sd, UNMEASURED.pitch_factor),
    )


def _fit_confidence(stated: Floats, is_right: Floats) -> tuple[float, float]:
    """Intercept and slope of the logit of the probability to be right, by the logit of the stated.

    Args:
        stated: (N,) probabilities.
        is_right: (N,) in [0, 1].
    """
    logit = special.logit(np.clip(stated, _LEAST_CONFIDENCE, 1 - _LEAST_CONFIDENCE))
    prior = np.array([UNMEASURED.confidence_intercept, UNMEASURED.confidence_slope])

    def loss(line: Floats) -> tuple[float, Floats]:
        z = line[0] + line[1] * logit
        off = (line - prior) / _PRIOR_SD
        total = (np.logaddexp(0, z) - is_right * z).sum() + 0.5 * (off**2).sum()
        wrong = special.expit(z) - is_right
        slope = np.array([wrong.sum(), (wrong * logit).sum()]) + off / _PRIOR_SD
        return float(total), slope

    # What is more sure by geometry is never less sure for that.
    bounds = [(None, None), (0.0, None)]
    found: Any = optimize.minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds)
    intercept, slope = found.x.tolist()
    return intercept, slope


def _fit_factor(off_sd: Floats, unmeasured: float) -> float:
    """The factor of standard deviations by which an interval of 90 % holds 90 %.

    It is a conformal quantile (Vovk, Gammerman and Shafer, Algorithmic learning in a random world,
    2005): no distribution of errors is taken for granted.

    Args:
        off_sd: (N,) errors in stated standard deviations.
        unmeasured: What holds where there are none.
    """
    prior = np.full(_PRIOR_PLANES, unmeasured * _HALF_INTERVAL_SD)
    ordered = np.sort(np.concatenate((off_sd, prior)))
    place = math.ceil(_LEVEL * (len(ordered) + 1)) - 1
    factor = float(ordered[min(place, len(ordered) - 1)]) / _HALF_INTERVAL_SD
    return min(max(factor, _MIN_FACTOR), _MAX_FACTOR)


def _fit_factor_by_class(off_deg: Floats, half_width_deg: Floats, sd_deg: Floats) -> float:
    """The same where the truth lies anywhere in a class: of normal errors, by their likelihood.

    It is a standard error above the likeliest one, as classes tell little of what is within them.

    Args:
        off_deg: (N,) angles to the middle of the true class.
        half_width_deg: (N,) of the classes.
        sd_deg: (N,) stated standard deviations.
    """
    if not len(off_deg):
        return UNMEASURED.azimuth_factor
    width_deg = np.maximum(half_width_deg, _LEAST_HALF_WIDTH_DEG)

    def loss(log_factor: float) -> float:
        sd = math.exp(log_factor) * sd_deg
        near, far = ((off_deg + side * width_deg) / sd for side in (-1, 1))
        likelihood = special.ndtr(far) - special.ndtr(near)
        off_prior = (log_factor - math.log(UNMEASURED.azimuth_factor)) / _PRIOR_LOG_SD
        total = np.log(np.maximum(likelihood, _LEAST_LIKELIHOOD)).sum()
        return 0.5 * off_prior**2 - float(total)

    low, high = math.log(_MIN_FACTOR), math.log(_MAX_FACTOR)
    fitted: Any = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded")
    likeliest, least = float(fitted.x), float(fitted.fun)
    if loss(high) - least <= _STANDARD_ERROR:
        return _MAX_FACTOR
    above = optimize.brentq(lambda x: loss(x) - least - _STANDARD_ERROR, likeliest, high)
    return math.exp(float(above))
