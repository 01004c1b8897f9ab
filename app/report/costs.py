"""What a run cost: where the time of a step went, and what memory was used for."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.report.bottleneck import describe_bottleneck, format_s
from app.report.charts import (
    GREY_INDEX,
    NUM_BAND_COLOURS,
    NUM_SERIES_COLOURS,
    Band,
    Chart,
    Frame,
    Layer,
    Series,
    area_chart,
    line_chart,
)
from app.report.steps import PARTS
from app.report.tables import finite

# A row of memory.csv or of steps.csv; None where a value is not known.
Row = Mapping[str, Any]

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


@dataclass(frozen=True)
class PartRow:
    """A part of a step.

    Attributes:
        words: What is done in it.
        milliseconds: On average.
        percent: Of the step.
    """

    words: str
    milliseconds: float
    percent: float


@dataclass(frozen=True)
class Time:
    """Where the time goes.

    Attributes:
        bottleneck: In words, with what to do about it.
        first_step: How long a first step took that is not counted; empty if there is none.
        chart: Over the steps; None where only means are known.
        parts: Of a step.
    """

    bottleneck: str
    first_step: str
    chart: Chart | None
    parts: Sequence[PartRow]


def view_time(steps: Sequence[Row], metrics: Mapping[str, Any]) -> Time | None:
    """What a step consists of; None where no step was timed.

    Args:
        steps: As StepSeries.rows; may be empty.
        metrics: Content of metrics.json: "step_time", "hyperparameters" and, where known,
            "machine" with the "device" and the "num_cores" of a training process.
    """
    step_time = metrics.get("step_time") or {}
    step_s = finite(step_time.get("step_s"))
    if not step_s:
        return None
    settings = metrics.get("hyperparameters") or {}
    machine = metrics.get("machine") or {}
    device = str(machine.get("device") or settings.get("device"))
    bottleneck = describe_bottleneck(
        step_time,
        settings,
        machine.get("num_cores"),
        device if device in ("cpu", "cuda") else None,
    )
    first_step = ""
    # As StepSeries.summary does it.
    if len(steps) > 1 and steps[0]["num_steps"] == 1:
        first_step, steps = format_s(steps[0]["step_s"]), steps[1:]
    parts = [
        PartRow(_PART_WORDS[name], 1000 * seconds, 100 * min(seconds / step_s, 1.0))
        for name, seconds in _split_step(step_time).items()
    ]
    return Time(bottleneck, first_step, _steps_chart(steps) if steps else None, parts)


def _split_step(values: Row) -> dict[str, float]:
    """Seconds of each part of a step, and of what is left."""
    parts = {str(name): float(values.get(f"{name}_s") or 0.0) for name in PARTS}
    return parts | {"rest": max(0.0, float(values["step_s"]) - sum(parts.values()))}


def _steps_chart(rows: Sequence[Row]) -> Chart:
    """Seconds of the parts over the steps; neighbours are averaged where there are many."""
    num_stretches = min(len(rows), _MAX_STRETCHES)
    bounds = [i * len(rows) // num_stretches for i in range(num_stretches + 1)]
    edges = [rows[0]["step"] - rows[0]["num_steps"]]
    stretches = []
    for start, end in itertools.pairwise(bounds):
        chosen = rows[start:end]
        edges.append(chosen[-1]["step"])
        weights = [row["num_steps"] for row in chosen]
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
    return area_chart(layers, edges, Frame("Seconds of a step", "step", whole_x=True, wide=True))


@dataclass(frozen=True)
class Memory:
    """Memory over the run, in GiB.

    Attributes:
        peak_gib: The most the job used.
        limit_gib: What it may use; None where not known.
        unique_gib: The most that was not shared between processes; None where not known.
        phases: Names in the order of their first row, each with the CSS of its swatch.
        charts: Over the run.
    """

    peak_gib: float
    limit_gib: float | None
    unique_gib: float | None
    phases: Sequence[tuple[str, str]]
    charts: Sequence[Chart]

    @property
    def percent(self) -> float:
        """The peak, of the limit."""
        return 100 * self.peak_gib / self.limit_gib if self.limit_gib else 0.0


def view_memory(rows: Sequence[Row], limit_gib: float | None) -> Memory | None:
    """Memory over the run; None where there is no row.

    Args:
        rows: As MemorySampler.rows.
        limit_gib: What the job may use.
    """
    if not rows:
        return None
    unit, divisor = ("hours", 3600) if rows[-1]["time_s"] > 7200 else ("minutes", 60)
    times = [row["time_s"] / divisor for row in rows]
    peak_gib = _highest(rows, "rss_gib") or 0.0
    lines = [
        Series("in use by the job (RSS)", times, _column(rows, "rss_gib")),
        Series("of it, not shared between processes (USS)", times, _column(rows, "uss_gib")),
    ]
    if limit_gib is not None and limit_gib <= _MAX_LIMIT_TO_PEAK * peak_gib:
        lines.append(Series("limit", times, [limit_gib] * len(times), dashed=True))
    bands = _bands(rows, times)
    charts = [line_chart(lines, Frame("Memory in GiB", unit, bands, wide=True))]
    cuda = [
        Series("allocated", times, _column(rows, "cuda_allocated_gib")),
        Series("reserved", times, _column(rows, "cuda_reserved_gib")),
    ]
    if any(line.known() for line in cuda):
        title = "GPU memory in GiB, highest so far in each phase"
        charts.append(line_chart(cuda, Frame(title, unit, bands, wide=True)))
    phases = [
        (
            _PHASE_WORDS.get(phase, phase),
            f"background:var(--band-{_phase_colour(phase)});outline:1px solid var(--grid)",
        )
        for phase in dict.fromkeys(str(row["phase"]) for row in rows)
    ]
    return Memory(peak_gib, limit_gib, _highest(rows, "uss_gib"), phases, charts)


def _column(rows: Sequence[Row], name: str) -> list[float | None]:
    return [row.get(name) for row in rows]


def _highest(rows: Sequence[Row], name: str) -> float | None:
    return max((value for value in _column(rows, name) if value is not None), default=None)


def _bands(rows: Sequence[Row], times: Sequence[float]) -> list[Band]:
    """A band for each stretch of one phase."""
    names = [str(row["phase"]) for row in rows]
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    ends = [*starts[1:], len(rows) - 1]
    return [
        Band(times[start], times[end], _phase_colour(names[start]))
        for start, end in zip(starts, ends, strict=True)
    ]


def _phase_colour(phase: str) -> int:
    return _PHASES.index(phase) % NUM_BAND_COLOURS if phase in _PHASES else 0


@dataclass(frozen=True)
class HolderRow:
    """Who holds memory.

    Attributes:
        name: Of the holder.
        place: Of the memory.
        gib: At the peak of all.
        percent: Of all that lies in the same memory then.
        own_gib: At its own most.
    """

    name: str
    place: str
    gib: float
    percent: float
    own_gib: float


@dataclass(frozen=True)
class Profile:
    """What one step used memory for.

    Attributes:
        peak_gib: The most that its tensors took.
        place: Of these.
        chart: Over the step.
        holders: The largest ones first.
        num_hidden: How many smaller ones there are.
    """

    peak_gib: float
    place: str
    chart: Chart
    holders: Sequence[HolderRow]
    num_hidden: int


def view_profile(profile: Mapping[str, Any] | None) -> Profile | None:
    """What one step used memory for; None where none was watched.

    Args:
        profile: "memory_profile" of metrics.json.
    """
    if not profile or not profile.get("series"):
        return None
    on_gpu = profile.get("device") == "cuda"
    holders = sorted(_view_holders(profile, on_gpu=on_gpu), key=lambda holder: -holder.gib)
    return Profile(
        peak_gib=finite(profile.get("peak_gib")) or 0.0,
        place="GPU memory" if on_gpu else "memory",
        chart=_profile_chart(profile),
        holders=holders[:_MAX_HOLDERS_SHOWN],
        num_hidden=max(0, len(holders) - _MAX_HOLDERS_SHOWN),
    )


def _profile_chart(profile: Mapping[str, Any]) -> Chart:
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
    frame = Frame("Tensors of one step in GiB", "moments of the step, in order", bands, wide=True)
    return area_chart(layers, range(len(series) + 1), frame, ticks)


def _view_holders(profile: Mapping[str, Any], *, on_gpu: bool) -> list[HolderRow]:
    """All holders, with their shares of all that lies in the same memory."""
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
        rows.append(
            HolderRow(
                name=name,
                place="GPU" if on_gpu and not is_outside else "main memory",
                gib=gib,
                percent=100 * gib / total if total else 0.0,
                own_gib=float(outside[name] if is_outside else own.get(name, gib)),
            )
        )
    return rows
