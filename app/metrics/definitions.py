"""What every metric is called and means: the one table behind metrics.json and docs/metrics.md."""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from app.base.tasks import Task
from app.metrics.plane_shares import PLANE_SHARES

Best = Literal["high", "low", "near 0", "near 0.9", "any"]

# Name of the only metric that is not counted from predictions alone.
_LOSS: Final = "loss"

LINE_TOLERANCES_PX: Final = (2, 3, 5)
# 0.05, 0.1 ... 0.95, 0.5 among them. F1 is flat around its best, so finer steps would only take
# longer; below 0.05, a network that has just begun sees lines all over an image.
LINE_THRESHOLDS: Final = tuple(step / 20 for step in range(1, 20))

# The names of metrics over a part of the heights begin with that of the part.
ROOF_REGION: Final = "roof_"
DEPTH_REGIONS: Final = {
    "": "all pixels of known height",
    "above_half_m_": "pixels more than 0.5 m above ground in truth",
    ROOF_REGION: "pixels of known height that are roof in the segments target",
}


@dataclass(frozen=True)
class MetricValue:
    """A number with everything a reader needs to understand it.

    Attributes:
        value: None where undefined: nothing to count, as in a task that no dataset labels.
        support: How many things were counted.
        support_unit: The name of these things, such as "pixels".
        unit: Unit of the value; empty for a share in [0, 1].
        definition: In words.
        split: The samples' split: "train", "val" or "test". Empty until RoofMetrics fills it in.
        dataset: The samples' dataset. Empty until RoofMetrics fills it in.
    """

    value: float | None
    support: int
    support_unit: str
    unit: str
    definition: str
    split: str = ""
    dataset: str = ""

    def to_json(self) -> dict[str, str | int | float | None]:
        """An entry of metrics.json."""
        return {
            "value": self.value,
            "unit": self.unit,
            "split": self.split,
            "dataset": self.dataset,
            "support": self.support,
            "support_unit": self.support_unit,
            "definition": self.definition,
        }


@dataclass(frozen=True)
class MetricDefinition:
    """A row of the table; a placeholder in braces makes it stand for several metrics.

    Attributes:
        task: The task that the metric scores, or the shapes.
        name: The last part of the full name `<split>/<task>/<name>`.
        unit: Unit of the value; empty for a share in [0, 1].
        best: The good values; "any" where none is better than another.
        support_unit: The name of the things counted, such as "pixels".
        text: The definition in words.
        placeholders: The values of each placeholder in `name` and `text`.
    """

    task: str
    name: str
    unit: str
    best: Best
    support_unit: str
    text: str
    placeholders: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)

    def expand(self) -> Iterator[tuple[str, str]]:
        """Name and definition of every metric the row stands for."""
        for values in itertools.product(*self.placeholders.values()):
            filled = dict(zip(self.placeholders, values, strict=True))
            yield self.name.format(**filled), self.text.format(**filled)


def define_metrics(task: Task) -> tuple[MetricDefinition, ...]:
    """The rows of the table for a task."""
    define = {
        "segments": _segments_definitions,
        "lines": _lines_definitions,
        "depth": _depth_definitions,
        "superstructures": _superstructures_definitions,
    }
    return (*define[task.name](task), _define_loss(task))


def _define_loss(task: Task) -> MetricDefinition:
    return MetricDefinition(
        task=task.name,
        name=_LOSS,
        unit="loss",
        best="low",
        support_unit="known pixels of each kind" if task.kind == "multilabel" else "known pixels",
        text=f"Loss of training, as train/{task.name}/loss, of images without augmentation and by "
        "the averaged weights; mean over known pixels. Photos larger than a window count part by "
        "part.",
    )


def describe_loss(task: Task, value: float | None, support: int) -> dict[str, MetricValue]:
    """The row of a task's loss."""
    row = _define_loss(task)
    [(name, text)] = row.expand()
    return {name: MetricValue(value, support, row.support_unit, row.unit, text)}


def _share(
    task: Task,
    name: str,
    support_unit: str,
    text: str,
    placeholders: Mapping[str, tuple[str | int, ...]] | None = None,
) -> MetricDefinition:
    return MetricDefinition(task.name, name, "", "high", support_unit, text, placeholders or {})


