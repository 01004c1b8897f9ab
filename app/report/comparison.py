"""Runs side by side: as a table for a terminal, and as a page with their curves over each other."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from app.base.dataset_names import title_of
from app.base.storage import replacing
from app.metrics.by_dataset import ALL, align, rows_by_dataset
from app.metrics.chance import Judgement, Results, judge
from app.metrics.headlines import HEADLINES
from app.metrics.score import SCORE_NAME
from app.report.charts import NUM_SERIES_COLOURS, Chart, Frame, Series, line_chart
from app.report.page import read_style, render_page
from app.report.tables import finite

_TEMPLATE: Final = Path(__file__).parent / "templates/compare.html.j2"
_UNKNOWN: Final = "-"
# Units of metrics of which less is better.
_ERRORS: Final = ("degrees", "m", "loss")
# The most that a metric can be, by its unit.
_HIGHEST: Final[Mapping[str, float]] = {"": 1.0, "degrees": 180.0}
# Things that are counted one by one; others, as pixels, are counted by photo.
_SINGLE: Final = ("planes", "buildings", "images")


@dataclass(frozen=True)
class Column:
    """Runs that differ in their seed alone, or a single run.

    Attributes:
        name: Heading.
        runs: Names of the runs.
        metrics: The metrics of each: value, unit, support by name.
        num_val: Validation photos by dataset.
        drawn: The datasets that a program drew.
    """

    name: str
    runs: Sequence[str]
    metrics: Sequence[Mapping[str, Mapping[str, Any]]]
    num_val: Mapping[str, int]
    drawn: Collection[str] = ()


@dataclass(frozen=True)
class Setting:
    """A setting in which runs differ.

    Attributes:
        name: Its name.
        values: Its value in each run.
    """

    name: str
    values: Sequence[str]


@dataclass(frozen=True)
class Cell:
    """A metric of a column.

    Attributes:
        text: Its value; of several seeds their mean and standard deviation.
        judgement: How it compares with the first column; None in that one, and where one of both is
            not known.
    """

    text: str
    judgement: Judgement | None = None

    @property
    def words(self) -> str:
        """The verdict, for people."""
        return "" if self.judgement is None else self.judgement.verdict


@dataclass(frozen=True)
class Row:
    """A metric of a dataset, of all columns.

    Attributes:
        dataset: Title of the dataset.
        words: What people call the metric.
        cells: One for each column.
    """

    dataset: str
    words: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        columns: Groups of runs; all are compared with the first.
        rows: Metrics.
        settings: What differs between runs.
        runs: Names of all runs, in the order of the settings' values.
        histories: Rows of metrics.jsonl, by run.
    """

    columns: Sequence[Column]
    rows: Sequence[Row]
    settings: Sequence[Setting]
    runs: Sequence[str]
    histories: Mapping[str, Sequence[Mapping[str, Any]]]


def compare_columns(columns: Sequence[Column]) -> list[Row]:
    """The metrics that matter, dataset by dataset, each column judged against the first."""
    datasets = list(dict.fromkeys(name for column in columns for name in column.num_val))
    tables = [_by_headline(column) for column in columns]
    rows = []
    for dataset in [*datasets, ALL] if len(datasets) > 1 else datasets:
        title = "all datasets" if dataset == ALL else _title(dataset, columns)
        for one in HEADLINES:
            found = [table.get((dataset, one.name)) for table in tables]
            if any(results is not None for results in found) and one.log is not None:
                cells = [
                    _cell(found[0], results, one.log.form, n) for n, results in enumerate(found)
                ]
                rows.append(Row(title, one.log.words, cells))
    return rows


def _title(dataset: str, columns: Sequence[Column]) -> str:
    """What a dataset is called; says in which columns a program drew it, if not in all."""
    having = [column for column in columns if dataset in column.num_val]
    drawn = [column.name for column in having if dataset in column.drawn]
    if drawn and len(drawn) < len(having):
        return f"{title_of(dataset)} (synthetic in {', '.join(drawn)})"
    return title_of(dataset, is_drawn=bool(drawn))


def render_text(comparison: Comparison) -> str:
    """The comparison as a table for a terminal."""
    lines = []
    names = [column.name for column in comparison.columns]
    heading = ["", names[0], *(part for name in names[1:] for part in (name, ""))]
    table = [heading]
    dataset = ""
    for row in comparison.rows:
        if row.dataset != dataset:
            dataset = row.dataset
            table.append([dataset, *[""] * (len(heading) - 1)])
        cells = [row.cells[0].text]
        for cell in row.cells[1:]:
            cells += [cell.text, cell.words]
        table.append([f"  {row.words}", *cells])
    lines += align(table)
    lines += ["", *describe_verdict(comparison), "", "What differs"]
    lines += align(
        [["", *comparison.runs], *([row.name, *row.values] for row in comparison.settings)]
    )
    return "\n".join(lines) + "\n"


