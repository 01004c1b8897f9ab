"""Where the time of a step went."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.report.bottleneck import describe_bottleneck, format_s
from app.report.charts import GREY_INDEX, LAYER_COLOURS, Chart, Frame, Layer, area_chart
from app.report.tables import finite
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
        first_step: Duration of a first step that is not counted; empty if there is none.
        chart: Over the steps; None where only means are known.
        parts: Parts of a step.
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
            GREY_INDEX if name == "rest" else LAYER_COLOURS[index],
        )
        for index, (name, words) in enumerate(_PART_WORDS.items())
    ]
    return area_chart(layers, edges, Frame("Seconds of a step", "step", whole_x=True, wide=True))
