"""Tables of the report: headline numbers, every metric, confusion, settings, bad files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.base.tasks import Colour, Task, TaskName
from app.metrics.headlines import Card, cards

TASK_TITLES: Final[dict[TaskName, str]] = {
    "segments": "Roof planes",
    "lines": "Roof lines",
    "depth": "Heights",
    "superstructures": "Superstructures",
}
NOT_TRAINED: Final = "not trained: no labels"
_MAX_BAD_FILES_SHOWN: Final = 200


def table_html(headers: Sequence[str], rows: Iterable[Sequence[str]], css_class: str) -> str:
    """A table; headers are plain text, cells are whole <td> elements."""
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{css_class}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def finite(value: object) -> float | None:
    """The number, or None if it is none or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def headline_html(metrics: Mapping[str, Mapping[str, Any]], tasks: Sequence[Task]) -> str:
    """The numbers that matter, large, each explained in a sentence."""
    by_name = {str(task.name): task for task in tasks}
    segments = by_name["segments"]
    shown = "".join(
        _card(name, card, metrics, segments)
        for name, card in cards()
        if name.split("/")[1] in by_name and (segments.azimuth_bins or not card.needs_directions)
    )
    return f'<div class="numbers">{shown}</div>'


def _card(name: str, card: Card, metrics: Mapping[str, Mapping[str, Any]], segments: Task) -> str:
    entry = metrics.get(name, {})
    value = finite(entry.get("value"))
    if value is None:
        trained = is_trained(name.split("/")[1], metrics)
        text = "not defined on these images" if trained else NOT_TRAINED
        shown, meter = f'<div class="value none">{text}</div>', ""
    elif entry.get("unit"):
        unit = str(entry["unit"])
        number = f"{value:.0f}" if unit == "degrees" else f"{value:.2f}"
        shown, meter = f'<div class="value">{number} <small>{escape(unit)}</small></div>', ""
    else:
        shown = f'<div class="value">{100 * value:.0f}<small> %</small></div>'
        width = 100 * min(max(value, 0.0), 1.0)
        meter = f'<div class="meter"><i style="width:{width:.1f}%"></i></div>'
    explanation = card.explanation.format(
        step_deg=f"{360 / (segments.azimuth_bins or 1):g}",
        num_classes=segments.num_classes,
        num_directions=segments.azimuth_bins,
    )
    return f'<div class="card"><h3>{card.title}</h3>{shown}{meter}<p>{explanation}</p></div>'