def describe_verdict(comparison: Comparison) -> list[str]:
    """A sentence for each column but the first, and where the verdicts are from."""
    first, *others = comparison.columns
    sentences = []
    bases = set()
    for number, column in enumerate(others, start=1):
        cells = [row.cells[number] for row in comparison.rows]
        bases |= {cell.judgement.basis for cell in cells if cell.judgement}
        words = [cell.words for cell in cells if cell.words]
        counts = {word: words.count(word) for word in dict.fromkeys(words)}
        told = ", ".join(f"{count} {word}" for word, count in counts.items())
        sentences.append(f"{column.name} beside {first.name}: {told or 'nothing to compare'}.")
        if (column.num_val, set(column.drawn)) != (first.num_val, set(first.drawn)):
            photos = ", ".join(f"{name} {count}" for name, count in column.num_val.items())
            sentences.append(
                f"It was scored on other photos ({photos}): a difference may be theirs."
            )
    if "seeds" in bases:
        sentences.append("Chance is estimated from the spread over seeds (Student's t, 95 %).")
    if "support" in bases:
        sentences.append(
            "Chance is estimated from the number of photos or planes scored, at its largest: each "
            "counts as one yes or no (95 %). One run cannot show the effect of another seed: train "
            "each with two or three seeds (--set seed=1), and compare all."
        )
    return sentences


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the page, one HTML file that loads nothing.

    Args:
        path: The file; its folder is there.
        comparison: What it shows.
    """
    shown = {
        "report_style": Markup(read_style()),
        "columns": comparison.columns,
        "rows": comparison.rows,
        "verdict": describe_verdict(comparison),
        "runs": comparison.runs,
        "settings": comparison.settings,
        "charts": draw_curves(comparison.histories),
        "num_hidden": max(0, len(comparison.runs) - NUM_SERIES_COLOURS),
    }
    content = render_page(shown, _TEMPLATE).encode("utf-8", "backslashreplace")
    with replacing(path) as file:
        file.write(content)


def draw_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Chart]:
    """A chart of each number over the steps, with a line for each run."""
    names = {"train/loss": "Training loss", SCORE_NAME: "Score (1 is perfect)"}
    names |= {
        one.name: one.log.words
        for one in HEADLINES
        if one.log and one.name.count("/") == 2 and one.name not in names
    }
    charts = []
    for name, title in names.items():
        lines = [
            Series(
                run,
                [finite(row.get("step")) or 0.0 for row in history],
                [finite(row.get(name)) for row in history],
            )
            for run, history in list(histories.items())[:NUM_SERIES_COLOURS]
        ]
        if any(line.known() for line in lines):
            charts.append(line_chart(lines, Frame(title, "step", whole_x=True)))
    return charts


def _by_headline(column: Column) -> dict[tuple[str, str], Results]:
    """The column's results by dataset and name of the metric."""
    found: dict[tuple[str, str], Results] = {}
    values = [
        {name: finite(entry.get("value")) for name, entry in metrics.items()}
        for metrics in column.metrics
    ]
    for row in rows_by_dataset(values[0], "val", list(column.num_val)):
        for dataset, full_name in row.names.items():
            known = [value for one in values if (value := one.get(full_name)) is not None]
            if not known:
                continue
            entry = column.metrics[0][full_name]
            unit = str(entry.get("unit") or "")
            found[dataset, row.headline.name] = Results(
                values=known,
                count=_count(entry, column.num_val, dataset),
                highest=_HIGHEST.get(unit),
                lower_is_better=unit in _ERRORS,
            )
    return found


def _count(entry: Mapping[str, Any], num_val: Mapping[str, int], dataset: str) -> int:
    """How many things a metric is of: planes and buildings each, pixels by their photos."""
    if str(entry.get("support_unit") or "").endswith(_SINGLE):
        return int(entry.get("support") or 0)
    return sum(num_val.values()) if dataset == ALL else num_val[dataset]


def _cell(first: Results | None, results: Results | None, form: str, number: int) -> Cell:
    if results is None:
        return Cell(_UNKNOWN)
    text = form.format(results.mean)
    if len(results.values) > 1:
        text += f" +- {form.format(statistics.stdev(results.values))}"
    if number == 0 or first is None:
        return Cell(text)
    return Cell(text, judge(first, results))
