"""Tables of the report: cards, every metric, confusion, shares of classes, settings, bad files."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.tasks import Colour, Task, TaskName
from app.metrics.headlines import Card, cards
from app.report.legend import css

NOT_TRAINED: Final = "not trained: no labels"
# Trained, but there is nothing to find on the validation images, as on background alone.
NOT_DEFINED: Final = "not defined on these images"
_TASK_TITLES: Final[dict[TaskName, str]] = {
    "segments": "Roof planes",
    "lines": "Roof lines",
    "depth": "Heights",
    "superstructures": "Superstructures",
}
_MAX_BAD_FILES_SHOWN: Final = 200
_NUM_WORST_SHOWN: Final = 3

# Entries of metrics.json by name: "value", "unit", "support", "support_unit", and so on.
Metrics = Mapping[str, Mapping[str, Any]]


def task_title(task: str) -> str:
    """The title of a task; for an unknown task, its name."""
    return next((title for name, title in _TASK_TITLES.items() if name == task), task)


def finite(value: object) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def to_percent(share: float) -> float:
    """A share in percent, cut to 0 to 100."""
    return 100 * min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class CardView:
    """A large number.

    Attributes:
        title: Title of the number.
        explanation: In a sentence or two.
        number: As text; a sentence where there is none.
        unit: Unit of the number; empty where there is none.
        percent: For a meter; None where it is no share.
    """

    title: str
    explanation: str
    number: str
    unit: str = ""
    percent: float | None = None


def view_cards(metrics: Metrics, tasks: Sequence[Task], trained: Collection[str]) -> list[CardView]:
    """The numbers that matter for a network of these tasks, of which some were trained."""
    by_name = {str(task.name): task for task in tasks}
    segments = by_name["segments"]
    return [
        _view_card(card, metrics.get(name, {}), segments, is_trained=task in trained)
        for name, card in cards()
        if (task := name.split("/")[1]) in by_name
        and (segments.azimuth_bins or not card.needs_directions)
    ]


def _view_card(
    card: Card, entry: Mapping[str, Any], segments: Task, *, is_trained: bool
) -> CardView:
    explanation = card.explanation.format(
        step_deg=f"{360 / (segments.azimuth_bins or 1):g}",
        num_classes=segments.num_classes,
        num_directions=segments.azimuth_bins,
    )
    value, unit = finite(entry.get("value")), str(entry.get("unit") or "")
    if value is None:
        return CardView(card.title, explanation, NOT_DEFINED if is_trained else NOT_TRAINED)
    if unit:
        number = f"{value:.0f}" if unit == "degrees" else f"{value:.2f}"
        return CardView(card.title, explanation, number, unit)
    return CardView(card.title, explanation, f"{100 * value:.0f}", "%", to_percent(value))


@dataclass(frozen=True)
class MetricRow:
    """A metric, as text.

    Attributes:
        name: Name of the metric.
        value: With its unit.
        support: Number and name of the things counted.
        dataset: Dataset of the images.
        definition: In words.
    """

    name: str
    value: str
    support: str
    dataset: str
    definition: str


@dataclass(frozen=True)
class MetricGroup:
    """Every metric of a task, of all datasets or of one.

    Attributes:
        title: The task, and the dataset.
        state: How many there are, or why there are none.
        rows: One for each metric.
    """

    title: str
    state: str
    rows: Sequence[MetricRow]


def view_metrics(metrics: Metrics, trained: Collection[str]) -> list[MetricGroup]:
    """Every metric with its definition and what it was counted over, by task."""
    groups = []
    for group in dict.fromkeys(name.rpartition("/")[0] for name in metrics if "/" in name):
        entries = {name: metrics[name] for name in metrics if name.rpartition("/")[0] == group}
        # <split>/<task>, or <split>/<dataset>/<task> for one of several datasets.
        *datasets, task = group.split("/")[1:]
        has_value = any(finite(entry.get("value")) is not None for entry in entries.values())
        state = f"{len(entries)} numbers" if has_value else NOT_DEFINED
        if task not in trained:
            state = NOT_TRAINED
        rows = [_view_metric(name, entry) for name, entry in entries.items()]
        groups.append(MetricGroup(" of ".join([task_title(task), *datasets]), state, rows))
    return groups


def _view_metric(name: str, entry: Mapping[str, Any]) -> MetricRow:
    value, support = finite(entry.get("value")), finite(entry.get("support"))
    return MetricRow(
        name,
        "-" if value is None else f"{value:.4f} {entry.get('unit') or ''}".rstrip(),
        "" if support is None else f"{support:,.0f} {entry['support_unit']}",
        str(entry.get("dataset") or ""),
        str(entry.get("definition") or ""),
    )


@dataclass(frozen=True)
class ConfusionCell:
    """How many pixels of one class were given to a class.

    Attributes:
        share: Share of the true class's pixels.
        text: In percent; empty where next to none.
        title: In words.
        css_class: "hit" where the class is right, "strong" where text needs another colour.
    """

    share: float
    text: str
    title: str
    css_class: str


@dataclass(frozen=True)
class ConfusionRow:
    """A true class.

    Attributes:
        name: Name of the class.
        colour: As CSS writes it; None for a class without one.
        cells: By predicted class; empty for a class without pixels.
        num_pixels: Pixels of the class, as text.
    """

    name: str
    colour: str | None
    cells: Sequence[ConfusionCell]
    num_pixels: str


@dataclass(frozen=True)
class Confusion:
    """Which class is taken for which.

    Attributes:
        class_names: In order.
        rows: One for each class.
        worst: The mistakes that cost the most pixels: percent of the true class, the true class,
            the predicted one, and pixels.
    """

    class_names: Sequence[str]
    rows: Sequence[ConfusionRow]
    worst: Sequence[tuple[str, str, str, str]]


def view_confusion(
    class_names: Sequence[str], counts: Sequence[Sequence[int]], colours: Mapping[str, Colour]
) -> Confusion | None:
    """The matrix in percent of the true class's pixels; None where nothing was counted.

    Args:
        class_names: C names.
        counts: (C, C) pixels, rows the true class, columns the predicted one.
        colours: Colours of the classes that have one.
    """
    matrix = np.asarray(counts, np.float64)
    if matrix.shape != (len(class_names), len(class_names)) or not matrix.sum():
        return None
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = []
    for index, name in enumerate(class_names):
        num_pixels = float(matrix[index].sum())
        cells = [
            _view_confusion_cell(float(share), name, other)
            for share, other in zip(shares[index], class_names, strict=True)
        ]
        colour = css(colours[name]) if name in colours else None
        rows.append(
            ConfusionRow(name, colour, cells if num_pixels else [], _short_count(num_pixels))
        )
    return Confusion(class_names, rows, _find_worst(class_names, matrix))


def _view_confusion_cell(share: float, name: str, other: str) -> ConfusionCell:
    return ConfusionCell(
        share=share,
        text=f"{100 * share:.0f}" if share >= 0.005 else "",
        title=f"{100 * share:.1f} % of true {name} was called {other}",
        css_class=" ".join(["hit"] * (name == other) + ["strong"] * (share >= 0.6)),
    )


def _find_worst(
    class_names: Sequence[str], matrix: npt.NDArray[np.float64]
) -> list[tuple[str, str, str, str]]:
    mistakes = matrix.copy()
    np.fill_diagonal(mistakes, 0.0)
    found = []
    for flat_index in np.argsort(mistakes, axis=None)[::-1][:_NUM_WORST_SHOWN]:
        true, said = np.unravel_index(flat_index, mistakes.shape)
        num_pixels = float(mistakes[true, said])
        if num_pixels > 0:
            share = f"{100 * num_pixels / matrix[true].sum():.0f}"
            found.append((share, class_names[true], class_names[said], _short_count(num_pixels)))
    return found


def _short_count(count: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}{letter}"
    return f"{count:.0f}"


@dataclass(frozen=True)
class ShareRow:
    """How often a class came in training.

    Attributes:
        label: Name of the class.
        share: Share of the labelled pixels.
        weight: In the loss.
    """

    label: str
    share: float
    weight: float

    @property
    def percent(self) -> float:
        """For a meter."""
        return to_percent(self.share)


@dataclass(frozen=True)
class Shares:
    """How often each class of a task came in training.

    Attributes:
        title: Title of the task.
        rows: One for each class.
    """

    title: str
    rows: Sequence[ShareRow]


def view_shares(
    shares: Mapping[str, Mapping[str, float]], weights: Mapping[str, Mapping[str, float]]
) -> list[Shares]:
    """How often each class came in training and what it weighed in the loss, by task.

    Args:
        shares: Per task and label, in [0, 1].
        weights: Per task and class; labels without one weigh 1.
    """
    return [
        Shares(
            task_title(task).lower(),
            [
                ShareRow(label, share, weights.get(task, {}).get(label, 1.0))
                for label, share in task_shares.items()
            ],
        )
        for task, task_shares in shares.items()
    ]


@dataclass(frozen=True)
class BadFiles:
    """The files left out of a dataset.

    Attributes:
        dataset: Its name.
        num_files: How many there are.
        rows: The first of them: image, file, reason.
    """

    dataset: str
    num_files: int
    rows: Sequence[tuple[str, str, str]]


class BadFeatures(NamedTuple):
    """The shapes of a dataset that were set aside.

    Attributes:
        dataset: Its name.
        num_features: How many there are.
        rows: The first of them: photo, layer, id, why.
    """

    dataset: str
    num_features: int
    rows: Sequence[tuple[str, str, str, str]]


class Finding(NamedTuple):
    """Something that is wrong with the labels."""

    severity: str
    what: str
    remedy: str


def view_bad_files(dataset: str, bad_files: Sequence[Mapping[str, Any]]) -> BadFiles:
    """The files left out of a dataset, as Quarantine.to_json has them."""
    rows = [
        (str(bad.get("sample_id", "")), str(bad.get("path", "")), str(bad.get("reason", "")))
        for bad in bad_files[:_MAX_BAD_FILES_SHOWN]
    ]
    return BadFiles(dataset, len(bad_files), rows)


def view_bad_features(dataset: str, features: Mapping[str, Any]) -> BadFeatures:
    """The shapes of a dataset that were set aside, as Quarantine.features_to_json has them."""
    listed = features.get("listed") or []
    rows = [
        (
            str(bad.get("photo", "")),
            str(bad.get("layer", "")),
            str(bad.get("feature", "")),
            str(bad.get("reason", "")),
        )
        for bad in listed[:_MAX_BAD_FILES_SHOWN]
    ]
    return BadFeatures(dataset, int(features.get("total", len(listed))), rows)


def view_findings(looks: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """What looks at the labels found, as LabelLook.to_json has it."""
    findings = [finding for look in looks.values() for finding in look.get("findings") or []]
    return [
        Finding(*(str(finding.get(name, "")) for name in Finding._fields)) for finding in findings
    ]