def is_trained(task: str, metrics: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether any metric of the task has a value."""
    return any(
        finite(entry.get("value")) is not None
        for name, entry in metrics.items()
        if name.split("/")[1:2] == [task]
    )


def metrics_html(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Every metric with its definition and what it was counted over, one fold per task."""
    groups = list(dict.fromkeys(name.rpartition("/")[0] for name in metrics if "/" in name))
    parts = []
    for group in groups:
        entries = [(name, metrics[name]) for name in metrics if name.rpartition("/")[0] == group]
        # <split>/<task>, or <split>/<dataset>/<task> for one of several datasets.
        *datasets, task = group.split("/")[1:]
        title = next((text for name, text in TASK_TITLES.items() if name == task), task)
        title = " of ".join([title, *datasets])
        has_value = any(finite(entry.get("value")) is not None for _, entry in entries)
        state = f"{len(entries)} numbers" if has_value else "no labels"
        if not has_value and not datasets:
            state = NOT_TRAINED
        rows = [_metric_row(name, entry) for name, entry in entries]
        headers = ("Name", "Value", "Counted over", "Dataset", "Definition")
        parts.append(
            f"<details><summary>{escape(title)} ({state})</summary>"
            f"{table_html(headers, rows, 'plain')}</details>"
        )
    return "".join(parts) or '<p class="soft">No validation was finished.</p>'


def _metric_row(name: str, entry: Mapping[str, Any]) -> list[str]:
    value = finite(entry.get("value"))
    unit = str(entry.get("unit") or "")
    shown = "-" if value is None else f"{value:.4f} {escape(unit)}".rstrip()
    support = finite(entry.get("support"))
    counted = "" if support is None else f"{support:,.0f} {escape(str(entry['support_unit']))}"
    return [
        f'<td class="metric"><code>{escape(name)}</code></td>',
        f'<td class="number">{shown}</td>',
        f"<td>{counted}</td>",
        f"<td>{escape(str(entry.get('dataset') or ''))}</td>",
        f'<td class="text">{escape(str(entry.get("definition") or ""))}</td>',
    ]


def confusion_html(
    class_names: Sequence[str], counts: Sequence[Sequence[int]], colours: Mapping[str, Colour]
) -> str:
    """Which class is taken for which, in percent of the true class's pixels.

    Args:
        class_names: C names.
        counts: (C, C) pixels, rows the true class, columns the predicted one.
        colours: Of the classes that get a dot.
    """
    matrix = np.asarray(counts, np.float64)
    if matrix.shape != (len(class_names), len(class_names)) or not matrix.sum():
        return '<p class="soft">No validation was finished.</p>'
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = []
    for index, name in enumerate(class_names):
        num_pixels = float(matrix[index].sum())
        cells = [
            _confusion_cell(float(share), name, other, is_hit=index == column)
            for column, (share, other) in enumerate(zip(shares[index], class_names, strict=True))
        ]
        support = f'<td class="soft">{_short_count(num_pixels)}</td>'
        label = f'<th scope="row">{_dot(colours.get(name))}{escape(name)}</th>'
        rows.append([label, *(cells if num_pixels else ["<td>·</td>"] * len(cells)), support])
    headers = ["truth ↓ said →", *class_names, "pixels"]
    return _worst_confusions(class_names, matrix) + table_html(headers, rows, "confusion")


def _confusion_cell(share: float, name: str, other: str, *, is_hit: bool) -> str:
    classes = " ".join(["hit"] * is_hit + ["strong"] * (share >= 0.6))
    text = f"{100 * share:.0f}" if share >= 0.005 else ""
    title = f"{100 * share:.1f} % of true {name} was called {other}"
    return (
        f'<td class="{classes}" title="{escape(title)}" '
        f'style="background:rgb(var(--accent) / {share:.3f})">{text}</td>'
    )


def _worst_confusions(class_names: Sequence[str], matrix: npt.NDArray[np.float64]) -> str:
    """The three mistakes that cost the most pixels, in words."""
    mistakes = matrix.copy()
    np.fill_diagonal(mistakes, 0.0)
    items = []
    for flat_index in np.argsort(mistakes, axis=None)[::-1][:3]:
        true, said = np.unravel_index(flat_index, mistakes.shape)
        num_pixels = float(mistakes[true, said])
        if num_pixels > 0:
            share = 100 * num_pixels / matrix[true].sum()
            items.append(
                f"<li>{share:.0f} % of what is <b>{escape(class_names[true])}</b> was called "
                f"<b>{escape(class_names[said])}</b> ({_short_count(num_pixels)} pixels)</li>"
            )
    return f"<p>The mistakes that cost the most:</p><ul>{''.join(items)}</ul>" if items else ""


def _dot(colour: Colour | None) -> str:
    if colour is None:
        return ""
    return f'<i class="dot" style="background:rgb({colour[0]} {colour[1]} {colour[2]})"></i>'


def distribution_html(
    shares: Mapping[str, Mapping[str, float]], weights: Mapping[str, Mapping[str, float]]
) -> str:
    """How often each class came in training and what it weighed in the loss, folded, per task.

    Args:
        shares: Per task and label, in [0, 1].
        weights: Per task and class; labels without one weigh 1.
    """
    parts = []
    for task, task_shares in shares.items():
        title = next((text for name, text in TASK_TITLES.items() if name == task), task)
        rows = []
        for label, share in task_shares.items():
            weight = weights.get(task, {}).get(label, 1.0)
            width = 100 * min(max(share, 0.0), 1.0)
            rows.append(
                [
                    f"<td>{escape(label)}</td>",
                    f'<td class="number">{100 * share:.2f} %</td>',
                    f'<td class="bar"><div class="meter"><i style="width:{width:.1f}%"></i></div>'
                    "</td>",
                    f'<td class="number">{weight:.2f}</td>',
                ]
            )
        headers = ("Class", "Share", "", "Weight in the loss")
        parts.append(
            f"<details><summary>How often each class comes: {escape(title.lower())}</summary>"
            f"{table_html(headers, rows, 'plain')}</details>"
        )
    return "".join(parts)


def _short_count(count: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}{letter}"
    return f"{count:.0f}"


def settings_html(title: str, settings: Mapping[str, Any]) -> str:
    """Names and values, folded; nothing if there are none."""
    if not settings:
        return ""
    rows = [
        [f'<td class="name"><code>{escape(name)}</code></td>', f"<td>{escape(str(value))}</td>"]
        for name, value in settings.items()
    ]
    return (
        f"<details><summary>{escape(title)}</summary>"
        f"{table_html(('Name', 'Value'), rows, 'settings')}</details>"
    )


def bad_files_html(dataset: str, bad_files: Sequence[Mapping[str, Any]]) -> str:
    """The files left out of a dataset, with reasons."""
    if not bad_files:
        return f"<p>{escape(dataset)}: every file could be used.</p>"
    rows = [
        [f'<td class="name">{escape(str(bad.get(key, "")))}</td>' for key in _BAD_FILE_KEYS]
        for bad in bad_files[:_MAX_BAD_FILES_SHOWN]
    ]
    num_hidden = len(bad_files) - len(rows)
    more = f"<p>And {num_hidden} more, listed in metrics.json.</p>" if num_hidden else ""
    count = f"{len(bad_files)} file{'s' if len(bad_files) > 1 else ''}"
    return (
        f'<p class="warn"><b>{escape(dataset)}: {count} left out.</b> Training went on without '
        f"them.</p>{table_html(('Image', 'File', 'Why'), rows, 'plain')}{more}"
    )


_BAD_FILE_KEYS: Final = ("sample_id", "path", "reason")
