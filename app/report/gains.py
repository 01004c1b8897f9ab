"""What a run has gained and lost against the model it started from, dataset by dataset."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.base.tasks import Task
from app.metrics.headlines import cards
from app.metrics.score import SCORE_NAME
from app.report.facts import title_datasets
from app.report.tables import finite, task_title


@dataclass(frozen=True)
class Gain:
    """A number of one dataset, before and after.

    Attributes:
        dataset: What it is called; "all" for all of them together.
        title: Title of the number.
        before: Of the initial model, as text.
        after: Of the kept weights, as text.
        change: After minus before, as text with a sign.
        css_class: "good" for a gain, "warn" for a loss, else empty.
    """

    dataset: str
    title: str
    before: str
    after: str
    change: str
    css_class: str


def view_gains(
    history: Sequence[Mapping[str, object]],
    metrics: Mapping[str, Any],
    tasks: Sequence[Task],
) -> list[Gain]:
    """Rows for every dataset and number that matters; none without an initial model.

    Args:
        history: Rows of metrics.jsonl; the one of epoch 0 is the initial model's.
        metrics: Content of metrics.json.
        tasks: Tasks of the network.
    """
    start = history[0] if history and finite(history[0].get("epoch")) == 0 else None
    values: Mapping[str, Any] = metrics.get("metrics") or {}
    if start is None or not values:
        return []
    kept = metrics.get("kept") or {}
    rows = [_view("all", "Score", "", start.get(SCORE_NAME), kept.get("score"))]
    titles = title_datasets(metrics)
    for dataset, dataset_title in titles.items():
        for name, title in _numbers({task.name for task in tasks}):
            full_name = name.replace("val/", f"val/{dataset}/", 1) if len(titles) > 1 else name
            entry = values.get(full_name) or {}
            unit = str(entry.get("unit") or "")
            rows.append(_view(dataset_title, title, unit, start.get(full_name), entry.get("value")))
    return [row for row in rows if row is not None]


def _numbers(tasks: Collection[str]) -> list[tuple[str, str]]:
    """Names and titles, in the order of the cards."""
    found = [(name, card.title) for name, card in cards()]
    return [
        (name, f"{task_title(task)}: {title.lower()}")
        for name, title in found
        if (task := name.split("/")[1]) in tasks
    ]


def _view(dataset: str, title: str, unit: str, before: object, after: object) -> Gain | None:
    old, new = finite(before), finite(after)
    if old is None or new is None:
        return None
    change = new - old
    # Numbers with a unit are errors: degrees, metres.
    is_gain = change < 0 if unit else change > 0
    shown = f"{change:+.3f}"
    is_same = shown.strip("+-0.") == ""
    css_class = "" if is_same else "good" if is_gain else "warn"
    return Gain(
        dataset,
        title,
        f"{old:.3f} {unit}".rstrip(),
        f"{new:.3f} {unit}".rstrip(),
        "0" if is_same else f"{shown} {unit}".rstrip(),
        css_class,
    )