def _class_definitions(task: Task, thing: str, note: str = "") -> Iterator[MetricDefinition]:
    note = f"Undefined where no {thing} occurs in the targets.{note}"
    left_out = "Images of which nothing is known are left out."
    if task.vague_labels:
        left_out = (
            "Images of which nothing is known or that show roof of unknown direction are left out; "
            "where there are any of the latter, images of background alone too, since their labels "
            "may know no directions."
        )
    yield _share(
        task,
        "miou",
        "classes",
        "Mean of the IoUs of the classes that occur in the targets, background included; "
        f"each class weighs the same. {note}",
    )
    yield _share(task, "miou_no_background", "classes", f"The same mean without background. {note}")
    yield _share(
        task,
        "iou_{class}",
        "target pixels",
        "Intersection over union (IoU) of class {class}: pixels that are it and are predicted as "
        f"it, over pixels that are either. Undefined if the targets have none. {note}",
        {"class": task.class_names},
    )
    yield _share(
        task,
        "per_image_miou",
        "images",
        "Mean over images of the mean of an image's IoUs, over the classes that occur in its "
        "target or its prediction, background included: what RID's evaluation reports. Each image "
        "weighs the same, where in miou each pixel does, and a class that an image has none of "
        f"counts as 0 where it is predicted there. {left_out} {note}",
    )
    yield _share(
        task,
        "per_image_iou_{class}",
        "images",
        "Mean over images of the IoU of class {class} in the image, where it occurs in the target "
        f"or the prediction. {left_out} {note}",
        {"class": task.class_names},
    )


def _segments_definitions(task: Task) -> Iterator[MetricDefinition]:
    note = ""
    if task.num_labels > task.num_classes + 1:
        note += (
            " A label of two directions counts as the one predicted, else as the one nearer to "
            "the prediction; where no direction is predicted, half of its pixels as each."
        )
    share = functools.partial(_share, task)
    directions = f"one of {task.azimuth_bins}" if task.azimuth_bins else "this network knows none"
    yield from _class_definitions(task, "class of roof", note)
    note = f"Undefined where no class of roof occurs in the targets.{note}"
    yield share(
        "pixel_accuracy", "pixels", f"Share of the pixels of known class predicted as it. {note}"
    )
    yield share(
        "mean_class_accuracy",
        "classes",
        "Mean over the classes that occur in the targets of the share of a class's pixels "
        f"predicted as it. {note}",
    )
    yield share(
        "roof_iou",
        "target roof pixels",
        "Intersection over union of roof, whatever its direction (flat and unknown direction "
        "included), against background.",
    )
    yield share(
        "roof_precision", "predicted roof pixels", "Share of the predicted roof that is roof."
    )
    yield share("roof_recall", "target roof pixels", "Share of the roof predicted as roof.")
    yield share("roof_f1", "target roof pixels", "Harmonic mean of roof_precision and roof_recall.")
    yield share(
        "azimuth_coverage",
        "target pitched pixels",
        "Share of the pixels of pitched roof predicted as pitched, in any direction. The other "
        "azimuth metrics see only these.",
    )
    yield share(
        "azimuth_accuracy",
        "pitched pixels",
        f"Share predicted as exactly their direction ({directions}), of the pixels that are "
        "pitched and predicted as pitched.",
    )
    yield share(
        "azimuth_within_one_bin",
        "pitched pixels",
        "As azimuth_accuracy, the two neighbouring directions counted as right.",
    )
    yield share(
        "azimuth_right",
        "target pitched pixels",
        "Share of all pixels of pitched roof predicted as their direction or one of the two beside "
        "it: azimuth_coverage times azimuth_within_one_bin.",
    )
    yield MetricDefinition(
        task="segments",
        name="azimuth_error_deg",
        unit="degrees",
        best="low",
        support_unit="pitched pixels",
        text="Mean angle (0 to 180) between the expected direction and the centre of the true "
        "direction's bin (of both bins, where the label is two), over pixels that are pitched and "
        "predicted as pitched. The expected direction is that of the sum of the directions' unit "
        "vectors weighted by their probabilities.",
    )
    for name, text in PLANE_SHARES.items():
        yield share(name, "planes", text)
    yield MetricDefinition(
        task="segments",
        name="plane_azimuth_error_deg",
        unit="degrees",
        best="low",
        support_unit="planes",
        text="Mean angle (0 to 180) between a plane's direction, as in plane_azimuth_accuracy, and "
        "the centre of its true direction's bin (of both bins, where the label is two). Each plane "
        "weighs by all of its target pixels.",
    )


