"""Charts as inline SVG."""

import re

import pytest

from app.report.charts import NUM_SERIES_COLOURS, Frame, Layer, Series, area_chart, line_chart
from app.report.page import read_style

EPOCHS = Frame("T", "epoch", whole_x=True)


def test_chart_has_no_colour_that_dark_mode_cannot_change() -> None:
    label = "a $b$ <c>"
    chart = line_chart([Series(label, [1, 2, 3], [0.1, None, 0.3])], EPOCHS)
    assert chart.svg
    assert "#010" not in chart.svg
    assert "var(--series-0)" in chart.svg
    assert "http" not in chart.svg
    assert chart.legend == [(label, "border-top:3px solid var(--series-0)")]


def test_texts_of_a_chart_are_escaped() -> None:
    frame = Frame('<T> "1"', "<x>")
    chart = line_chart([Series("a", [1, 2], [1.0, 2.0])], frame)
    assert chart.svg
    assert 'aria-label="&lt;T&gt; &#34;1&#34;: a from 1 at 1 to 2 at 2"' in chart.svg
    assert "&lt;x&gt;" in chart.svg
    assert "<x>" not in chart.svg


def test_chart_without_a_known_value_says_so() -> None:
    chart = line_chart([Series("a", [1, 2], [None, None])], EPOCHS)
    assert chart.svg is None
    assert chart.legend == []


def test_lone_point_is_drawn_as_a_dot() -> None:
    one = line_chart([Series("a", [1], [0.5])], EPOCHS)
    three = line_chart([Series("a", [1, 2, 3], [0.5, 0.4, 0.3])], EPOCHS)
    dot = "fill: var(--series-0)"
    assert dot in (one.svg or "")
    assert dot not in (three.svg or "")


def test_lines_are_known_without_their_colours() -> None:
    chart = line_chart([Series(str(i), [1, 2], [1.0, 2.0 + i]) for i in range(3)], EPOCHS)
    styles = [css.split()[1] for _, css in chart.legend]
    assert styles == ["solid", "dashed", "dotted"]
    assert (chart.svg or "").count("stroke-dasharray") == 2


def test_what_a_chart_shows_is_told_in_words() -> None:
    one = line_chart([Series("loss", [1], [0.5])], EPOCHS)
    assert 'aria-label="T: loss 0.5 at 1"' in (one.svg or "")
    area = area_chart([Layer("a", [1.0, 4.0], 0)], [0, 2, 3], Frame("T", "step"))
    assert 'aria-label="T: on average a 2"' in (area.svg or "")


def corners(html: str, colour_index: int) -> list[tuple[float, float]]:
    """Of the area in that colour, in the drawing's units."""
    areas = re.findall(r'<path id="(\w+)" d="([^"]*)"', html)
    used = re.findall(rf'xlink:href="#(\w+)"[^>]*var\(--series-{colour_index}\)', html)
    numbers = re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", dict(areas)[used[0]])
    return [(float(x), float(y)) for x, y in numbers]


def test_areas_stand_on_each_other_without_a_gap() -> None:
    layers = [Layer("low <b>", [1.0, 3.0], 7), Layer("high", [2.0, 2.0], 5)]
    chart = area_chart(layers, [0, 10, 30], Frame("T", "step"))
    html = chart.svg or ""
    low, high = corners(html, 7), corners(html, 5)
    # The y axis points down. Above the first stretch 1 and 3, above the second 3 and 5.
    low_heights = sorted({round(y, 2) for _, y in low}, reverse=True)
    high_heights = sorted({round(y, 2) for _, y in high}, reverse=True)
    zero, one, three = low_heights
    unit = zero - one
    assert zero - three == pytest.approx(3 * unit, rel=1e-3)
    assert high_heights[0] == pytest.approx(one, abs=0.01)
    assert zero - high_heights[-1] == pytest.approx(5 * unit, rel=1e-3)
    widths = sorted({round(x, 2) for x, _ in low})
    assert (widths[2] - widths[1]) == pytest.approx(2 * (widths[1] - widths[0]), rel=1e-3)
    assert chart.legend[0] == ("low <b>", "background:var(--series-7)")
    assert "#010" not in html


def test_areas_have_words_below_them() -> None:
    layers = [Layer("a", [1.0, 2.0], 0)]
    chart = area_chart(layers, [0, 1, 2], Frame("T", "x"), [(1.0, "middle")])
    assert chart.svg
    assert chart.svg.count(">middle<") == 1


def test_every_colour_is_defined_in_light_and_dark() -> None:
    style = read_style()
    for index in range(NUM_SERIES_COLOURS):
        assert style.count(f"--series-{index}:") == 2
