"""Sums over angles: by hand, and against numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metrics.angles import AngleSums


def test_by_hand() -> None:
    sums = AngleSums([5.0])
    sums.add(np.array([1.0, 5.0, 9.0, np.nan]), np.full(4, np.nan), is_exact=True)
    values = sums.values("azimuth")
    assert values["azimuth_coverage"] == (0.75, 4)
    assert values["azimuth_error_deg"] == (5.0, 3)
    assert values["azimuth_error_median_deg"] == (5.0, 3)
    assert values["azimuth_in_interval_90"] == (None, 0)
    assert sums.shares_within() == [(pytest.approx(2 / 3), 3)]


def test_of_nothing() -> None:
    sums = AngleSums([5.0])
    sums.add(np.array([]), np.array([]), is_exact=True)
    assert all(value == (None, 0) for value in sums.values("pitch").values())
    assert sums.shares_within() == [(None, 0)]


def test_normal_errors_lie_in_their_intervals_90_times_of_100() -> None:
    rng = np.random.default_rng(0)
    sd_deg = rng.uniform(1, 20, 20_000)
    sums = AngleSums()
    sums.add(np.abs(rng.normal(0, sd_deg)).clip(max=180), sd_deg, is_exact=True)
    share, count = sums.values("azimuth")["azimuth_in_interval_90"]
    assert count == 20_000
    assert share == pytest.approx(0.9, abs=0.01)


@given(st.lists(st.floats(0, 180), min_size=1, max_size=40), st.integers(0, 40))
def test_as_numpy_has_it_however_it_is_parted(errors: list[float], cut: int) -> None:
    parts = [np.array(errors[:cut]), np.array(errors[cut:])]
    whole, pooled = AngleSums([22.5]), AngleSums([22.5])
    whole.add(np.array(errors), np.full(len(errors), 10.0), is_exact=True)
    states = []
    for part in parts:
        one = AngleSums([22.5])
        one.add(part, np.full(len(part), 10.0), is_exact=True)
        states.append(one.state())
    pooled.load_state(states[0] + states[1])
    assert np.array_equal(pooled.state(), whole.state())
    values = pooled.values("azimuth")
    assert values["azimuth_error_deg"][0] == pytest.approx(np.mean(errors), abs=1e-3)
    assert values["azimuth_error_median_deg"][0] == pytest.approx(np.median(errors), abs=0.051)
    assert values["azimuth_error_median_deg"][1] == len(errors)
