"""Differences and chance, worked out by hand."""

import pytest

from app.metrics.chance import Results, judge


def share(*values, count=30):
    return Results(values, count, highest=1.0, lower_is_better=False)


def degrees(*values, count=100):
    return Results(values, count, highest=180.0, lower_is_better=True)


def test_seeds_tell_by_their_spread():
    # A spread of sqrt(0.0004 / 2) = 0.014142, and t = 4.302653 for two degrees of freedom.
    found = judge(share(0.50, 0.52), share(0.60, 0.62))
    assert found.difference == pytest.approx(0.1)
    assert found.least == pytest.approx(4.302653 * 0.0141421, rel=1e-5)
    assert (found.basis, found.verdict) == ("seeds", "better")
    assert judge(share(0.60, 0.62), share(0.50, 0.52)).verdict == "worse"
    assert judge(share(0.50, 0.52), share(0.53, 0.55)).verdict == "may be chance"


def test_one_run_beside_several_is_judged_by_their_spread():
    # t = 12.7062 for one degree of freedom, a spread of 0.0141421 over both, times sqrt(1 / 2 + 1).
    found = judge(share(0.50, 0.52), share(0.9))
    assert found.least == pytest.approx(12.7062 * 0.0141421 * 1.5**0.5, rel=1e-5)
    assert found.verdict == "better"


@pytest.mark.parametrize(
    ("count", "least", "verdict"),
    [(30, 0.250486, "may be chance"), (3000, 0.0250486, "better")],
)
def test_of_two_runs_support_tells(count, least, verdict):
    # 1.959964 times the root of (0.5 * 0.5 + 0.6 * 0.4) / count.
    found = judge(share(0.5, count=count), share(0.6, count=count))
    assert found.least == pytest.approx(least, rel=1e-5)
    assert (found.basis, found.verdict) == ("support", verdict)


def test_of_errors_less_is_better():
    # 1.959964 times the root of (30 * 150 + 40 * 140) / 100.
    found = judge(degrees(30.0), degrees(40.0))
    assert found.least == pytest.approx(19.6974, rel=1e-4)
    assert found.verdict == "may be chance"
    assert judge(degrees(30.0), degrees(60.0)).verdict == "worse"
    assert judge(degrees(60.0), degrees(30.0)).verdict == "better"


@pytest.mark.parametrize(("count", "highest"), [(30, None), (0, 1.0)])
def test_without_a_most_or_anything_counted_nothing_is_said(count, highest):
    one, other = (Results((value,), count, highest, True) for value in (1.0, 2.0))
    found = judge(one, other)
    assert (found.least, found.basis, found.verdict) == (None, None, "not known")
    assert found.difference == 1.0
