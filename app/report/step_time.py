"""Where the time of a step went."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.report.bottleneck import describe_bottleneck, format_s
from app.report.charts import GREY_INDEX, LAYER_COLOURS, Chart, Frame, Layer, area_chart
from app.report.tables import describe_duration, finite
from app.resources.steps import PARTS

# A row of steps.csv.
Row = Mapping[str, Any]

_PART_WORDS: Final = {
    "wait": "waiting for data", "transfer": "copying to the device",
    "forward": "forward and losses", "backward": "backward",
    "optimizer": "update of the weights", "rest": "everything else",
}  # fmt: skip
_MAX_STRETCHES: Final = 240


@dataclass(frozen=True)
class PartRow:
    """A part of a step.

    Attributes:
        words: The work done in it.
        milliseconds: On average.
        percent: Percentage of the step.
    """

    words: str
    milliseconds: float
    percent: float


@dataclass(frozen=True)
class Time:
    """Where the time goes.

    Attributes:
        bottleneck: In words, with what to do about it.
        slow: In words, how many steps were slower and what they took; empty where none was.
        chart: Over the steps; None where only means are known.
        parts: Parts of a step.
    """

    bottleneck: str
    slow: str
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
    parts = [
        PartRow(_PART_WORDS[name], 1000 * seconds, 100 * min(seconds / step_s, 1.0))
        for name, seconds in _split_step(step_time).items()
    ]
    slow = _describe_slow(step_time, metrics)
    return Time(bottleneck, slow, _steps_chart(steps) if steps else None, parts)


def _describe_slow(step_time: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """How many steps are not among the usual ones, and their share of the time."""
    duration_s, num_samples = (finite(metrics.get(name)) for name in ("duration_s", "num_samples"))
    num_slow, slow_s, all_steps_s = (
        finite(step_time.get(name)) for name in ("num_slow", "slow_s", "all_steps_s")
    )
    if not num_slow or slow_s is None or not all_steps_s:
        return ""
    num_steps = num_slow + float(step_time["num_steps"])
    share = f"{100 * slow_s / all_steps_s:.0f} % of the time of all steps"
    if duration_s and duration_s >= all_steps_s:
        share += f" and {100 * slow_s / duration_s:.0f} % of the run"
    pace = (
        f" With them, it is {num_samples / all_steps_s:.3g} samples a second."
        if num_samples
        else ""
    )
    took = describe_duration(slow_s) if slow_s >= 60 else format_s(slow_s)
    return (
        f"{num_slow:,.0f} of {num_steps:,.0f} steps {'was' if num_slow == 1 else 'were'} slow and "
        f"took {took}: {share}.{pace} Slow "
        "steps are the first one, in which buffers and workers start, and every step that takes "
        "more than four times a usual one, as on a machine that others use. The table below is of "
        "usual steps, the chart of all."
    )


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
            GREY_INDEX if name == "rest" else LAYER_COLOURS[index],
        )
        for index, (name, words) in enumerate(_PART_WORDS.items())
    ]
    return area_chart(layers, edges, Frame("Seconds of a step", "step", whole_x=True, wide=True))
