"""report.html: what a run has learnt, for people who look at roofs and not at code.

One file that needs no network and no script; everything a user named is escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.base.azimuth import NUM_BINS
from app.base.storage import replacing
from app.base.tasks import Task, find_task
from app.metrics.headlines import CHARTS, curves
from app.report.all_numbers import view_metrics
from app.report.cards import view_by_dataset, view_cards
from app.report.charts import Chart, Frame, Series, line_chart
from app.report.facts import (
    count,
    describe_data,
    describe_run,
    find_documents,
    summarize_run,
    title_datasets,
    title_panel,
)
from app.report.gains import view_gains
from app.report.legend import css, draw_compass, keys
from app.report.memory import view_memory, view_profile
from app.report.page import render_page
from app.report.pictures import Panel, view_panel
from app.report.step_time import view_time
from app.report.tables import (
    NOT_TRAINED,
    Confusion,
    Metrics,
    finite,
    task_title,
    view_bad_features,
    view_bad_files,
    view_confusion,
    view_findings,
    view_shares,
)
from app.report.verdict import describe_verdict

History = Sequence[Mapping[str, object]]

# Anchor and heading of each; sections/ANCHOR.html.j2 has what it says.
_SECTIONS: Final = (
    ("pictures", "Roofs the model has not seen"),
    ("curves", "Learning"),
    ("confusion", "Which class is taken for which"),
    ("time", "Where the time goes"),
    ("memory", "Memory"),
    ("run", "How the model was made"),
    ("data", "Data"),
    ("metrics", "All numbers"),
)


@dataclass(frozen=True)
class ReportInput:
    """What a report is made of.

    Attributes:
        tasks: Tasks of the network.
        metrics: Content of metrics.json; a part that is missing is left out of the report.
        history: Rows of metrics.jsonl: one per epoch, after that of an initial model, epoch 0.
        memory: As MemorySampler.rows.
        steps: As StepSeries.rows.
        panels: Validation images, about six.
    """

    tasks: Sequence[Task]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    history: History = ()
    memory: Sequence[Mapping[str, Any]] = ()
    steps: Sequence[Mapping[str, Any]] = ()
    panels: Sequence[Panel] = ()


def write_report(path: Path, source: ReportInput) -> None:
    """Write the report.

    Args:
        path: The HTML file.
        source: What is known of the run.
    """
    metrics, tasks = source.metrics, source.tasks
    values: Metrics = metrics.get("metrics") or {}
    distribution = metrics.get("class_distribution") or {}
    datasets: Mapping[str, Any] = metrics.get("datasets") or {}
    trained: Sequence[str] = metrics.get("trained_tasks") or ()
    untrained = [task_title(task.name) for task in tasks if task.name not in trained]
    titles = title_datasets(metrics)
    shown = {
        "wheel": ", ".join(map(css, find_task("segments").colours[:NUM_BINS])),
        "sections": _SECTIONS,
        "is_stopped": bool(metrics.get("stopped")),
        "summary": summarize_run(metrics),
        "verdict": describe_verdict(metrics, source.history),
        "data": describe_data(metrics),
        "facts": describe_run(metrics),
        "documents": find_documents(path),
        "later": _describe_later(metrics),
        "chosen": _describe_chosen(metrics, len(source.history)),
        "gains": view_gains(source.history, metrics, tasks),
        "cards": view_cards(values, tasks, trained),
        "by_dataset": view_by_dataset(values, tasks, titles),
        "untrained": untrained if values else [],
        "not_trained": NOT_TRAINED,
        "panels": [
            view_panel(panel, tasks, title_panel(panel.dataset, titles)) for panel in source.panels
        ],
        "compass": draw_compass(find_task("segments", tasks)),
        "keys": keys(tasks),
        "num_epochs": len(source.history),
        "curves": _draw_curves(source.history, trained, tasks),
        "confusions": _view_confusions(metrics, tasks),
        "time": view_time(source.steps, metrics),
        "memory": view_memory(
            source.memory, finite((metrics.get("memory") or {}).get("limit_gib"))
        ),
        "profile": view_profile(metrics.get("memory_profile")),
        "bad_files": [
            view_bad_files(titles[str(name)], dataset.get("quarantined") or [])
            for name, dataset in datasets.items()
        ],
        "bad_features": [
            view_bad_features(titles[str(name)], dataset["features_set_aside"])
            for name, dataset in datasets.items()
            if dataset.get("features_set_aside")
        ],
        "findings": view_findings(metrics.get("label_looks") or {}),
        "shares": view_shares(distribution.get("shares") or {}, distribution.get("weights") or {}),
        "settings": {
            "Hyperparameters": metrics.get("hyperparameters") or {},
            "Versions": metrics.get("versions") or {},
        },
        "metric_groups": view_metrics(values, tasks, trained, titles),
    }
    # Names of files may hold bytes that are no UTF-8.
    content = render_page(shown).encode("utf-8", "backslashreplace")
    with replacing(path) as file:
        file.write(content)


def _describe_later(metrics: Mapping[str, Any]) -> str:
    """How the model differs from the one that was scored; empty where it is the same."""
    validated = metrics.get("validated") or {}
    epoch, step = finite(validated.get("epoch")), finite(validated.get("step"))
    steps = finite((metrics.get("kept") or metrics).get("step", metrics.get("steps")))
    if epoch is None or step is None or steps is None or step == steps:
        return ""
    return (
        f"The scores on this page are of epoch {epoch:.0f}, step {step:,.0f}. The model has been "
        f"trained on since then, to step {steps:,.0f}, and has not been scored again; the pictures "
        "are of this later model."
    )


def _describe_chosen(metrics: Mapping[str, Any], num_validations: int) -> str:
    """Which of several validations the model is of; empty where it is the last step's."""
    kept = metrics.get("kept") or {}
    epoch, step, score = (finite(kept.get(name)) for name in ("epoch", "step", "score"))
    steps = finite(metrics.get("steps"))
    if epoch is None or step is None or score is None or steps is None or step == steps:
        return ""
    place = f"epoch {epoch:.0f}, step {step:,.0f}" if epoch else "the initial model, unchanged"
    return (
        f"The model, and all scores on this page, are those of {place}: of "
        f"{count(num_validations, 'validation')} the one with the best score, {score:.3f}. "
        f"Training went on to step {steps:,.0f}."
    )


