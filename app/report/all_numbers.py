"""Every metric of a run, each definition once, datasets side by side."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from app.base.tasks import Task
from app.metrics.definitions import define_metrics
from app.report.tables import NOT_DEFINED, NOT_TRAINED, Metrics, finite, task_title

# A metric's task, and what all metrics of one definition have in common.
_Key = tuple[str, str]


@dataclass(frozen=True)
class MetricRow:
    """A metric, as text.

    Attributes:
        name: Its last part.
        values: By dataset, with the unit; a dash where there is none.
        support: Number and name of the things counted, over all datasets.
    """

    name: str
    values: Sequence[str]
    support: str


@dataclass(frozen=True)
class MetricBlock:
    """Metrics of one definition.

    Attributes:
        definition: In words; placeholders in angle brackets where it is that of several metrics.
        rows: One for each metric.
    """

    definition: str
    rows: list[MetricRow] = field(default_factory=list)


@dataclass(frozen=True)
class MetricGroup:
    """Every metric of a task.

    Attributes:
        title: The task.
        state: How many there are, or why there are none.
        columns: Titles of the datasets, all of them together first.
        blocks: By definition.
    """

    title: str
    state: str
    columns: Sequence[str]
    blocks: Sequence[MetricBlock]


def view_metrics(
    metrics: Metrics, tasks: Sequence[Task], trained: Collection[str], titles: Mapping[str, str]
) -> list[MetricGroup]:
    """Every metric with its definition and what it was counted over, by task.

    Args:
        metrics: As in metrics.json: `<split>/<task>/<name>`, with `/<dataset>` after the split for
            one of several datasets.
        tasks: Tasks of the network.
        trained: Those that were trained.
        titles: Of the datasets, by name.
    """
    placed: dict[str, dict[str, dict[str, Mapping[str, object]]]] = {}
    for full_name, entry in metrics.items():
        if "/" in full_name:
            _, *datasets, task, name = full_name.split("/")
            dataset = "/".join(datasets)
            placed.setdefault(task, {}).setdefault(name, {})[dataset] = entry
    definitions = _definitions(tasks)
    return [
        _view_group(task, of_task, task in trained, titles, definitions)
        for task, of_task in placed.items()
    ]


def _view_group(
    task: str,
    of_task: Mapping[str, Mapping[str, Mapping[str, object]]],
    is_trained: bool,
    titles: Mapping[str, str],
    definitions: Mapping[_Key, tuple[str, str]],
) -> MetricGroup:
    datasets = list(dict.fromkeys(dataset for entries in of_task.values() for dataset in entries))
    blocks: dict[str, MetricBlock] = {}
    has_value = False
    for name, entries in of_task.items():
        anyone = next(iter(entries.values()))
        key, text = definitions.get((task, name), (name, str(anyone.get("definition") or "")))
        values = [_number(entries.get(dataset, {})) for dataset in datasets]
        has_value = has_value or any(value != "-" for value in values)
        row = MetricRow(name, values, _support(entries.get("", anyone)))
        blocks.setdefault(key, MetricBlock(text)).rows.append(row)
    state = f"{len(of_task)} numbers" if has_value else NOT_DEFINED
    columns = [titles.get(dataset, dataset) if dataset else "All" for dataset in datasets]
    return MetricGroup(
        task_title(task), state if is_trained else NOT_TRAINED, columns, list(blocks.values())
    )


def _definitions(tasks: Sequence[Task]) -> dict[_Key, tuple[str, str]]:
    """By task and name of a metric: the row of the table it stands in, and the row's definition."""
    found = {}
    for task in tasks:
        for row in define_metrics(task):
            text = row.text.format_map({name: f"<{name}>" for name in row.placeholders})
            for name, _ in row.expand():
                found[str(task.name), name] = row.name, text
    return found


def _number(entry: Mapping[str, object]) -> str:
    value = finite(entry.get("value"))
    return "-" if value is None else f"{value:.4f} {entry.get('unit') or ''}".rstrip()


def _support(entry: Mapping[str, object]) -> str:
    support = finite(entry.get("support"))
    return "" if support is None else f"{support:,.0f} {entry.get('support_unit') or ''}".rstrip()
