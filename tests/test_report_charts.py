"""Charts as inline SVG."""

from app.report_charts import Series, line_chart


def test_chart_has_no_colour_that_dark_mode_cannot_change() -> None:
    html = line_chart(
        [Series("a $b$ <c>", [1, 2, 3], [0.1, None, 0.3])], title="T", x_label="epoch"
    )
    assert "#010" not in html
    assert "var(--series-0)" in html
    assert "a $b$ &lt;c&gt;" in html
    assert "http" not in html


def test_chart_without_a_known_value_says_so() -> None:
    html = line_chart([Series("a", [1, 2], [None, None])], title="T", x_label="epoch")
    assert "Nothing recorded." in html
    assert "<svg" not in html


def test_lone_point_is_drawn_as_a_dot() -> None:
    one = line_chart([Series("a", [1], [0.5])], title="T", x_label="epoch")
    three = line_chart([Series("a", [1, 2, 3], [0.5, 0.4, 0.3])], title="T", x_label="epoch")
    dot = "fill: var(--series-0)"
    assert dot in one
    assert dot not in three
