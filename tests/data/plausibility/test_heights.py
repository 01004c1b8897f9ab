"""Heights in another unit, upside down, with another zero; and sound ones."""

import numpy as np
import pytest
import torch

from app.data.height_scale import HeightCount, HeightScale, count_heights
from app.data.plausibility.heights import find_heights, judge_dropped, judge_heights
from app.data.sample import with_unknown

SIDE_PX = 200
GSD_M = 0.05
PREFIX = "roofline_depth"
METRES = HeightScale(PREFIX)


def house(seed):
    """(H, W) float32 metres and (4, H, W) lines: a gable of about 35 degrees on even ground."""
    rng = np.random.default_rng(seed)
    eave_m, half_px = rng.uniform(2.5, 6), 70
    from_ridge_px = abs(np.arange(SIDE_PX) - SIDE_PX // 2)
    slope = np.tan(np.radians(rng.uniform(28, 42)))
    roof_m = eave_m + (half_px - from_ridge_px) * GSD_M * slope
    heights = np.where(from_ridge_px <= half_px, roof_m, 0.0)[:, None].repeat(SIDE_PX, axis=1)
    heights[:, :30] = 0
    lines = np.zeros((4, SIDE_PX, SIDE_PX), np.uint8)
    lines[1, SIDE_PX // 2, 30:] = 1
    lines[0, SIDE_PX // 2 - half_px + 1, 30:] = 1
    noise = rng.normal(0, 0.02, heights.shape)
    return (heights + noise).clip(0).astype(np.float32), lines


def find(change, scale, num_samples=10, with_lines=True):
    facts = []
    for seed in range(num_samples):
        heights, lines = house(seed)
        image = torch.zeros((3, SIDE_PX, SIDE_PX), dtype=torch.uint8)
        targets = {"lines": torch.from_numpy(lines)} if with_lines else {}
        sample = {**with_unknown(image, targets), "gsd_m": GSD_M}
        facts.append(find_heights(change(heights, seed).astype(np.float32), scale, sample))
    return facts


def judge(change, scale=METRES, **options):
    return judge_heights(find(change, scale, **options), scale)


def test_facts_of_a_house():
    [fact] = find(lambda heights, _: heights, METRES, num_samples=1)
    heights, _ = house(0)
    assert fact.counts == HeightCount(SIDE_PX**2, 0, 0)
    assert fact.low == pytest.approx(0, abs=0.1)
    assert fact.top == heights.max()
    assert 0.5 < fact.slope < 0.95  # 28 to 42 degrees
    assert fact.ridge_over_eave == pytest.approx(69 * GSD_M * fact.slope, rel=0.05)


def test_metres_above_ground_raise_nothing():
    assert judge(lambda heights, _: heights) == []
    assert judge(lambda heights, _: heights, with_lines=False) == []


# What is stored, the settings that set it right, words of the finding, how serious it is.
SPOILED = {
    "centimetres": (lambda h, _: 100 * h, {"unit": "centimetres"}, "probably centimetres", True),
    "millimetres": (
        lambda h, _: np.rint(1000 * h), {"unit": "millimetres"}, "probably millimetres", True,
    ),
    "decimetres": (lambda h, _: 10 * h, {"unit": "decimetres"}, "probably decimetres", True),
    "feet": (lambda h, _: h / 0.3048, {"unit": "feet"}, "probably feet", True),
    "above the sea": (
        lambda h, _: h + 34.2, {"offset_m": -34.2},
        "lowest heights of a sample are 34.2 m in the median of 10 samples", True,
    ),
    "below a geoid": (lambda h, _: h - 20, {"offset_m": 20.0}, "samples, and -20.0 m in", True),
    "two metres high": (lambda h, _: h + 2, {"offset_m": -2.0}, "lowest heights of a", False),
    "negative": (lambda h, _: -h, {"positive": "down"}, "ridges lie lower than eaves in 10", True),
    "from the camera": (
        lambda h, _: 300 - h, {"positive": "down", "offset_m": 300.0}, "probably depths", True,
    ),
    "cm from the camera": (
        lambda h, _: 30000 - 100 * h,
        {"unit": "centimetres", "positive": "down", "offset_m": 300.0},
        "probably centimetres; ridges lie lower than eaves", True,
    ),
    "cm above the sea": (
        lambda h, _: 100 * h + 3420, {"unit": "centimetres", "offset_m": -34.2},
        "probably centimetres; the lowest heights", True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_unit_direction_and_zero_are_named_and_the_settings_named_cure_them(name):
    change, settings, words, is_error = SPOILED[name]
    [found] = judge(change)
    assert (found.severity == "error") == is_error
    assert found.tasks == ("depth",)
    assert words in found.what
    scale = HeightScale(PREFIX, **settings)
    shown = [f"{PREFIX}_{key}={value}" for key, value in settings.items() if key != "offset_m"]
    assert all(text in found.remedy for text in shown)
    if "offset_m" in settings:
        named = float(found.remedy.split(f"{PREFIX}_offset_m=")[1].split(",")[0].split()[0])
        assert named == pytest.approx(settings["offset_m"], abs=0.2)
    else:
        assert "offset_m" not in found.remedy
    assert judge(change, scale) == []
    for seed in range(3):
        heights, _ = house(seed)
        stored = change(heights, seed).astype(np.float32)
        assert np.abs(scale.to_metres(stored) - heights).max() < 1e-3


def test_a_wrong_setting_is_named_too():
    scale = HeightScale(PREFIX, unit="centimetres")
    [found] = judge(lambda heights, _: heights, scale)
    assert "read as centimetres" in found.what
    assert "roofline_depth_unit=metres" in found.remedy


def test_ground_at_different_heights_has_no_offset():
    [found] = judge(lambda heights, seed: heights + 20 + 4 * seed)
    assert found.severity == "error"
    assert "different heights, so no one offset fits all" in found.what
    assert found.remedy.startswith("subtract a terrain model")


def test_heights_scaled_sample_by_sample_have_no_unit():
    [found] = judge(lambda heights, _: heights / heights.max())
    assert "to exactly 1 in 10 of 10 samples: they were scaled sample by sample" in found.what
    # Over all samples at once.
    [found] = judge(lambda heights, _: heights / 20)
    assert found.severity == "error"
    assert "(read as metres): no unit makes houses of them" in found.what
    assert found.remedy == "write the heights in metres above ground"


def test_wide_houses_and_missing_values_do_not_mislead():
    def damage(heights, seed):
        damaged = heights.copy()
        rng = np.random.default_rng(seed)
        damaged[rng.random(heights.shape) < 0.1] = np.nan
        damaged[rng.random(heights.shape) < 0.1] = -9999
        damaged[rng.random(heights.shape) < 0.01] = 3e38
        return damaged

    assert judge(damage) == []
    assert judge(lambda heights, _: np.full_like(heights, 5)) == []
    assert judge(lambda heights, _: 100 * heights, num_samples=4) == []


def test_values_that_are_dropped_are_counted_apart_from_those_that_are_missing():
    stored = np.array([[0, -0.4, -0.6, 60, 61, np.nan, np.inf, 5, 5, 5]], np.float32)
    count = count_heights(stored, METRES)
    assert count == HeightCount(num_values=10, num_missing=2, num_dropped=2)
    assert count + count == HeightCount(20, 4, 4)
    [found] = judge_dropped(count)
    assert found.severity == "warning"
    assert found.what.startswith("25.0 % of the heights (2 of 8) are outside of -0.5 to 60 m")
    assert judge_dropped(HeightCount(1000, 100, 9)) == []


def test_metres_are_not_touched_and_centimetres_are_exact_to_the_float():
    stored = np.array([[0.1, 0.7, np.nan]], np.float32)
    assert METRES.to_metres(stored) is stored
    scale = HeightScale(PREFIX, "centimetres", "down", 12.0)
    expected = np.array([[11.999, 11.993, np.nan]], np.float32)
    assert np.allclose(scale.to_metres(stored), expected, equal_nan=True)
