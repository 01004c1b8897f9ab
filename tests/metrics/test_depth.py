"""Depth metrics on tables small enough to count by hand, and against NumPy."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError

from app.base.tasks import BACKGROUND_CLASS, FLAT_CLASS, IGNORE_INDEX, SOME_ROOF, find_task
from app.metrics.depth import DepthMetrics
from app.metrics.known import known_mask

NAN = math.nan
PREFIXES = ("", "above_half_m_", "roof_")


def compute(
    predicted: list[float], height: list[float], segments: list[int] | None = None
) -> DepthMetrics:
    metrics = DepthMetrics(find_task("depth"))
    classes = torch.tensor([[segments or [BACKGROUND_CLASS] * len(height)]])
    metrics.update(
        torch.tensor([[[predicted]]]),
        torch.tensor([[height]]),
        (classes < BACKGROUND_CLASS) | (classes == SOME_ROOF),
    )
    return metrics


def values_of(metrics: DepthMetrics) -> dict[str, float | None]:
    return {name: metric.value for name, metric in metrics.compute().items()}


def test_four_pixels() -> None:
    # Errors: 0.25 on ground, -1 and +2 on roof, -2 on a tree; the fifth pixel is unknown.
    metrics = compute(
        [0.25, 3.0, 6.0, 6.0, 9.0],
        [0.0, 4.0, 4.0, 8.0, NAN],
        [BACKGROUND_CLASS, 3, SOME_ROOF, BACKGROUND_CLASS, FLAT_CLASS],
    )
    expected = {
        "mae_m": 5.25 / 4,
        "bias_m": -0.75 / 4,
        "rmse_m": math.sqrt((0.0625 + 1 + 4 + 4) / 4),
        # Errors -2, -1, 0.25, 2: median -0.375, distances 0.625, 0.625, 1.625, 2.375.
        "nmad_m": 1.4826 * (0.625 + 1.625) / 2,
        "above_half_m_mae_m": 5 / 3,
        "above_half_m_bias_m": -1 / 3,
        "above_half_m_rmse_m": math.sqrt(3),
        # Errors -2, -1, 2: median -1, distances 0, 1, 3.
        "above_half_m_nmad_m": 1.4826,
        "roof_mae_m": 1.5,
        "roof_bias_m": 0.5,
        "roof_rmse_m": math.sqrt(2.5),
        "roof_nmad_m": 1.4826 * 1.5,
        # Over 4, 4 and 8 m: 1/4, 1/2, 1/4.
        "abs_rel": 1 / 3,
        # 4/3, 6/4 and 8/6 are all above 1.25.
        "delta_1": 0.0,
    }
    assert values_of(metrics) == pytest.approx(expected, abs=0.015)
    exact = {name: value for name, value in expected.items() if "nmad" not in name}
    assert {name: values_of(metrics)[name] for name in exact} == pytest.approx(exact, abs=0.001)
    supports = {name: metric.support for name, metric in metrics.compute().items()}
    assert (supports["mae_m"], supports["above_half_m_mae_m"], supports["roof_mae_m"]) == (4, 3, 2)
    assert supports["abs_rel"] == supports["delta_1"] == 3


def test_perfect() -> None:
    values = values_of(compute([0.0, 3.0, 7.5], [0.0, 3.0, 7.5], [17, 0, FLAT_CLASS]))
    assert values.pop("delta_1") == 1.0
    assert set(values.values()) == {0.0}


def test_all_unknown() -> None:
    metrics = compute([1.0, 2.0], [NAN, NAN], [0, 0])
    assert all(m.value is None and m.support == 0 for m in metrics.compute().values())


def test_no_roof_and_nothing_above_ground() -> None:
    values = values_of(compute([0.5], [0.0], [IGNORE_INDEX]))
    assert values["mae_m"] == 0.5
    for name in ("above_half_m_mae_m", "above_half_m_nmad_m", "abs_rel", "delta_1"):
        assert values[name] is None


def test_roof_is_left_out_where_no_height_is_of_a_known_roof() -> None:
    # As in Roofline, whose planes are unknown everywhere.
    values = values_of(compute([2.0, 5.0], [1.0, 4.0], [IGNORE_INDEX, IGNORE_INDEX]))
    assert values["above_half_m_mae_m"] == 1.0
    assert not any(name.startswith("roof_") for name in values)
    assert values_of(compute([2.0], [1.0], [SOME_ROOF]))["roof_mae_m"] == 1.0


def test_heights_that_teach_nothing_are_not_scored() -> None:
    heights = [math.inf, 60.5, 60.0, -0.5, -0.75, NAN]
    metrics = compute([0.0] * len(heights), heights)
    assert metrics.compute()["mae_m"].support == 2
    assert values_of(metrics)["mae_m"] == 60.5 / 2
    assert int(known_mask("depth", torch.tensor(heights)).sum()) == 2


def test_delta_1_is_the_same_for_too_high_and_too_low() -> None:
    # Ratios 1.2, 1.2, 1.3, 1.3; a height of 0 is infinitely far from 5.
    values = values_of(compute([6.0, 5.0, 6.5, 5.0, 0.0], [5.0, 6.0, 5.0, 6.5, 5.0]))
    assert values["delta_1"] == 2 / 5


@pytest.mark.parametrize("num_pixels", [1, 2, 999, 4000])
def test_against_numpy(num_pixels: int) -> None:
    rng = np.random.default_rng(num_pixels)
    height = rng.uniform(0, 12, num_pixels).astype(np.float32)
    error = 0.3 + 0.8 * rng.standard_t(3, num_pixels).astype(np.float32)
    classes = rng.choice([0, 7, FLAT_CLASS, BACKGROUND_CLASS, SOME_ROOF, IGNORE_INDEX], num_pixels)
    values = values_of(compute((height + error).tolist(), height.tolist(), classes.tolist()))
    chosen = (np.full(num_pixels, True), height > 0.5, (classes < 17) | (classes == SOME_ROOF))
    for prefix, region in zip(PREFIXES, chosen, strict=True):
        e = error[region].astype(np.float64)
        if not e.size:
            continue
        assert values[f"{prefix}mae_m"] == pytest.approx(np.abs(e).mean(), abs=0.0005)
        assert values[f"{prefix}bias_m"] == pytest.approx(e.mean(), abs=0.0005)
        assert values[f"{prefix}rmse_m"] == pytest.approx(np.sqrt((e**2).mean()), abs=0.0005)
        nmad = 1.4826 * np.median(np.abs(e - np.median(e)))
        assert values[f"{prefix}nmad_m"] == pytest.approx(nmad, abs=0.01)


def test_agrees_with_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    height = rng.uniform(0, 12, 3000).astype(np.float32)
    predicted = height + rng.normal(0.2, 0.8, 3000).astype(np.float32)
    values = values_of(compute(predicted.tolist(), height.tolist()))
    pair = torch.from_numpy(predicted), torch.from_numpy(height)
    # Errors are rounded to 1/1024 m.
    assert values["mae_m"] == pytest.approx(float(MeanAbsoluteError()(*pair)), abs=0.0001)
    mean_square = float(MeanSquaredError()(*pair))
    assert values["rmse_m"] == pytest.approx(math.sqrt(mean_square), abs=0.0001)


def test_errors_beyond_the_histogram_stand_in_its_last_bin() -> None:
    # Errors 100, -100 and 0: the median is 0, the median distance 60, where the histogram ends.
    values = values_of(compute([150.0, -50.0, 50.0], [50.0, 50.0, 50.0]))
    assert values["nmad_m"] == pytest.approx(1.4826 * 60)
    assert values["mae_m"] == pytest.approx(200 / 3)


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_diverged_heights_stay_a_number(bad: float) -> None:
    values = values_of(compute([bad, 5.0], [5.0, 5.0], [0, 0]))
    assert values["mae_m"] == 500.0
    assert values["delta_1"] == 0.5