def _draw_curves(history: History, trained: Sequence[str], tasks: Sequence[Task]) -> list[Chart]:
    """Charts over epochs; charts without any known value are left out."""
    losses = [
        (
            f"Loss of {task_title(task.name).lower()}",
            [(f"train/{task.name}/loss", "training"), (f"val/{task.name}/loss", "validation")],
            None,
        )
        for task in tasks
        if task.name in trained
    ]
    wanted = [
        ("Loss (lower is better)", [("train/loss", "all tasks")], None),
        *losses,
        *((chart.title, curves(chart), chart.y_top) for chart in CHARTS),
        ("Learning rate at the end of an epoch", [("learning_rate", "of decoder and heads")], None),
    ]
    known = [finite(row.get("epoch")) for row in history]
    epochs = [index if epoch is None else epoch for index, epoch in enumerate(known, start=1)]
    charts = []
    # One axis for all, though a chart may know fewer epochs.
    margin = 1.0 if len(epochs) < 2 else 0.02 * (epochs[-1] - epochs[0])
    x_range = (epochs[0] - margin, epochs[-1] + margin) if epochs else None
    for title, columns, y_top in wanted:
        lines = [
            Series(label, epochs, [finite(row.get(column)) for row in history])
            for column, label in columns
        ]
        if any(line.known() for line in lines):
            frame = Frame(title, "epoch", y_top=y_top, x_range=x_range, whole_x=True)
            charts.append(line_chart(lines, frame))
    return charts


def _view_confusions(
    metrics: Mapping[str, Any], tasks: Sequence[Task]
) -> list[tuple[str, int, Confusion | None]]:
    """Title, number of directions and matrix of each task, and of each of several datasets."""
    titles = title_datasets(metrics)
    by_name = {str(task.name): task for task in tasks}
    found = []
    matrices: Mapping[str, Any] = metrics.get("confusion_matrix") or {}
    for name, matrix in matrices.items():
        *datasets, task_name = name.split("/")[1:]
        if task_name not in by_name:
            continue
        task = by_name[task_name]
        colours = dict(zip(task.class_names, task.colours, strict=True))
        view = view_confusion(matrix["class_names"], matrix["counts"], colours)
        found.append(
            (
                " of ".join([task_title(task_name), *(titles.get(one, one) for one in datasets)]),
                task.azimuth_bins,
                view,
            )
        )
    return found
