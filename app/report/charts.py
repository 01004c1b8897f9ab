"""Charts of the report: inline SVG that follows the page's light or dark colours."""

import io
import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

NUM_SERIES_COLOURS: Final = 9
# A grey, for what is not worth a colour.
GREY_INDEX: Final = 5
# Colours of a stack's layers; the grey is for the layer of everything else.
LAYER_COLOURS: Final = tuple(i for i in range(NUM_SERIES_COLOURS) if i != GREY_INDEX)
NUM_BAND_COLOURS: Final = 5
_DASHES: Final[tuple[Literal["solid", "dashed", "dotted"], ...]] = ("solid", "dashed", "dotted")

# matplotlib cannot write CSS variables, so it draws in colours that nothing else has, and they are
# replaced in its output.
_INK, _SOFT, _GRID = "#010a01", "#010a02", "#010a03"
_SERIES = tuple(f"#010b{index:02x}" for index in range(NUM_SERIES_COLOURS))
_BANDS = tuple(f"#010c{index:02x}" for index in range(NUM_BAND_COLOURS))
_VARIABLES: Final = {
    _INK: "var(--ink)",
    _SOFT: "var(--soft)",
    _GRID: "var(--grid)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES)},
    **{colour: f"var(--band-{index})" for index, colour in enumerate(_BANDS)},
}
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text: small, sharp, found by the browser's search
    "text.parse_math": False,
    "font.size": 11.0,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _SOFT,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _SOFT,
    "ytick.labelcolor": _SOFT,
    "text.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.xmargin": 0.01,
    "path.simplify_threshold": 0.5,
}


@dataclass(frozen=True)
class Series:
    """One line of a chart; a None in `y` is not drawn, the line crosses the gap.

    Attributes:
        label: As the legend names it.
        x: Positions.
        y: Values, as many as positions.
        dashed: For a limit rather than a measurement.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    dashed: bool = False

    def known(self) -> list[tuple[float, float]]:
        """The points that can be drawn."""
        pairs = zip(self.x, self.y, strict=True)
        return [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]


@dataclass(frozen=True)
class Band:
    """A shaded stretch of x.

    Attributes:
        start: First x.
        end: Last x.
        colour_index: In [0, NUM_BAND_COLOURS).
    """

    start: float
    end: float
    colour_index: int


@dataclass(frozen=True)
class Layer:
    """One area of a stack.

    Attributes:
        label: Its text in the chart's legend.
        values: Its height over each stretch of x.
        colour_index: In [0, NUM_SERIES_COLOURS).
    """

    label: str
    values: Sequence[float]
    colour_index: int


@dataclass(frozen=True)
class Frame:
    """What surrounds the lines or areas of a chart.

    Attributes:
        title: Plain text.
        x_label: Plain text, with the unit.
        bands: Shaded stretches behind the lines or areas.
        y_top: End of the y axis, which begins at 0; None lets the values decide.
        x_range: Ends of the x axis; None lets the values decide.
        whole_x: Whether ticks stand at whole numbers only.
        wide: As wide as the page instead of a third of it.
    """

    title: str
    x_label: str
    bands: Sequence[Band] = ()
    y_top: float | None = None
    x_range: tuple[float, float] | None = None
    whole_x: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing with its title and legend, as the templates take it.

    Attributes:
        title: Plain text.
        legend: Labels, each with the CSS of its swatch.
        svg: The drawing; None where there was nothing to draw.
        of_lines: Whether swatches are lines, not areas.
        wide: As wide as the page.
    """

    title: str
    legend: Sequence[tuple[str, str]]
    svg: Markup | None
    of_lines: bool
    wide: bool


def line_chart(series: Sequence[Series], frame: Frame) -> Chart:
    """A chart of lines.

    Args:
        series: At most NUM_SERIES_COLOURS lines; those without a known point are left out.
        frame: What is around them.
    """
    drawn = [one for one in series if one.known()]
    legend = [
        (one.label, f"border-top:3px {_dash_of(index, one)} var(--series-{index})")
        for index, one in enumerate(drawn)
    ]
    if not drawn:
        return Chart(frame.title, legend, None, of_lines=True, wide=False)
    with _style(frame):
        figure, axes = _begin(frame)
        for index, one in enumerate(drawn):
            _draw(axes, one, index)
        axes.set_ylim(bottom=0.0, top=frame.y_top)
        if frame.x_range is not None:
            axes.set_xlim(*frame.x_range)
        axes.xaxis.set_major_locator(
            MaxNLocator(10 if frame.wide else 6, integer=frame.whole_x, steps=[1, 2, 5, 10])
        )
        svg = _finish(figure, frame, [_describe(one) for one in drawn])
        return Chart(frame.title, legend, svg, of_lines=True, wide=frame.wide)


