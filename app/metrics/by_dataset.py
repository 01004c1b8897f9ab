"""The metrics that matter, a column for each dataset: what ends a run, `evaluate`, a comparison."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.base.dataset_names import title_of
from app.metrics.headlines import HEADLINES, Headline

ALL: Final = "all"
_UNKNOWN: Final = "-"


@dataclass(frozen=True)
class Row:
    """A metric of several datasets.

    Attributes:
        headline: Which metric.
        names: Its full name by dataset, as results have it; "all" stands for all of them together.
        values: Its value by the same; None where it is not defined.
    """

    headline: Headline
    names: Mapping[str, str]
    values: Mapping[str, float | None]

    @property
    def words(self) -> str:
        """What people call it."""
        return self.headline.log.words if self.headline.log else self.headline.name

    def format(self, dataset: str) -> str:
        """Its value for a dataset, with its unit."""
        value = self.values[dataset]
        form = self.headline.log.form if self.headline.log else "{:.3f}"
        return _UNKNOWN if value is None else form.format(value)


def start_of_names(split: str, dataset: str, datasets: Sequence[str]) -> str:
    """What the names of a dataset's metrics begin with: of a single one, no name of it."""
    return f"{split}/" if len(datasets) == 1 else f"{split}/{dataset}/"


def rows_by_dataset(
    values: Mapping[str, float | None], split: str, datasets: Sequence[str]
) -> list[Row]:
    """The headlines that have a value for any dataset, in their order.

    Args:
        values: Metrics by name, `<split>/<task>/<metric>`, and `<split>/<dataset>/<task>/<metric>`
            where there are several datasets.
        split: The first part of their names.
        datasets: The datasets, in order.
    """
    prefixes = {name: start_of_names(split, name, datasets) for name in datasets}
    if len(datasets) != 1:
        prefixes[ALL] = f"{split}/"
    rows = []
    for one in HEADLINES:
        if one.log is None or one.name.count("/") != 2 or not one.name.startswith("val/"):
            continue
        rest = one.name.removeprefix("val/")
        names = {name: prefix + rest for name, prefix in prefixes.items()}
        found = {name: values.get(full) for name, full in names.items()}
        if any(value is not None for value in found.values()):
            rows.append(Row(one, names, found))
    return rows


def describe_by_dataset(
    values: Mapping[str, float | None],
    split: str,
    num_photos: Mapping[str, int],
    drawn: Collection[str] = (),
) -> list[str]:
    """The table as lines, each of which begins with two spaces.

    Args:
        values: As `rows_by_dataset`.
        split: As `rows_by_dataset`.
        num_photos: Photos by dataset.
        drawn: The datasets that a program drew.
    """
    rows = rows_by_dataset(values, split, list(num_photos))
    if not rows:
        return []
    columns = list(rows[0].names)
    counts = {**num_photos, ALL: sum(num_photos.values())}
    heading = ["", *(title_of(name, is_drawn=name in drawn) for name in columns)]
    cells = [[row.words, *(row.format(name) for name in columns)] for row in rows]
    footing = ["photos", *(str(counts[name]) for name in columns)]
    lines = align([heading, *cells, footing])
    if any(_UNKNOWN in line[1:] for line in cells):
        lines.append(f"  {_UNKNOWN}: not labelled there, or not taught")
    return lines


def align(table: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  "
        + "  ".join(
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
