"""report.html: what a run has learnt, for people who look at roofs and not at code.

One file that needs no network and no script; everything a user named is escaped.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from app.base.tasks import Task, find_task
from app.metrics.headlines import CHARTS, curves
from app.report.charts import Series, line_chart
from app.report.costs import memory_html, time_html
from app.report.page import page_html
from app.report.pictures import Image8, Panel, compass_svg, legend_html, panel_html
from app.report.tables import (
    NOT_TRAINED,
    TASK_TITLES,
    bad_files_html,
    confusion_html,
    distribution_html,
    finite,
    headline_html,
    is_trained,
    metrics_html,
    settings_html,
)

__all__ = ["Image8", "Panel", "write_report"]

History = Sequence[Mapping[str, object]]

_SECTIONS: Final = (
    ("pictures", "Roofs the model has not seen"),
    ("curves", "Learning"),
    ("confusion", "Which class is taken for which"),
    ("time", "Where the time goes"),
    ("memory", "Memory"),
    ("data", "Data"),
    ("metrics", "All numbers"),
)


def write_report(
    path: Path,
    history: History,
    metrics: Mapping[str, Any],
    memory_csv: Path,
    panels: Sequence[Panel],
    tasks: Sequence[Task],
    steps_csv: Path | None = None,
) -> None:
    """Write the report.

    Args:
        path: The HTML file.
        history: Rows of metrics.jsonl, one per epoch; may be empty.
        metrics: Content of metrics.json; whatever is missing is left out.
        memory_csv: Written by MemorySampler; need not exist.
        panels: Validation images, about six.
        tasks: Of the network.
        steps_csv: Written by StepSeries; need not exist.
    """
    values = metrics.get("metrics") or {}
    parts = {
        "pictures": _pictures_html(panels, tasks),
        "curves": _curves_html(history, values, tasks),
        "confusion": _confusions_html(metrics, tasks),
        "time": time_html(steps_csv, metrics),
        "memory": memory_html(
            memory_csv, metrics.get("memory") or {}, metrics.get("memory_profile")
        ),
        "data": _data_html(metrics),
        "metrics": metrics_html(values),
    }
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in _SECTIONS)
    sections = "".join(
        f'<section id="{name}"><h2>{title}</h2>{parts[name]}</section>' for name, title in _SECTIONS
    )
    body = (
        f"<header>{_opening_html(metrics)}<nav>{links}</nav></header>"
        f"<main>{headline_html(values, tasks)}{_untrained_html(values, tasks)}{sections}</main>"
        "<footer>Every number on this page is in metrics.json, metrics.jsonl, memory.csv or "
        "steps.csv beside it. Scores are of the validation images, which were not trained on."
        "</footer>"
    )
    path.write_text(page_html("Roof model: training report", body), encoding="utf-8")


def _opening_html(metrics: Mapping[str, Any]) -> str:
    """What was trained, on what, for how long, and whether it came to its end."""
    stopped = bool(metrics.get("stopped"))
    badge = ("warn", "Stopped early on request") if stopped else ("good", "Finished")
    facts = []
    for name, dataset in (metrics.get("datasets") or {}).items():
        num_train, num_val = dataset.get("num_train", "?"), dataset.get("num_val", "?")
        if num_train == 0:
            facts.append(
                f"Not trained on <b>{escape(str(name))}</b>, but checked against "
                f"{escape(str(num_val))} of its images."
            )
            continue
        facts.append(
            f"Trained on <b>{escape(str(name))}</b>: {escape(str(num_train))} images to learn "
            f"from and {escape(str(num_val))} to check against."
        )
    epochs, steps = finite(metrics.get("epochs")), finite(metrics.get("steps"))
    if epochs is not None and steps is not None:
        plural = "" if epochs == 1 else "s"
        facts.append(f"{epochs:.0f} round{plural} through the data, {steps:,.0f} steps.")
    duration_s = finite(metrics.get("duration_s"))
    if duration_s is not None:
        facts.append(f"Took {_duration_text(duration_s)}.")
    return (
        f'<span class="badge {badge[0]}">{badge[1]}</span><h1>Roof model: training report</h1>'
        f'<p class="lead soft">{" ".join(facts)}</p>'
    )


def _duration_text(duration_s: float) -> str:
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _untrained_html(values: Mapping[str, Mapping[str, Any]], tasks: Sequence[Task]) -> str:
    """The tasks of which the model says nothing useful; nothing if there are none."""
    names = [TASK_TITLES[task.name] for task in tasks if not is_trained(task.name, values)]
    if not values or not names:
        return ""
    return (
        f'<p class="warn" style="margin-top:16px"><b>{" and ".join(names)}: {NOT_TRAINED}.</b> '
        "What the model says about them means nothing.</p>"
    )


def _pictures_html(panels: Sequence[Panel], tasks: Sequence[Task]) -> str:
    if not panels:
        return '<p class="soft">No validation image was drawn.</p>'
    blocks = "".join(panel_html(panel, tasks) for panel in panels)
    compass = compass_svg(find_task("segments", tasks))
    return f'<div class="key">{compass}{legend_html(tasks)}</div>{blocks}'


def _curves_html(
    history: History, values: Mapping[str, Mapping[str, Any]], tasks: Sequence[Task]
) -> str:
    if not history:
        return '<p class="soft">No epoch was finished.</p>'
    charts = [
        _history_chart(history, "Loss (lower is better)", (("train/loss", "all tasks"),)),
        *(
            _history_chart(
                history,
                f"Loss of {TASK_TITLES[task.name].lower()}",
                ((f"train/{task.name}/loss", "training"), (f"val/{task.name}/loss", "validation")),
            )
            for task in tasks
            if is_trained(task.name, values)
        ),
        *(_history_chart(history, chart.title, curves(chart), chart.y_top) for chart in CHARTS),
    ]
    return f'<div class="charts">{"".join(charts)}</div>'


def _history_chart(
    history: History, title: str, columns: Sequence[tuple[str, str]], y_top: float | None = None
) -> str:
    """A chart over epochs; empty if no column of it was ever known."""
    epochs = [finite(row.get("epoch")) or index for index, row in enumerate(history, start=1)]
    lines = [
        Series(label, epochs, [finite(row.get(column)) for row in history])
        for column, label in columns
    ]
    if not any(line.known() for line in lines):
        return ""
    return line_chart(lines, title=title, x_label="epoch", y_top=y_top, whole_x=True)


def _confusions_html(metrics: Mapping[str, Any], tasks: Sequence[Task]) -> str:
    parts = [
        "<p>Each row is one true class and adds up to 100 %: how many percent of its pixels the "
        "model gave to each class. A good model is dark on the outlined diagonal.</p>"
    ]
    matrices: Mapping[str, Any] = metrics.get("confusion_matrix") or {}
    for name, matrix in matrices.items():
        *datasets, task_name = name.split("/")[1:]
        for task in tasks:
            if task.name != task_name:
                continue
            title = " of ".join([TASK_TITLES[task.name], *datasets])
            if task.azimuth_bins:
                parts.append(
                    f"<p><b>{escape(title)}.</b> One step beside the diagonal is a small mistake, "
                    f"{task.azimuth_bins // 2} steps beside it is the wrong side of the roof.</p>"
                )
            else:
                parts.append(f"<p><b>{escape(title)}.</b></p>")
            colours = dict(zip(task.class_names, task.colours, strict=True))
            parts.append(confusion_html(matrix["class_names"], matrix["counts"], colours))
    return "".join(parts)


def _data_html(metrics: Mapping[str, Any]) -> str:
    parts = []
    for name, dataset in (metrics.get("datasets") or {}).items():
        parts.append(bad_files_html(str(name), dataset.get("quarantined") or []))
    distribution = metrics.get("class_distribution") or {}
    parts.append(
        distribution_html(distribution.get("shares") or {}, distribution.get("weights") or {})
    )
    parts.append(settings_html("Hyperparameters", metrics.get("hyperparameters") or {}))
    parts.append(settings_html("Versions", metrics.get("versions") or {}))
    return "".join(parts)
