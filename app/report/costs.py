"""What a run cost: where the time of a step went, and what memory was used for."""

import csv
import itertools
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from app.report.bottleneck import describe_bottleneck, format_s
from app.report.charts import (
    GREY_INDEX,
    NUM_BAND_COLOURS,
    NUM_SERIES_COLOURS,
    Band,
    Layer,
    Series,
    area_chart,
    line_chart,
)
from app.report.steps import PARTS
from app.report.tables import finite, table_html

Row = dict[str, str]

_PHASES: Final = ("start", "load", "train", "val", "export")
_PHASE_WORDS: Final = {
    "start": "starting",
    "load": "loading data",
    "train": "training",
    "val": "validation",
    "export": "writing results",
}
# A limit further above the peak would press the curves onto the axis.
_MAX_LIMIT_TO_PEAK: Final = 4.0
_PART_WORDS: Final = {
    "wait": "waiting for data",
    "transfer": "copying to the device",
    "forward": "forward and losses",
    "backward": "backward",
    "optimizer": "update of the weights",
    "rest": "everything else",
}
_COLOURS: Final = tuple(index for index in range(NUM_SERIES_COLOURS) if index != GREY_INDEX)
_MAX_STRETCHES: Final = 240
_MAX_HOLDERS_SHOWN: Final = 15
# Words need room below the axis.
_MIN_TICK_SHARE: Final = 0.05
_NOTHING: Final = '<p class="soft">Nothing recorded.</p>'


def time_html(steps_csv: Path | None, metrics: Mapping[str, Any]) -> str:
    """What a step consists of, over the run and on average, and what to do about it.

    Args:
        steps_csv: Written by StepSeries; need not exist.
        metrics: Content of metrics.json: "step_time", "hyperparameters" and, where known,
            "machine" with the "device" and the "num_cores" of a training process.
    """
    step_time = metrics.get("step_time") or {}
    step_s = finite(step_time.get("step_s"))
    if not step_s:
        return _NOTHING
    settings = metrics.get("hyperparameters") or {}
    machine = metrics.get("machine") or {}
    device = str(machine.get("device") or settings.get("device"))
    words = describe_bottleneck(
        step_time,
        settings,
        machine.get("num_cores"),
        device if device in ("cpu", "cuda") else None,
    )
    rows, first_s = _read_steps(steps_csv)
    parts = _split_step(step_time)
    table = table_html(
        ("Part of a step", "Mean", "Share", ""),
        [_part_row(_PART_WORDS[name], seconds, step_s) for name, seconds in parts.items()],
        "plain",
    )
    left_out = ""
    if first_s is not None and rows:
        left_out = (
            f"<p>The first step, of {format_s(first_s)}, pays for what is done once, and is left "
            "out.</p>"
        )
    chart = _steps_chart(rows) if rows else ""
    return f"<p>{escape(words)}</p>{left_out}{chart}{table}"


def memory_html(
    memory_csv: Path, memory: Mapping[str, Any], profile: Mapping[str, Any] | None
) -> str:
    """Memory over the run and, where one was watched, over a step.

    Args:
        memory_csv: Written by MemorySampler; need not exist.
        memory: Of metrics.json.
        profile: "memory_profile" of metrics.json, as StepMemoryWatch.to_json.
    """
    rows = _read_rows(memory_csv)
    run = _run_memory_html(rows, memory) if rows else _NOTHING
    return run + (_profile_html(profile) if profile and profile.get("series") else "")


def _read_rows(path: Path | None) -> list[Row]:
    if path is None or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _read_steps(steps_csv: Path | None) -> tuple[list[Row], float | None]:
    """The rows to draw, and the seconds of a first step that is not among them."""
    rows = _read_rows(steps_csv)
    # As StepSeries.summary does it.
    if len(rows) > 1 and rows[0]["num_steps"] == "1":
        return rows[1:], float(rows[0]["step_s"])
    return rows, None


