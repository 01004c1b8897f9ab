"""What the report says of the time of a step."""

from pathlib import Path

import pytest

from app.resources.steps import StepSeries
from tests.support.report import Page, make_metrics, make_steps, section, write


def with_steps(**more):
    return make_metrics() | {"step_time": make_steps().summary()} | more


def test_parts_of_a_step_have_their_means_and_shares(tmp_path: Path) -> None:
    machine = {"device": "cpu", "num_cores": 8}
    metrics = with_steps(hyperparameters={"num_workers": 2}, machine=machine)
    html = section(write(tmp_path, metrics=metrics, steps=make_steps().rows), "time")
    text = Page(html).text
    for row in (
        "waiting for data500.0 ms25.0 %",
        "copying to the device0.0 ms0.0 %",
        "forward and losses400.0 ms20.0 %",
        "backward800.0 ms40.0 %",
        "update of the weights50.0 ms2.5 %",
        "everything else250.0 ms12.5 %",
    ):
        assert row in text
    assert "Waiting for data takes 500 ms of it (25 %): raise num_workers from 2 " in text
    assert "A usual step takes 2.00 s" in text
    # Of 6 + 4 x 2 seconds.
    assert "1 of 5 steps was slow and took 6.00 s: 43 % of the time of all steps" in text
    assert html.count("<svg") == 1
    assert "#010" not in html


def test_slow_steps_have_their_share_of_the_run(tmp_path: Path) -> None:
    step_time = make_steps().summary() | {"num_slow": 75, "slow_s": 600.0, "all_steps_s": 1000.0}
    metrics = make_metrics() | {
        "step_time": step_time, "duration_s": 1200.0, "num_samples": 500,
    }  # fmt: skip
    text = Page(section(write(tmp_path, metrics=metrics), "time")).text
    assert (
        "75 of 79 steps were slow and took 10 min 0 s: 60 % of the time of all steps and 50 % of "
        "the run. With them, it is 0.5 samples a second."
    ) in text


def test_the_section_is_in_the_navigation(tmp_path: Path) -> None:
    assert '<a href="#time">Where the time goes</a>' in write(tmp_path)


def test_steps_are_averaged_where_there_are_many(tmp_path: Path) -> None:
    sizes = []
    for num_steps in (300, 3000):
        steps = make_steps(num_steps).rows
        sizes.append(len(write(tmp_path, metrics=with_steps(), steps=steps)))
    assert sizes[1] < 1.1 * sizes[0]


def test_a_lone_step_is_drawn(tmp_path: Path) -> None:
    series = make_steps(1)
    metrics = make_metrics() | {"step_time": series.summary()}
    html = section(write(tmp_path, metrics=metrics, steps=series.rows), "time")
    assert "var(--series-3)" in html
    assert "slow" not in html


def test_skipped_steps_have_times_but_no_loss(tmp_path: Path) -> None:
    series = StepSeries()
    for step in (1, 2):
        series.add(step, 4, None, dict.fromkeys(("step", "wait"), 1.0) | dict.fromkeys(
            ("transfer", "forward", "backward", "optimizer"), 0.0))  # fmt: skip
    metrics = make_metrics() | {"step_time": series.summary()}
    html = write(tmp_path, metrics=metrics, steps=series.rows)
    assert "waiting for data1,000.0 ms100.0 %" in Page(section(html, "time")).text


@pytest.mark.parametrize("step_time", [None, {}, {"step_s": None}])
def test_a_run_without_times(step_time, tmp_path: Path) -> None:
    metrics = make_metrics() | {"step_time": step_time}
    html = write(tmp_path, metrics=metrics)
    assert Page(section(html, "time")).text == "Where the time goesNothing recorded."


def test_means_without_a_series_are_shown(tmp_path: Path) -> None:
    html = section(write(tmp_path, metrics=with_steps()), "time")
    assert "backward800.0 ms" in Page(html).text
    assert "<svg" not in html
