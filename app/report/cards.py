"""The numbers that matter, large, and by dataset."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.base.tasks import Task, find_task
from app.metrics.headlines import Card, cards
from app.metrics.plane_shares import RIGHT_WITHIN_DEG
from app.report.tables import NOT_DEFINED, NOT_TRAINED, Metrics, finite, to_percent


@dataclass(frozen=True)
class CardView:
    """A large number.

    Attributes:
        title: Title of the number.
        explanation: In a sentence or two.
        name: Name of the metric, without its split.
        number: As text; a sentence where there is none.
        unit: Unit of the number; empty where there is none.
        percent: For a meter; None where it is no share.
    """

    title: str
    explanation: str
    name: str
    number: str
    unit: str = ""
    percent: float | None = None


@dataclass(frozen=True)
class ByDataset:
    """The numbers of the cards for each dataset by itself.

    Attributes:
        headers: Of the columns: what, all datasets, and every dataset.
        rows: Title of the card, then a number or a dash for each column.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def view_cards(metrics: Metrics, tasks: Sequence[Task], trained: Collection[str]) -> list[CardView]:
    """The numbers that matter for a network of these tasks, of which some were trained."""
    segments = find_task("segments", tasks)
    return [
        _view_card(name, card, metrics.get(name, {}), segments, is_trained=task in trained)
        for name, card, task in _cards_of(tasks)
    ]


def view_by_dataset(
    metrics: Metrics, tasks: Sequence[Task], titles: Mapping[str, str]
) -> ByDataset | None:
    """The numbers of the cards by dataset; None where there is only one.

    Args:
        metrics: As in metrics.json.
        tasks: Tasks of the network.
        titles: Of the datasets, by name.
    """
    if len(titles) < 2:
        return None
    rows = []
    for name, card, _ in _cards_of(tasks):
        names = [name, *(name.replace("val/", f"val/{dataset}/", 1) for dataset in titles)]
        values = [_number(metrics.get(one, {})) for one in names]
        if any(values):
            rows.append([card.title, *(" ".join(value) if value else "-" for value in values)])
    return ByDataset(["", "All", *titles.values()], rows) if rows else None


def _cards_of(tasks: Sequence[Task]) -> Iterator[tuple[str, Card, str]]:
    """Name, card and task of every card that a network of these tasks has."""
    names = {task.name for task in tasks}
    has_directions = find_task("segments", tasks).azimuth_bins > 0
    for name, card in cards():
        task = name.split("/")[1]
        if task in names and (has_directions or not card.needs_directions):
            yield name, card, task


def _view_card(
    name: str, card: Card, entry: Mapping[str, Any], segments: Task, *, is_trained: bool
) -> CardView:
    explanation = card.explanation.format(
        step_deg=f"{360 / (segments.azimuth_bins or 1):g}", right_deg=f"{RIGHT_WITHIN_DEG:g}"
    )
    short_name = name.partition("/")[2]
    number = _number(entry)
    if number is None:
        missing = card.if_undefined or NOT_DEFINED if is_trained else NOT_TRAINED
        return CardView(card.title, explanation, short_name, missing)
    value = finite(entry["value"])
    assert value is not None
    percent = None if entry.get("unit") else to_percent(value)
    return CardView(card.title, explanation, short_name, *number, percent)


def _number(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """A value and its unit as text; None where there is none."""
    value, unit = finite(entry.get("value")), str(entry.get("unit") or "")
    if value is None:
        return None
    if unit:
        return f"{value:.0f}" if unit == "degrees" else f"{value:.2f}", unit
    return f"{100 * value:.0f}", "%"
