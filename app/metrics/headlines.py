"""Which metrics matter, said once: a row for each, with every place where it is shown.

`app.metrics.definitions` defines all metrics, also those without a row here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.base.tasks import ALL_TASKS, LINE_KINDS
from app.metrics.score import SCORE_NAME


@dataclass(frozen=True)
class LogWords:
    """A metric in the line that ends an epoch.

    Attributes:
        words: In front of the value.
        form: Format of the value, with its unit.
    """

    words: str
    form: str = "{:.3f}"


@dataclass(frozen=True)
class Card:
    """A metric among the large numbers at the top of the report.

    Attributes:
        position: Among the cards, from 1.
        title: A few words for people who look at roofs and not at code.
        explanation: One or two sentences. Placeholders: {step_deg}, degrees from one direction to
            the next; {right_deg}, within which the direction of a plane is right.
        needs_directions: Whether the card is left out for a network that knows no directions.
        if_undefined: Why a trained network has no such number; empty where the images are why.
    """

    position: int
    title: str
    explanation: str
    needs_directions: bool = False
    if_undefined: str = ""


@dataclass(frozen=True)
class CurveChart:
    """A chart of the report, over epochs.

    Attributes:
        title: With the unit.
        y_top: End of the axis, which begins at 0; None lets the values decide.
    """

    title: str
    y_top: float | None = None


@dataclass(frozen=True)
class Curve:
    """A metric as a line of a chart.

    Attributes:
        chart: The chart that shows it; each has at most six lines.
        position: Among the chart's lines, from 1.
        legend: What the line is called there.
    """

    chart: CurveChart
    position: int
    legend: str


@dataclass(frozen=True)
class Headline:
    """A metric that matters.

    Attributes:
        name: In a row of metrics.jsonl: `<split>/<task>/<metric>`, or a number of training.
        log: In the line that ends an epoch, and in that of `evaluate`.
        in_table: Whether the table that ends a run has it.
        card: At the top of the report.
        curve: In a chart of the report.
        column: Heading in the tables of `phases`; empty where it is not shown.
        figure: Its name where networks are compared, in bench/; empty where it is not.
        in_cloudwatch: Whether SageMaker reads it out of a job's log, which it does with at most 40
            names. The rest is in metrics.json.
    """

    name: str
    log: LogWords | None = None
    in_table: bool = False
    card: Card | None = None
    curve: Curve | None = None
    column: str = ""
    figure: str = ""
    in_cloudwatch: bool = True

    def of_task(self, task: str) -> bool:
        """Whether it is a metric of that task on validation images."""
        return self.name.startswith(f"val/{task}/")


_PLANES: Final = CurveChart("Roof and planes, shares (1 is perfect)", y_top=1.0)
_DIRECTIONS: Final = CurveChart("Direction of planes, error in degrees")
_LINES: Final = CurveChart("Roof lines, F1 within 3 px (1 is perfect)", y_top=1.0)
_HEIGHTS: Final = CurveChart("Heights, error in metres")
_SUPERSTRUCTURES: Final = CurveChart("Superstructures, overlap (1 is perfect)", y_top=1.0)
# In the order of the report.
CHARTS: Final = (_PLANES, _DIRECTIONS, _LINES, _HEIGHTS, _SUPERSTRUCTURES)


def _of_directions(name: str, place: tuple[int, str], explanation: str) -> Headline:
    """A share that needs directions: in the table, as a card, and as a line of the first chart.

    Args:
        name: As of a headline.
        place: Position among the cards and among the chart's lines, and the words there.
        explanation: As of a card.
    """
    position, words = place
    return Headline(
        name,
        in_table=True,
        card=Card(position, words.capitalize(), explanation, needs_directions=True),
        curve=Curve(_PLANES, position, words),
        in_cloudwatch=False,
    )


# The log, the table, and the columns of `phases` have this order.
HEADLINES: Final = (
    Headline("train/loss", log=LogWords("loss")),
    Headline(SCORE_NAME, log=LogWords("score")),
    Headline(
        "val/segments/roof_iou",
        log=LogWords("roof IoU"),
        in_table=True,
        card=Card(
            2,
            "Roof overlap",
            "Area that is roof in truth and by prediction, out of the area that is either. Missed "
            "roof and invented roof both lower it.",
        ),
        curve=Curve(_PLANES, 2, "roof overlap"),
        column="roof IoU",
        figure="roof_iou",
    ),
    Headline("val/segments/roof_precision"),
    Headline(
        "val/segments/roof_recall",
        card=Card(1, "Roof found", "Share of the true roof area that the model calls roof."),
        curve=Curve(_PLANES, 1, "roof found"),
    ),
    Headline(
        "val/segments/miou",
        log=LogWords("plane mIoU"),
        in_table=True,
        curve=Curve(_PLANES, 6, "overlap, mean of all classes"),
        column="plane mIoU",
    ),
    Headline("val/segments/miou_no_background", in_table=True, figure="miou"),
    Headline("val/segments/azimuth_within_one_bin"),
    _of_directions(
        "val/segments/azimuth_right",
        (5, "direction right"),
        "Share of all true pitched roof area that is found with its direction, or one step "
        "({step_deg} degrees) off.",
    ),
    _of_directions(
        "val/segments/plane_recall",
        (3, "planes found"),
        "Share of the true roof planes of which the model sees more than half. A plane counts "
        "as one, large or small.",
    ),
    _of_directions(
        "val/segments/plane_right",
        (4, "planes right"),
        "Share of all true roof planes that are found and run down within {right_deg} degrees "
        "of the true direction.",
    ),
    Headline(
        "val/segments/azimuth_error_deg",
        log=LogWords("azimuth error", "{:.0f} deg"),
        in_table=True,
        curve=Curve(_DIRECTIONS, 1, "mean over pixels"),
        column="azimuth error, degrees",
        figure="azimuth_error_deg",
    ),
    Headline(
        "val/segments/plane_azimuth_error_deg",
        curve=Curve(_DIRECTIONS, 2, "mean over planes"),
        in_cloudwatch=False,
    ),
    Headline("val/segments/azimuth_accuracy"),
    Headline("val/segments/azimuth_coverage", in_table=True),
    Headline(
        "val/lines/precision_3px",
        in_table=True,
        card=Card(
            7,
            "Drawn lines true",
            "Share of the length drawn that has a true line of its kind at most 3 pixels away.",
            if_undefined="no line was drawn",
        ),
    ),
    Headline(
        "val/lines/recall_3px",
        in_table=True,
        card=Card(
            6,
            "Lines found",
            "Share of the true length of eaves, ridges, hips and valleys that is drawn at most "
            "3 pixels away.",
        ),
    ),
    Headline("val/lines/f1_2px", in_table=True, figure="line_f1", in_cloudwatch=False),
    Headline("val/lines/ods_f1_2px", figure="line_ods_f1", in_cloudwatch=False),
    Headline(
        "val/lines/f1_3px",
        log=LogWords("line F1 at 3 px"),
        in_table=True,
        curve=Curve(_LINES, 1, "all"),
        column="line F1 at 3 px",
    ),
    Headline("val/lines/f1_5px", in_table=True, in_cloudwatch=False),
    *(
        Headline(f"val/lines/{kind}_f1_2px", figure=f"{kind}_f1", in_cloudwatch=False)
        for kind in LINE_KINDS
    ),
    *(
        Headline(f"val/lines/{kind}_f1_3px", in_table=True, curve=Curve(_LINES, position, kind))
        for position, kind in enumerate(LINE_KINDS, start=2)
    ),
    Headline(
        "val/depth/mae_m",
        in_table=True,
        curve=Curve(_HEIGHTS, 2, "mean of all pixels"),
    ),
    Headline(
        "val/depth/rmse_m",
        log=LogWords("height RMSE", "{:.2f} m"),
        in_table=True,
        column="height RMSE, m",
    ),
    Headline("val/depth/bias_m"),
    Headline("val/depth/nmad_m"),
    Headline(
        "val/depth/above_half_m_mae_m",
        in_table=True,
        card=Card(
            8,
            "Height off by",
            "Mean difference between predicted and true height, over all that stands more than "
            "0.5 m above ground. Open ground is easy and not counted.",
        ),
        curve=Curve(_HEIGHTS, 1, "mean above 0.5 m"),
    ),
    Headline("val/depth/above_half_m_rmse_m", in_table=True),
    Headline("val/depth/above_half_m_bias_m"),
    Headline("val/depth/above_half_m_nmad_m", in_table=True),
    # Only where one dataset labels planes and heights, as the scenes of bench/ do.
    Headline("val/depth/roof_rmse_m", figure="height_rmse_m", in_cloudwatch=False),
    Headline("val/depth/delta_1"),
    Headline("val/superstructures/miou", in_table=True, in_cloudwatch=False),
    Headline(
        "val/superstructures/miou_no_background",
        log=LogWords("superstructure mIoU"),
        in_table=True,
        card=Card(
            9,
            "Superstructure overlap",
            "Area of windows, dormers, chimneys and so on in truth and by prediction, out of the "
            "area that is either; mean of the kinds. People who label the same roofs reach about "
            "40 % with each other.",
        ),
        curve=Curve(_SUPERSTRUCTURES, 2, "of the right kind"),
    ),
    Headline(
        "val/superstructures/any_superstructure_iou",
        in_table=True,
        curve=Curve(_SUPERSTRUCTURES, 1, "of any kind"),
    ),
    # Of `evaluate --vectors` alone.
    Headline("val/planes/pq", log=LogWords("plane PQ"), in_cloudwatch=False),
    Headline(
        "val/planes/azimuth_error_deg",
        log=LogWords("azimuth error of found planes", "{:.1f} deg"),
        in_cloudwatch=False,
    ),
    Headline(
        "val/planes/azimuth_error_pixels_deg",
        log=LogWords("azimuth error of their pixels", "{:.1f} deg"),
        in_cloudwatch=False,
    ),
    # Beside those of training they tell a network that learns its photos by heart.
    *(Headline(f"val/{task.name}/loss") for task in ALL_TASKS),
    Headline("samples_per_s", log=LogWords("speed", "{:.1f} samples/s")),
)


def headline(row: Mapping[str, float | int | None], split: str = "val") -> str:
    """One line of the numbers a person asks for first; those without a value are left out."""
    return "  ".join(
        f"{one.log.words} {one.log.form.format(value)}"
        for one in HEADLINES
        if one.log and (value := row.get(one.name.replace("val/", f"{split}/"))) is not None
    )


def cards() -> list[tuple[str, Card]]:
    """Names and cards of the report, in their order."""
    found = [(one.name, one.card) for one in HEADLINES if one.card]
    return sorted(found, key=lambda pair: pair[1].position)


def curves(chart: CurveChart) -> list[tuple[str, str]]:
    """Names and legends of a chart's lines, in their order."""
    found = [(one.curve, one.name) for one in HEADLINES if one.curve and one.curve.chart == chart]
    found.sort(key=lambda pair: pair[0].position)
    return [(name, curve.legend) for curve, name in found]
