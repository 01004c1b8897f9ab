"""Tables of the report: confusion, shares of classes, bad files; and words that tables share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.tasks import Colour, TaskName
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


def describe_duration(seconds: float) -> str:
    """A duration in hours and minutes, minutes and seconds, or seconds."""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"


def finite(value: object) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def to_percent(share: float) -> float:
    """A share in percent, cut to 0 to 100."""
    return 100 * min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class ConfusionCell:
    """How many pixels of one class were given to a class.

    Attributes:
        share: Share of the true class's pixels.
        text: In percent; empty where next to none.
        title: In words.
        css_class: "hit" where the class is right.
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
        css_class="hit" if name == other else "",
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
            percent = 100 * num_pixels / matrix[true].sum()
            share = f"{percent:.0f}" if percent >= 1 else "under 1"
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
