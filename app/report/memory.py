"""Memory of a run: how much over time, and what one step used it for."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.report.charts import (
    GREY_INDEX,
    LAYER_COLOURS,
    NUM_BAND_COLOURS,
    Band,
    Chart,
    Frame,
    Layer,
    Series,
    area_chart,
    line_chart,
)
from app.report.tables import finite

# A row of memory.csv; None where a value is not known.
Row = Mapping[str, Any]

# In the order of their colours.
_PHASE_WORDS: Final = {
    "start": "starting", "load": "loading data", "train": "training", "val": "validation",
    "export": "writing results",
}  # fmt: skip
_MAX_HOLDERS_SHOWN: Final = 15
# Words need room below the axis.
_MIN_TICK_SHARE: Final = 0.05
# A limit further above the peak would press the curves onto the axis.
_MAX_LIMIT_TO_PEAK: Final = 4.0


def _phase_colour(phase: str) -> int:
    return list(_PHASE_WORDS).index(phase) % NUM_BAND_COLOURS if phase in _PHASE_WORDS else 0


def _column(rows: Sequence[Row], name: str) -> list[float | None]:
    return [row.get(name) for row in rows]


def _highest(rows: Sequence[Row], name: str) -> float | None:
    return max((value for value in _column(rows, name) if value is not None), default=None)


@dataclass(frozen=True)
class Memory:
    """Memory over the run, in GiB.

    Attributes:
        peak_gib: The most the job used, as `plan` counts it.
        counts_shared_once: Whether pages that processes share count once in it, not once for each.
        limit_gib: What it may use; None where not known.
        phases: Names in the order of their first row, each with the CSS of its swatch.
        charts: Over the run.
    """

    peak_gib: float
    counts_shared_once: bool
    limit_gib: float | None
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
    shared_once_gib = _highest(rows, "peak_gib")
    if shared_once_gib is None:
        peak_gib = _highest(rows, "rss_gib") or 0.0
        lines = [
            Series("resident, shared pages once for each process", times, _column(rows, "rss_gib"))
        ]
    else:
        peak_gib = shared_once_gib
        lines = [
            Series("in use by the job", times, _column(rows, "peak_gib")),
            Series("not shared between processes", times, _column(rows, "uss_gib")),
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
    return Memory(peak_gib, shared_once_gib is not None, limit_gib, phases, charts)


def _bands(rows: Sequence[Row], times: Sequence[float]) -> list[Band]:
    """A band for each stretch of one phase."""
    names = [str(row["phase"]) for row in rows]
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    ends = [*starts[1:], len(rows) - 1]
    return [
        Band(times[start], times[end], _phase_colour(names[start]))
        for start, end in zip(starts, ends, strict=True)
    ]


@dataclass(frozen=True)
class HolderRow:
    """A holder of memory.

    Attributes:
        name: Name of the holder.
        place: "GPU" or "main memory".
        gib: Held when all holders together held the most.
        percent: Share of all that was in the same memory at that moment.
        own_gib: The most this holder held at any moment.
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
        place: Memory that holds these tensors, "GPU memory" or "memory".
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
    # Layers that do not change lie at the bottom; higher up they would rise and fall with the
    # others.
    shown = sorted(names[: len(LAYER_COLOURS)], key=lambda name: -min(columns[name]))
    layers = [Layer(name, columns[name], LAYER_COLOURS[i]) for i, name in enumerate(shown)]
    others = [columns[name] for name in names[len(LAYER_COLOURS) :]]
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
