"""Plots of the phases: memory, time of a step, losses."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.commands.phases.rows import MEMORY_PHASES
from app.resources.steps import PARTS

Row = Mapping[str, Any]

_COLOURS: Final = ("#1f5fbe", "#d1570a", "#1c7a45", "#a03b97", "#8a6d00", "#5b6370")
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 10.0, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False,
}  # fmt: skip


def write_plots(folder: Path, rows: Sequence[Row]) -> list[tuple[str, Path]]:
    """Write the plots; titles and files of those for which there is data.

    Args:
        folder: Made if it is not there.
        rows: One for each phase.
    """
    done = [row for row in rows if row.get("step_s")]
    if not done:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    plots: tuple[tuple[str, str, Callable[[Axes, Sequence[Row]], None]], ...] = (
        ("Peak memory by phase", "memory.png", _draw_memory),
        ("Where the time of a step goes", "step_time.png", _draw_time),
        ("Loss over samples seen", "loss.png", _draw_losses),
    )
    written = []
    for title, name, draw in plots:
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(8.0, 3.4), layout="constrained")
            axes = figure.add_subplot()
            axes.set_title(title, loc="left")
            draw(axes, done)
            figure.savefig(folder / name, dpi=100, metadata={"Software": None})
        written.append((title, folder / name))
    return written


def _draw_memory(axes: Axes, rows: Sequence[Row]) -> None:
    width = 0.8 / len(MEMORY_PHASES)
    for number, phase in enumerate(MEMORY_PHASES):
        heights = [row["memory"][phase]["peak_gib"] or 0.0 for row in rows]
        places = [place + (number - 1.5) * width for place in range(len(rows))]
        axes.bar(places, heights, width, color=_COLOURS[number], label=phase)
    expected = [
        (place, row["predicted_peak_gib"])
        for place, row in enumerate(rows)
        if row.get("predicted_peak_gib") is not None
    ]
    if expected:
        begins, ends = ([place + side for place, _ in expected] for side in (-0.4, 0.4))
        predicted = [gib for _, gib in expected]
        axes.hlines(predicted, begins, ends, color="black", linestyle="--", label="predicted")
    axes.set_xticks(range(len(rows)), [f"phase {row['name']}" for row in rows])
    axes.set_ylabel("GiB")
    axes.legend(ncols=5, loc="upper left", bbox_to_anchor=(0, -0.1))


def _draw_time(axes: Axes, rows: Sequence[Row]) -> None:
    left = [0.0] * len(rows)
    for number, part in enumerate((*PARTS, "rest")):
        widths = [row[f"{part}_s"] for row in rows]
        axes.barh(range(len(rows)), widths, 0.7, left, color=_COLOURS[number], label=part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [f"phase {row['name']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("seconds a step")
    axes.legend(ncols=6, loc="upper left", bbox_to_anchor=(0, -0.18))


def _draw_losses(axes: Axes, rows: Sequence[Row]) -> None:
    for number, row in enumerate(rows):
        seen = [step * row["samples_per_step"] for step in row["losses"]["steps"]]
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(seen, row["losses"]["values"], color=colour, label=f"phase {row['name']}")
    axes.set_xlabel("samples seen")
    axes.set_ylabel("loss")
    axes.legend(ncols=6, loc="upper left", bbox_to_anchor=(0, -0.18))
