"""What the report says of time and memory."""

from pathlib import Path

import pytest

from app.report.steps import StepSeries
from tests.support.report import (
    HOSTILE,
    Page,
    make_memory,
    make_metrics,
    make_profile,
    make_steps,
    write,
    write_full,
)


def section(html: str, name: str) -> str:
    start = html.index(f'<section id="{name}">')
    return html[start : html.index("</section>", start) + len("</section>")]


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
    assert "The first step, of 6.00 s, pays for what is done once, and is left out." in text
    assert html.count("<svg") == 1
    assert "#010" not in html


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
    assert "first step" not in html


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


def test_holders_of_memory_have_their_shares(tmp_path: Path) -> None:
    metrics = make_metrics() | {"memory_profile": make_profile()}
    html = section(write(tmp_path, metrics=metrics), "memory")
    text = Page(html).text
    assert "Its tensors took at most 4.00 GiB of memory." in text
    # Of 3 + 1 + 1 GiB.
    assert "activations of layer1main memory3.000 GiB60.0 %3.000 GiB" in text
    assert "parametersmain memory1.000 GiB20.0 %1.000 GiB" in text
    assert "data workersmain memory1.000 GiB20.0 %1.000 GiB" in text
    # Parameters do not change, so they lie below.
    assert text.index("GiBparameters") < text.index("activations of layer1main")
    assert "backward" in text
    assert "#010" not in html


def test_memory_of_a_gpu_is_apart_from_that_of_the_host(tmp_path: Path) -> None:
    metrics = make_metrics() | {"memory_profile": make_profile("cuda")}
    text = Page(section(write(tmp_path, metrics=metrics), "memory")).text
    assert "activations of layer1GPU3.000 GiB75.0 %" in text
    assert "data workersmain memory1.000 GiB100.0 %" in text


def test_many_holders_share_a_grey(tmp_path: Path) -> None:
    metrics = make_metrics() | {"memory_profile": make_profile(num_holders=20)}
    text = Page(section(write(tmp_path, metrics=metrics), "memory")).text
    # Eight colours, so ten of the nineteen that hold tensors are drawn as one.
    assert text.count("everything else") == 1
    assert "holder 10main memory" in text
    assert "And 5 smaller ones, listed in metrics.json." in text


def test_names_of_holders_are_escaped(tmp_path: Path) -> None:
    profile = make_profile()
    profile["holders"].append(HOSTILE)
    profile["outside_gib"][HOSTILE] = 0.5
    page = Page(write(tmp_path, metrics=make_metrics() | {"memory_profile": profile}))
    assert "script" not in {tag for tag, _ in page.tags}


def test_unique_peak_is_told_apart_from_shared_memory(tmp_path: Path) -> None:
    rows = make_memory()
    text = Page(section(write(tmp_path, memory=rows), "memory")).text
    assert "USS) were" not in text  # never measured
    for row, uss_gib in zip(rows, (0.5, 1.25, None), strict=True):
        row["uss_gib"] = uss_gib
    text = Page(section(write(tmp_path, memory=rows), "memory")).text
    assert "Unique to one process or another (USS) were at most 1.25 GiB" in text


def test_everything_together_is_one_well_formed_page(tmp_path: Path) -> None:
    html = write_full(tmp_path)
    identifiers = [attributes["id"] for _, attributes in Page(html).tags if attributes.get("id")]
    assert len(identifiers) == len(set(identifiers))
