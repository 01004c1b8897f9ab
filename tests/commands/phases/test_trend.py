import math

import numpy as np
import pytest

from app.commands.phases.trend import find_trend


def series(num_steps, slope, noise, rng, likeness=0.0):
    """A line with noise of which each value keeps a part of the one before."""
    shocks = rng.normal(0, noise * math.sqrt(1 - likeness**2), num_steps)
    values = rng.normal(0, noise, num_steps)
    for i in range(1, num_steps):
        values[i] = likeness * values[i - 1] + shocks[i]
    return range(1, num_steps + 1), 2.0 + slope * np.arange(num_steps) + values


def test_an_exact_line():
    trend = find_trend(*series(50, -0.01, 0.0, np.random.default_rng(0)))
    assert trend.slope == pytest.approx(-1.0)
    assert trend.stderr == pytest.approx(0, abs=1e-6)
    assert trend.verdict == "yes"
    # Means of the first and the last ten: 1.955 and 1.555.
    assert trend.change == pytest.approx((1.555 - 1.955) / 1.955)


# Of 20 steps 18 count: the shortest phases. 95 % is asked for; of a line through single steps it is
# 63 % of those whose neighbours are most alike.
@pytest.mark.parametrize("num_steps", [20, 50, 200])
@pytest.mark.parametrize("likeness", [0.0, 0.3, 0.6])
def test_the_interval_holds_the_slope_as_often_as_it_says(num_steps, likeness):
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(600):
        trend = find_trend(*series(num_steps, -0.002, 0.1, rng, likeness))
        held += abs(trend.slope + 0.2) <= trend.half_width
    assert 0.86 < held / 600 < 0.985


@pytest.mark.parametrize(
    ("slope", "noise", "verdict"),
    [
        (-0.01, 0.05, "yes"),
        (0.01, 0.05, "no"),  # it rises
        (0.0, 0.01, "no"),  # flat, and surely so
        (0.0, 0.8, "too short to say"),  # anything may hide in that noise
    ],
)
def test_verdicts(slope, noise, verdict):
    trend = find_trend(*series(60, slope, noise, np.random.default_rng(2)))
    assert trend.verdict == verdict


def test_a_few_steps_say_nothing():
    trend = find_trend([1, 2, 3, 4, 5, 6, 7, 8], [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert trend.verdict == "too short to say"
    assert trend.slope is None
    assert trend.describe() == "unknown"


def test_constant_losses():
    trend = find_trend(range(1, 31), [0.0] * 30)
    assert trend.slope == 0
    assert trend.change is None