def _split_step(values: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of each part of a step, and of what is left."""
    parts = {str(name): float(values.get(f"{name}_s") or 0.0) for name in PARTS}
    return parts | {"rest": max(0.0, float(values["step_s"]) - sum(parts.values()))}


def _part_row(words: str, seconds: float, step_s: float) -> list[str]:
    share = 100 * min(seconds / step_s, 1.0)
    return [
        f"<td>{words}</td>",
        f'<td class="number">{1000 * seconds:,.1f} ms</td>',
        f'<td class="number">{share:.1f} %</td>',
        _bar(share),
    ]


def _bar(percent: float) -> str:
    meter = f'<div class="meter"><i style="width:{percent:.1f}%"></i></div>'
    return f'<td class="bar">{meter}</td>'


def _steps_chart(rows: Sequence[Row]) -> str:
    """Seconds of the parts over the steps; neighbours are averaged where there are many."""
    num_stretches = min(len(rows), _MAX_STRETCHES)
    bounds = [i * len(rows) // num_stretches for i in range(num_stretches + 1)]
    edges = [int(rows[0]["step"]) - int(rows[0]["num_steps"])]
    stretches = []
    for start, end in itertools.pairwise(bounds):
        chosen = rows[start:end]
        edges.append(int(chosen[-1]["step"]))
        weights = [int(row["num_steps"]) for row in chosen]
        splits = [_split_step(row) for row in chosen]
        stretches.append(
            {
                name: sum(w * split[name] for w, split in zip(weights, splits, strict=True))
                / sum(weights)
                for name in _PART_WORDS
            }
        )
    layers = [
        Layer(
            words,
            [stretch[name] for stretch in stretches],
            GREY_INDEX if name == "rest" else _COLOURS[index],
        )
        for index, (name, words) in enumerate(_PART_WORDS.items())
    ]
    return area_chart(layers, edges, title="Seconds of a step", x_label="step")


def _run_memory_html(rows: Sequence[Row], memory: Mapping[str, Any]) -> str:
    times_s = [float(row["time_s"]) for row in rows]
    unit, divisor = ("hours", 3600) if times_s[-1] > 7200 else ("minutes", 60)
    times = [time_s / divisor for time_s in times_s]
    limit_gib = finite(memory.get("limit_gib"))
    peak_gib = _highest(rows, "rss_gib") or 0.0
    lines = [
        Series("in use by the job (RSS)", times, _column(rows, "rss_gib")),
        Series("of it, not shared between processes (USS)", times, _column(rows, "uss_gib")),
    ]
    if limit_gib is not None and limit_gib <= _MAX_LIMIT_TO_PEAK * peak_gib:
        lines.append(Series("limit", times, [limit_gib] * len(times), dashed=True))
    bands, phases = _bands(rows, times)
    settings: dict[str, Any] = {"x_label": unit, "bands": bands, "wide": True}
    charts = line_chart(lines, title="Memory in GiB", **settings)
    cuda = [
        Series("allocated", times, _column(rows, "cuda_allocated_gib")),
        Series("reserved", times, _column(rows, "cuda_reserved_gib")),
    ]
    if any(line.known() for line in cuda):
        title = "GPU memory in GiB, highest so far in each phase"
        charts += line_chart(cuda, title=title, **settings)
    sentence = _memory_sentence(peak_gib, _highest(rows, "uss_gib"), limit_gib)
    return sentence + _phase_legend(phases) + charts


def _memory_sentence(peak_gib: float, unique_gib: float | None, limit_gib: float | None) -> str:
    text = f"The job used at most <b>{peak_gib:.2f} GiB</b>"
    if limit_gib:
        share = 100 * peak_gib / limit_gib
        close = " It came close to being stopped by the system." if share > 90 else ""
        text += f" of the {limit_gib:.1f} GiB it may use ({share:.0f} %).{close}"
    else:
        text += "."
    if unique_gib is not None:
        text += (
            f" Unique to one process or another (USS) were at most <b>{unique_gib:.2f} GiB</b>; "
            "what several share counts once for each of them in the first number, and for none in "
            "the second."
        )
    return f"<p>{text}</p>"


def _column(rows: Sequence[Row], name: str) -> list[float | None]:
    return [float(text) if (text := row.get(name)) else None for row in rows]


def _highest(rows: Sequence[Row], name: str) -> float | None:
    return max((value for value in _column(rows, name) if value is not None), default=None)


def _bands(rows: Sequence[Row], times: Sequence[float]) -> tuple[list[Band], list[str]]:
    """A band for each stretch of one phase, and the phases in the order of their first row."""
    names = [row["phase"] for row in rows]
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    ends = [*starts[1:], len(rows) - 1]
    bands = [
        Band(times[start], times[end], _phase_colour(names[start]))
        for start, end in zip(starts, ends, strict=True)
    ]
    return bands, list(dict.fromkeys(names))


def _phase_colour(phase: str) -> int:
    return _PHASES.index(phase) % NUM_BAND_COLOURS if phase in _PHASES else 0


def _phase_legend(phases: Sequence[str]) -> str:
    items = "".join(
        f'<li><i style="background:var(--band-{_phase_colour(phase)});'
        f'outline:1px solid var(--grid)"></i>{escape(_PHASE_WORDS.get(phase, phase))}</li>'
        for phase in phases
    )
    return f'<ul class="swatches">{items}</ul>'


def _profile_html(profile: Mapping[str, Any]) -> str:
    """What one step used memory for: a chart over the step, and a table of the holders."""
    on_gpu = profile.get("device") == "cuda"
    peak_gib = finite(profile.get("peak_gib")) or 0.0
    place = "GPU memory" if on_gpu else "memory"
    sentence = (
        '<p style="margin-top:16px">One step was watched tensor by tensor. Its tensors took at '
        f"most <b>{peak_gib:.2f} GiB</b> of {place}. Parameters, optimizer state and averaged "
        "weights stay the same "
        "whatever the batch; activations grow with batch_size and with the square of "
        "crop_size_px.</p>"
    )
    return sentence + _profile_chart(profile) + _holders_table(profile, on_gpu=on_gpu)


def _profile_chart(profile: Mapping[str, Any]) -> str:
    series: Sequence[Mapping[str, Any]] = profile["series"]
    inside = set().union(*(point["gib"] for point in series))
    names = [name for name in profile.get("holders") or sorted(inside) if name in inside]
    columns = {name: [float(point["gib"].get(name, 0.0)) for point in series] for name in names}
    # What does not change lies at the bottom, or all above it would rise and fall with the rest.
    shown = sorted(names[: len(_COLOURS)], key=lambda name: -min(columns[name]))
    layers = [Layer(name, columns[name], _COLOURS[i]) for i, name in enumerate(shown)]
    others = [columns[name] for name in names[len(_COLOURS) :]]
    if others:
        sums = [sum(values) for values in zip(*others, strict=True)]
        layers.append(Layer("everything else", sums, GREY_INDEX))
    parts = [str(point["part"]) for point in series]
    starts = [i for i, part in enumerate(parts) if i == 0 or part != parts[i - 1]]
    bands, ticks = [], []
    for number, (start, end) in enumerate(itertools.pairwise([*starts, len(parts)])):
        if number % 2:
            bands.append(Band(start, end, 0))
        if end - start >= _MIN_TICK_SHARE * len(parts):
            ticks.append(((start + end) / 2, parts[start]))
    title = "Tensors of one step in GiB"
    label = "moments of the step, in order"
    edges = range(len(series) + 1)
    return area_chart(layers, edges, title=title, x_label=label, bands=bands, ticks=ticks)


def _holders_table(profile: Mapping[str, Any], *, on_gpu: bool) -> str:
    """The largest holders, with their shares of all that lies in the same memory."""
    at_peak: Mapping[str, float] = profile.get("peak_by_holder_gib") or {}
    outside: Mapping[str, float] = profile.get("outside_gib") or {}
    own: Mapping[str, float] = profile.get("own_peak_gib") or {}
    inside_total, outside_total = sum(at_peak.values()), sum(outside.values())
    if not on_gpu:
        inside_total = outside_total = inside_total + outside_total
    rows = []
    for name in profile.get("holders") or []:
        is_outside = name in outside
        gib = float(outside[name] if is_outside else at_peak.get(name, 0.0))
        total = outside_total if is_outside else inside_total
        share = 100 * gib / total if total else 0.0
        own_gib = outside[name] if is_outside else own.get(name, gib)
        rows.append((gib, _holder_row(name, gib, share, float(own_gib), on_gpu and not is_outside)))
    rows.sort(key=lambda row: -row[0])
    headers = ("Held by", "In", "At the peak", "Share", "", "At its own most")
    hidden = len(rows) - _MAX_HOLDERS_SHOWN
    more = f"<p>And {hidden} smaller ones, listed in metrics.json.</p>" if hidden > 0 else ""
    return table_html(headers, [row for _, row in rows[:_MAX_HOLDERS_SHOWN]], "plain") + more


def _holder_row(name: str, gib: float, share: float, own_gib: float, on_gpu: bool) -> list[str]:
    return [
        f"<td>{escape(name)}</td>",
        f"<td>{'GPU' if on_gpu else 'main memory'}</td>",
        f'<td class="number">{gib:.3f} GiB</td>',
        f'<td class="number">{share:.1f} %</td>',
        _bar(share),
        f'<td class="number">{own_gib:.3f} GiB</td>',
    ]
