"""Whether heights can be metres above ground, and if not, which unit and which zero are likely.

Every photo shows ground and things on it, so the lowest heights are near zero, and the highest are
those of houses and trees. Ridges lie above eaves.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats
from app.base.tasks import LINE_KINDS
from app.base.units import METRES_PER_UNIT, HeightUnit
from app.data.findings.report import Kind, Severity
from app.data.height_scale import HeightCount, HeightScale, count_heights
from app.data.plausibility.judgement import Judgement
from app.data.sample import Sample

_MIN_SAMPLES: Final = 5
_MIN_VALUES: Final = 100
# What software writes where it has no height.
_NO_DATA: Final = (-9999.0, -32768.0, -32767.0)
_MAX_STORED: Final = 1e6
_LOW, _HIGH = 2.0, 98.0  # percentiles: single wrong values say nothing
# From the lowest to the highest in a photo, median over samples. Houses have 3 to 15 m.
_RELIEF_M: Final = (1.0, 45.0)
_USUAL_RELIEF_M: Final = (2.0, 30.0)
_TYPICAL_RELIEF_M: Final = 7.0
# The lowest in a photo, in the tenth of the samples where it is lowest: ground, not a roof.
_MAX_GROUND_M: Final = 3.0
_DOUBTFUL_GROUND_M: Final = 1.5
_MIN_GROUND_M: Final = -1.0
_LOWEST_TENTH: Final = 10.0
# Beyond this the ground of the samples lies at different heights, and no one number brings it to 0.
_MAX_GROUND_SPREAD_M: Final = 5.0
# Slopes over 2 m, where the ground or roof is even: 20 to 45 degrees on roofs; walls are not even.
_SLOPE_REACH_M: Final = 1.0
_MAX_UNEVENNESS: Final = 0.15
_MIN_SLOPES: Final = 50
# In noise one place in a hundred looks even by chance; roofs are a fifth of a crop.
_MIN_EVEN_SHARE: Final = 0.03
_MAX_SLOPE: Final = 1.8
# Such slopes on things as tall as this are feet; on lower ones they may be smeared walls.
_TALL_RELIEF_M: Final = 15.0
_MIN_EAVE_PX: Final = 20
_MIN_RIDGE_OVER_EAVE: Final = 0.05  # of the relief
_MIN_SHARE: Final = 0.8
_MAX_DROPPED_SHARE: Final = 0.01
_MAX_SCALED_SPREAD: Final = 0.1

_KIND: Final[Kind] = "unusual heights"


class HeightFacts(NamedTuple):
    """What the stored heights of a sample are like, in the file's own unit.

    Attributes:
        counts: How many there are, and how many of them are usable.
        low: The lowest, but for single wrong ones; NaN where all are equal or too few.
        high: The highest.
        top: The very highest.
        slope: Median rise per metre where the surface is even and not level; NaN where it is not
            even anywhere.
        ridge_over_eave: Mean on ridges less mean on eaves; NaN where one is not drawn.
    """

    counts: HeightCount
    low: float
    high: float
    top: float
    slope: float
    ridge_over_eave: float


def judge_dropped(count: HeightCount) -> list[Judgement]:
    """Whether many heights are dropped because by the settings they are impossible."""
    if count.dropped_share <= _MAX_DROPPED_SHARE:
        return []
    remedy = "correct them, or their unit and zero, if these places are to be learned"
    return [Judgement("warning", _KIND, ("depth",), count.describe_dropped(), remedy)]


def find_heights(
    stored: npt.NDArray[np.float32], scale: HeightScale, sample: Sample
) -> HeightFacts:
    """The facts of a sample.

    Args:
        stored: (H, W) heights as the file holds them.
        scale: What the settings say about them.
        sample: The sample, for its lines and its scale.
    """
    count = count_heights(stored, scale)
    usable = np.isfinite(stored) & (abs(stored) <= _MAX_STORED) & ~np.isin(stored, _NO_DATA)
    heights = np.where(usable, stored, np.nan).astype(np.float64)
    values = heights[usable]
    if values.size < _MIN_VALUES or values.min() == values.max():
        return HeightFacts(count, *[math.nan] * 5)
    low, high = np.percentile(values, (_LOW, _HIGH))
    return HeightFacts(
        count,
        low=float(low),
        high=float(high),
        top=float(values.max()),
        slope=_median_slope(heights, sample["gsd_m"]),
        ridge_over_eave=_ridge_over_eave(heights, sample["lines"].numpy()),
    )


def _median_slope(heights: Floats, gsd_m: float) -> float:
    """Rise per metre, in the unit of the heights; of even places that are not level."""
    reach = max(1, round(_SLOPE_REACH_M / gsd_m))
    if min(heights.shape) <= 2 * reach:
        return math.nan
    middle = heights[reach:-reach, reach:-reach]
    sides = (
        (heights[reach:-reach, : -2 * reach], heights[reach:-reach, 2 * reach :]),
        (heights[: -2 * reach, reach:-reach], heights[2 * reach :, reach:-reach]),
    )
    rise = np.hypot(*(after - before for before, after in sides))
    bend = np.hypot(*(after + before - 2 * middle for before, after in sides))
    slopes = rise[bend < _MAX_UNEVENNESS * rise] / (2 * reach * gsd_m)
    if slopes.size < max(_MIN_SLOPES, _MIN_EVEN_SHARE * rise.size):
        return math.nan
    # Noise on level ground is no slope.
    return float(np.median(slopes[slopes > 0.1 * slopes.max()]))


def _ridge_over_eave(heights: Floats, lines: npt.NDArray[np.uint8]) -> float:
    eave, ridge = (
        heights[(lines[LINE_KINDS.index(kind)] == 1) & np.isfinite(heights)]
        for kind in ("eave", "ridge")
    )
    if min(eave.size, ridge.size) < _MIN_EAVE_PX:
        return math.nan
    return float(ridge.mean() - eave.mean())


def judge_heights(facts: Sequence[HeightFacts], scale: HeightScale) -> list[Judgement]:
    """What is wrong with the unit, the direction or the zero of heights.

    Args:
        facts: By sample.
        scale: What the settings say about them.
    """
    usable = [fact for fact in facts if np.isfinite(fact.low)]
    if len(usable) < _MIN_SAMPLES:
        return []
    return _judge_scaling(usable) or _Spread(usable, scale).judge()


def _judge_scaling(facts: Sequence[HeightFacts]) -> list[Judgement]:
    """Whether every sample was scaled to the same lowest and highest value."""
    (top, num_equal), *_ = Counter(fact.top for fact in facts).most_common()
    lows = [fact.low for fact in facts if fact.top == top]
    is_low_equal = np.ptp(lows) < _MAX_SCALED_SPREAD * (top - float(np.median(lows)))
    if num_equal < _MIN_SHARE * len(facts) or not is_low_equal:
        return []
    what = (
        f"heights reach from {np.median(lows):.4g} to exactly {top:g} in {num_equal} of "
        f"{len(facts)} samples: they were scaled sample by sample, and have no unit"
    )
    remedy = "write the heights as they were measured, in metres above ground"
    return [Judgement("error", _KIND, ("depth",), what, remedy)]


class _Spread:
    """The distribution of heights over samples, against that of metres above ground."""

    def __init__(self, facts: Sequence[HeightFacts], scale: HeightScale) -> None:
        self.scale = scale
        self.num_samples = len(facts)
        self.lows = np.array([fact.low for fact in facts], np.float32)
        self.highs = np.array([fact.high for fact in facts], np.float32)
        # As stored: without unit, direction and zero.
        self.relief = float(np.median(self.highs - self.lows))
        slopes = [fact.slope for fact in facts if np.isfinite(fact.slope)]
        self.slope = float(np.median(slopes)) if len(slopes) >= _MIN_SAMPLES else math.nan
        over_eave = np.array([fact.ridge_over_eave for fact in facts])
        over_eave = over_eave[np.isfinite(over_eave)]
        # In a share of the relief, so that a wrong unit does not hide it.
        self.over_eave = over_eave[abs(over_eave) > _MIN_RIDGE_OVER_EAVE * self.relief]

    def judge(self) -> list[Judgement]:
        """Unit, which way is up, and zero."""
        shape, is_error = self._judge_unit()
        texts = [text for text in (shape, self._judge_direction()) if text]
        is_error = is_error or len(texts) > bool(shape)
        likely = self._likely_scale()
        lowest_m, usual_m = self._ground(replace(likely, offset_m=self.scale.offset_m))
        remedy = "write the heights in metres above ground"
        if settings := self.scale.settings(likely):
            remedy = f"set {settings}, or {remedy}"
        if likely.offset_m != self.scale.offset_m:
            is_error = is_error or usual_m < _MIN_GROUND_M or lowest_m > _MAX_GROUND_M
            texts.append(
                f"the lowest heights of a sample are {usual_m:.1f} m in the median of "
                f"{self.num_samples} samples, and {lowest_m:.1f} m in the tenth of them where they "
                "are lowest: the zero is probably not the ground"
            )
            if usual_m - lowest_m > _MAX_GROUND_SPREAD_M:
                texts.append("the ground lies at different heights, so no one offset fits all")
                remedy = "subtract a terrain model, so that the heights are those above ground"
        if not texts:
            return []
        severity: Severity = "error" if is_error else "warning"
        return [Judgement(severity, _KIND, ("depth",), "; ".join(texts), remedy)]

    def _judge_unit(self) -> tuple[str, bool]:
        """What is wrong with the unit, if anything is, and whether that is beyond doubt."""
        unit_m = METRES_PER_UNIT[self.scale.unit]
        relief_m, slope = self.relief * unit_m, self.slope * unit_m
        is_possible = _RELIEF_M[0] <= relief_m <= _RELIEF_M[1]
        if is_possible and not slope > _MAX_SLOPE:
            return "", False
        units = self._likely_units()
        steepness = ""
        if slope > _MAX_SLOPE:
            steepness = f" with slopes of {math.degrees(math.atan(slope)):.0f} degrees"
        text = (
            f"heights span {relief_m:.4g} m{steepness} in the median of {self.num_samples} samples "
            f"(read as {self.scale.unit}): "
        )
        text += (
            f"they are probably {' or '.join(units)}" if units else "no unit makes houses of them"
        )
        if is_possible:
            text += ", or the metres per pixel are wrong"
        return text, not is_possible or (relief_m > _TALL_RELIEF_M and bool(units))

    def _judge_direction(self) -> str:
        """What is wrong with the direction of the heights, if anything is."""
        if not self._is_upside_down():
            return ""
        num_below = int(np.count_nonzero(self.over_eave * self.scale.metres_per_unit < 0))
        return (
            f"ridges lie lower than eaves in {num_below} of {len(self.over_eave)} samples: they "
            "are probably depths, seen from above"
        )

    def _likely_scale(self) -> HeightScale:
        """The settings by which the heights are most like metres above ground."""
        units = self._likely_units()
        scale = self.scale
        if self._judge_unit()[0]:
            if not units:
                return scale
            scale = replace(scale, unit=units[0])
        if self._is_upside_down():
            scale = replace(scale, positive="down" if scale.positive == "up" else "up")
        lowest_m, usual_m = self._ground(scale)
        if lowest_m > _DOUBTFUL_GROUND_M or usual_m < _MIN_GROUND_M:
            lowest_m, _ = self._ground(replace(scale, offset_m=0.0))
            scale = replace(scale, offset_m=round(-lowest_m, 1))
        return scale

    def _likely_units(self) -> list[HeightUnit]:
        """The units by which the heights are those of houses, the likeliest first."""
        units: list[HeightUnit] = [
            unit
            for unit, metres in METRES_PER_UNIT.items()
            if _USUAL_RELIEF_M[0] <= self.relief * metres <= _USUAL_RELIEF_M[1]
            and not self.slope * metres > _MAX_SLOPE
        ]
        return sorted(
            units,
            key=lambda unit: abs(math.log(self.relief * METRES_PER_UNIT[unit] / _TYPICAL_RELIEF_M)),
        )

    def _ground(self, scale: HeightScale) -> tuple[float, float]:
        """Lowest heights of a sample, metres: in the lowest tenth of samples, and in the median."""
        lows_m = np.minimum(scale.to_metres(self.lows), scale.to_metres(self.highs))
        return float(np.percentile(lows_m, _LOWEST_TENTH)), float(np.median(lows_m))

    def _is_upside_down(self) -> bool:
        is_below = self.over_eave * self.scale.metres_per_unit < 0
        return bool(len(is_below) >= _MIN_SAMPLES and np.mean(is_below) >= _MIN_SHARE)