def area_chart(
    layers: Sequence[Layer],
    edges: Sequence[float],
    frame: Frame,
    ticks: Sequence[tuple[float, str]] | None = None,
) -> Chart:
    """A chart of areas on top of each other.

    Args:
        layers: From the bottom; each with one value less than there are edges, at least one.
        edges: Edges of the stretches of x, rising.
        frame: What is around them.
        ticks: Where words stand below the x axis, instead of numbers.
    """
    legend = [(layer.label, f"background:var(--series-{layer.colour_index})") for layer in layers]
    with _style(frame):
        figure, axes = _begin(frame)
        below = np.zeros(len(edges) - 1)
        for layer in layers:
            above = below + np.asarray(layer.values, dtype=np.float64)
            # Stretches, not points: so that a lone one can be seen.
            axes.fill_between(
                edges,
                np.append(below, below[-1]),
                np.append(above, above[-1]),
                step="post",
                color=_SERIES[layer.colour_index],
                linewidth=0,
            )
            below = above
        axes.set_ylim(bottom=0.0, top=frame.y_top)
        axes.set_xlim(edges[0], edges[-1])
        if ticks is not None:
            axes.set_xticks([x for x, _ in ticks], [words for _, words in ticks])
        else:
            axes.xaxis.set_major_locator(
                MaxNLocator(10, integer=frame.whole_x, steps=[1, 2, 5, 10])
            )
        means = [f"{layer.label} {_mean(layer, edges):.3g}" for layer in layers]
        svg = _finish(figure, frame, [f"on average {', '.join(means)}"])
        return Chart(frame.title, legend, svg, of_lines=False, wide=frame.wide)


def _mean(layer: Layer, edges: Sequence[float]) -> float:
    widths = np.diff(np.asarray(edges, dtype=np.float64))
    return float(np.average(layer.values, weights=widths))


def _describe(series: Series) -> str:
    """Where a line begins and ends, for those who do not see it."""
    (first_x, first_y), *_, (last_x, last_y) = [*series.known(), *series.known()]
    if len(series.known()) == 1:
        return f"{series.label} {first_y:.3g} at {first_x:g}"
    return f"{series.label} from {first_y:.3g} at {first_x:.4g} to {last_y:.3g} at {last_x:.4g}"


def _style(frame: Frame) -> AbstractContextManager[None]:
    # The salt makes names inside a drawing the same in every run, and different in every chart.
    return mpl.rc_context({**_STYLE, "svg.hashsalt": frame.title})


def _begin(frame: Frame) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(15.6, 3.9) if frame.wide else (5.4, 3.3), layout="constrained")
    axes = figure.add_subplot()
    for band in frame.bands:
        colour = _BANDS[band.colour_index]
        axes.axvspan(band.start, band.end, color=colour, linewidth=0)
    axes.set_xlabel(frame.x_label)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    return figure, axes


def _finish(figure: Figure, frame: Frame, words: Sequence[str]) -> Markup:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    return _inline(buffer.getvalue(), ": ".join([frame.title, "; ".join(words)]))


def _draw(axes: Axes, series: Series, index: int) -> None:
    points = series.known()
    x, y = zip(*points, strict=True)
    # What lies on the edge of the frame is drawn whole.
    style: dict[str, Any] = {"color": _SERIES[index], "clip_on": False}
    axes.plot(x, y, linewidth=1.8, linestyle=_dash_of(index, series), **style)
    if len(points) <= 2:  # a line of one point is invisible
        axes.plot(x, y, linestyle="", marker="o", markersize=6, **style)


def _dash_of(index: int, series: Series) -> Literal["solid", "dashed", "dotted"]:
    """So that lines are told apart without their colours; matplotlib and CSS know these names."""
    return "dashed" if series.dashed else _DASHES[index % len(_DASHES)]


def _inline(svg: str, title: str) -> Markup:
    """The drawing alone: no XML header, no metadata, no size, no names that two charts share.

    matplotlib has escaped all text in it.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    view_box = re.search(r'viewBox="([^"]*)"', body)
    assert view_box
    opening = Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(view_box[1], title)
    body = re.sub(r"<svg[^>]*>", lambda _: opening, body, count=1)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    return Markup(re.sub("|".join(_VARIABLES), lambda match: _VARIABLES[match.group()], body))