def _superstructures_definitions(task: Task) -> Iterator[MetricDefinition]:
    yield from _class_definitions(task, "superstructure")
    yield _share(
        task,
        "any_superstructure_iou",
        "target superstructure pixels",
        "Intersection over union of superstructures, whatever their class, against background.",
    )


def _lines_definitions(task: Task) -> Iterator[MetricDefinition]:
    tolerance: dict[str, tuple[str | int, ...]] = {"tolerance": LINE_TOLERANCES_PX}
    kind = {"kind": task.class_names, **tolerance}
    first, *_, last = LINE_THRESHOLDS
    ods = (
        f"one threshold of the probability ({len(LINE_THRESHOLDS)} from {first} to {last}) for the "
        "whole split"
    )
    measures: dict[str, tuple[str, Best, str, str]] = {
        "precision": (
            "",
            "high",
            "predicted centre-line pixels",
            "Share of the predicted centre-line pixels (probability above 0.5, thinned to 1 px, "
            "outside unknown areas) that have a true centre line of the same kind at most "
            "{tolerance} px away.",
        ),
        "recall": (
            "",
            "high",
            "target centre-line pixels",
            "Share of the true centre-line pixels (thinned to 1 px) that have a predicted centre "
            "line of the same kind at most {tolerance} px away.",
        ),
        "f1": (
            "",
            "high",
            "target centre-line pixels",
            "Harmonic mean of precision and recall at {tolerance} px.",
        ),
        "ods_f1": (
            "",
            "high",
            "target centre-line pixels",
            f"The best f1 at {{tolerance}} px that {ods} reaches in place of 0.5 (optimal dataset "
            "scale, ODS).",
        ),
        "ods_threshold": (
            "probability",
            "any",
            "target centre-line pixels",
            "The threshold of ods_f1 at {tolerance} px; of several, the one nearest 0.5.",
        ),
    }
    for measure, (unit, best, support_unit, text) in measures.items():
        for prefix, scope, placeholders in (
            ("", "All kinds with known pixels, their counts added up.", tolerance),
            ("{kind}_", "Only {kind} lines.", kind),
        ):
            yield MetricDefinition(
                task="lines",
                name=prefix + measure + "_{tolerance}px",
                unit=unit,
                best=best,
                support_unit=support_unit,
                text=f"{text} {scope}",
                placeholders=placeholders,
            )


def _depth_definitions(task: Task) -> Iterator[MetricDefinition]:
    measures: dict[str, tuple[Best, str]] = {
        "mae_m": ("low", "Mean absolute error"),
        "rmse_m": ("low", "Root of the mean squared error"),
        "bias_m": ("near 0", "Mean of predicted minus true height"),
        "nmad_m": (
            "low",
            "Spread without outliers: 1.4826 times the median distance of the errors from their "
            "median, from a histogram of 1 cm bins",
        ),
    }
    for prefix, region in DEPTH_REGIONS.items():
        for name, (best, text) in measures.items():
            yield MetricDefinition(
                task.name, prefix + name, "m", best, "pixels", f"{text}, over {region}."
            )
    tall = "over pixels more than 1 m above ground in truth."
    yield MetricDefinition(
        task.name,
        "abs_rel",
        "",
        "low",
        "pixels",
        f"Mean of absolute error divided by true height, {tall}",
    )
    yield _share(
        task,
        "delta_1",
        "pixels",
        f"Share whose predicted and true height differ by less than a factor of 1.25, {tall}",
    )


def attach_definitions(
    task: Task, values: Mapping[str, tuple[float | None, int]]
) -> dict[str, MetricValue]:
    """Every metric of a task, in the order of the table.

    Args:
        task: The task that the metrics score.
        values: Value and support by name, of every metric that the table has but the loss.
    """
    return describe([row for row in define_metrics(task) if row.name != _LOSS], values)


def describe(
    rows: Iterable[MetricDefinition], values: Mapping[str, tuple[float | None, int]]
) -> dict[str, MetricValue]:
    """The metrics of some rows, of which `values` has exactly these."""
    described: dict[str, MetricValue] = {}
    for row in rows:
        for name, text in row.expand():
            value, support = values[name]
            assert value is None or math.isfinite(value), f"{row.task}/{name} is {value}"
            described[name] = MetricValue(value, support, row.support_unit, row.unit, text)
    assert described.keys() == values.keys()
    return described
