"""Stated uncertainties that are measured, corrected, and hold on planes like those measured."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from app.base.errors import CheckpointError
from app.metrics.matched import RIGHT_DEG, MatchedPlanes, find_right
from app.roofs.calibrating import fit_calibration
from app.roofs.calibration import CALIBRATION_KEY, UNMEASURED, Calibration
from tests.support.roof_outputs import make_roofs

# An interval of 90 % in standard deviations.
HALF_INTERVAL_SD = 1.6449


def draw_planes(
    num_planes: int, seed: int, *, factor: float = 2.5, half_width_deg: float = 0.0
) -> MatchedPlanes:
    """Planes whose right directions are off by `factor` times what is stated; some are wrong.

    Of a plane that is stated to be right with a probability of p, the logit of the true one is half
    that of p; a wrong one is off by a quarter turn or a half one.
    """
    rng = np.random.default_rng(seed)
    sd = rng.uniform(0.5, 3.0, num_planes)
    stated = rng.uniform(0.3, 0.99, num_planes)
    is_right = rng.uniform(size=num_planes) < 1 / (1 + np.sqrt((1 - stated) / stated))
    turn = np.where(is_right, 0.0, rng.choice([90.0, 180.0], num_planes))
    true = rng.uniform(0, 360, num_planes)
    found = true + turn + rng.normal(0, factor * sd)
    if half_width_deg:
        width = 2 * half_width_deg
        true = np.round(true / width) * width
    pitch_sd = rng.uniform(0.5, 2.0, num_planes)
    return MatchedPlanes(
        np.abs((found - true + 180) % 360 - 180),
        np.full(num_planes, half_width_deg),
        find_right(true, found, half_width_deg),
        sd,
        stated,
        np.abs(rng.normal(0, 1.5 * pitch_sd)),
        pitch_sd,
        np.ones(num_planes, np.bool_),
        np.ones(num_planes, np.bool_),
    )


@pytest.mark.parametrize("half_width_deg", [0.0, 11.25])
def test_what_is_measured_holds_on_other_planes(half_width_deg: float) -> None:
    calibration = fit_calibration(draw_planes(600, 1, half_width_deg=half_width_deg))
    others = draw_planes(4000, 2)
    is_right = others.off_deg <= RIGHT_DEG
    assert calibration.num_azimuths == pytest.approx(600 * is_right.mean(), rel=0.1)
    interval_deg = HALF_INTERVAL_SD * calibration.azimuth_sd_deg(others.azimuth_sd_deg)
    held = others.off_deg[is_right] <= interval_deg[is_right]
    assert 0.86 <= held.mean() <= 0.94
    interval_deg = HALF_INTERVAL_SD * calibration.pitch_sd_deg(others.pitch_sd_deg)
    assert 0.87 <= (others.pitch_off_deg <= interval_deg).mean() <= 0.94
    # Confidences hold high and low, and not only on the whole.
    stated = calibration.confidence(others.confidence)
    for low, high in ((0.0, 0.65), (0.65, 0.8), (0.8, 1.0)):
        chosen = (stated >= low) & (stated < high)
        assert stated[chosen].mean() == pytest.approx(is_right[chosen].mean(), abs=0.08)


def test_nothing_measured_is_wide_and_little_measured_is_no_narrower() -> None:
    none = fit_calibration(MatchedPlanes.all_of([]))
    assert none == dataclasses.replace(UNMEASURED, azimuth_factor=pytest.approx(3.0))
    for seed in range(5):
        # A few planes that are all right, by a fifth of what is stated.
        few = draw_planes(12, seed, factor=0.2)
        few = few._replace(is_right=np.ones(12), off_deg=np.minimum(few.off_deg, 0.1))
        calibration = fit_calibration(few)
        assert calibration.azimuth_factor == UNMEASURED.azimuth_factor
        certain = float(calibration.confidence(0.95))
        assert certain < 0.95
        assert not calibration.is_enough
        assert calibration.describe() == (
            "measured on 12 planes, too few: stated intervals are wide"
        )
    # A few that are far off are believed at once.
    few = draw_planes(12, 0, factor=0.0)._replace(off_deg=np.full(12, 20.0))
    assert fit_calibration(few._replace(azimuth_sd_deg=np.ones(12))).azimuth_factor > 10


def test_what_is_surer_by_geometry_stays_no_less_sure() -> None:
    planes = draw_planes(400, 3)
    upside_down = planes._replace(confidence=1 - planes.confidence)
    assert fit_calibration(upside_down).confidence_slope == 0.0


def test_planes_without_azimuths_or_pitches_count_where_they_can() -> None:
    planes = draw_planes(200, 4)
    nan = np.full(200, math.nan)
    # All flat, in truth and by prediction, and no heights.
    flat = planes._replace(off_deg=nan, azimuth_sd_deg=nan, pitch_off_deg=nan, pitch_sd_deg=nan)
    calibration = fit_calibration(flat._replace(is_right=np.ones(200)))
    assert (calibration.num_planes, calibration.num_azimuths, calibration.num_pitches) == (
        200,
        0,
        0,
    )
    assert calibration.azimuth_factor == pytest.approx(UNMEASURED.azimuth_factor)
    assert calibration.confidence(0.9) > 0.95


def test_roofs_are_corrected_in_what_is_stated_alone() -> None:
    roofs = make_roofs()
    calibration = Calibration(300, -1.0, 0.5, 250, 2.0, 200, 3.0)
    corrected = calibration.correct(roofs)
    for plane, before in zip(corrected.planes, roofs.planes, strict=True):
        unchanged = {
            "confidence": before.confidence,
            "azimuth_sd_degrees": before.azimuth_sd_degrees,
            "pitch_sd_degrees": before.pitch_sd_degrees,
        }
        assert dataclasses.replace(plane, **unchanged) == before
        # 0.9375 is 15 to 1, of which the half of the logit is 3.87 to 1, less 1: 1.425 to 1.
        assert plane.confidence == pytest.approx(math.sqrt(15) / (math.sqrt(15) + math.e))
        assert plane.azimuth_sd_degrees == (None if before.azimuth_sd_degrees is None else 6.4)
        assert plane.pitch_sd_degrees == 4.5
    assert corrected.lines == roofs.lines
    # A right direction is within 22.5 degrees: its standard deviation is 13 at most.
    wide = dataclasses.replace(calibration, azimuth_factor=50.0, pitch_factor=50.0)
    plane = wide.correct(roofs).planes[0]
    assert plane.azimuth_sd_degrees == pytest.approx(RIGHT_DEG / math.sqrt(3))
    assert plane.pitch_sd_degrees == pytest.approx(45 / math.sqrt(3))


def test_a_model_says_its_own() -> None:
    calibration = Calibration(300, -1.25, 0.5, 250, 2.0, 200, 3.0)
    described = calibration.to_json() | {"data": "own", "split": "val"}
    assert Calibration.of_model({CALIBRATION_KEY: described}) == calibration
    assert Calibration.of_model({}) == UNMEASURED
    assert UNMEASURED.describe().startswith("not measured")
    assert calibration.describe() == "measured on 300 planes"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ({"azimuth_factor": None}, "must be real number"),
        ({"azimuth_factor": math.inf}, "a number is not finite"),
        ({"pitch_factor": 0.0}, "a factor is not above 0"),
        (None, "num_planes"),
    ],
)
def test_one_that_cannot_be_read_is_refused(damage: dict[str, Any] | None, reason: str) -> None:
    described = {} if damage is None else UNMEASURED.to_json() | damage
    with pytest.raises(CheckpointError, match=reason) as caught:
        Calibration.of_model({CALIBRATION_KEY: described})
    assert "run it, or remove the entry" in str(caught.value)
