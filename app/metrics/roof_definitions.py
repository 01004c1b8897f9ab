"""Metrics of roofs as shapes: what each is called and means, as docs/metrics.md has it."""

from collections.abc import Iterator, Mapping
from typing import Final

from app.metrics.definitions import Best, MetricDefinition
from app.metrics.matching import LEAST_IOU

# Smaller shapes are mostly slivers that one polygon leaves of another.
LEAST_AREA_M2: Final = 3.0

# The outline is all eaves and rakes, which most labels do not tell apart.
LENGTH_KINDS: Final = ("outline", "eave", "rake", "ridge", "hip", "valley")

# Half and all of the width of one of 16 directions, and how they are written in names.
AZIMUTH_LIMITS_DEG: Final = {"11_25": 11.25, "22_5": 22.5}

# The kinds of shapes that have metrics, in the order of the table.
SHAPE_TASKS: Final = ("planes", "buildings", "lengths")

_MATCHED: Final = "matched planes"
_PITCHED: Final = (
    "matched planes that are pitched in truth and by prediction. Where the truth is masks, as in "
    "RID, a true azimuth is the middle of its class of 22.5 degrees (with fewer directions, of its "
    "wider class), so that even perfect azimuths are off by up to 11.25, and by 5.6 on average"
)
_COUNTED: Final = (
    f"Shapes below {LEAST_AREA_M2:g} m2 are left out, and so are found ones without a partner that "
    "lie by more than half on ground of which nothing is known"
)


def define_shape_metrics() -> tuple[MetricDefinition, ...]:
    """The rows of the table for planes, buildings and lengths."""
    return (
        *_define_matching(
            "planes",
            "planes",
            "a true plane is a labelled polygon, less the smaller ones that stand on it; where the "
            "truth is masks, a piece of one label whose pixels touch along their sides, its stairs "
            "of pixels straightened. Roof of unknown direction is ground of which nothing is known "
            "here, and photos that show no other are left out. " + _COUNTED,
        ),
        *_define_azimuths(),
        *_define_pitches(),
        *_define_matching(
            "buildings",
            "buildings",
            "a true building is planes, those of unknown direction too, that stand at most 0.3 m "
            "apart. " + _COUNTED,
        ),
        *_define_lengths(),
    )


def _define_matching(task: str, things: str, note: str) -> Iterator[MetricDefinition]:
    def row(name: str, unit: str, best: Best, support: str, text: str) -> MetricDefinition:
        return MetricDefinition(task, name, unit, best, f"{support} {things}", text)

    yield row(
        "precision",
        "",
        "high",
        "found",
        f"Share of the found {things} that match a true one: pairs, one to one, whose intersection "
        f"over union (IoU) is above {LEAST_IOU}; {note}.",
    )
    yield row("recall", "", "high", "true", f"Share of the true {things} that match a found one.")
    yield row("f1", "", "high", "true", "Harmonic mean of precision and recall.")
    yield row("iou", "", "high", "matched", "Mean IoU of the pairs (segmentation quality).")
    yield row(
        "pq",
        "",
        "high",
        "true",
        "Panoptic quality: f1 times iou (Kirillov et al. 2019).",
    )
    yield row(
        "boundary_distance_m",
        "m",
        "low",
        "matched",
        "Mean over the pairs of the distance between outlines: the mean distance of the corners of "
        "one from the outline of the other, and the reverse, averaged (PoLiS, Avbelj et al. 2015).",
    )


def _of_matched(
    name: str,
    unit: str,
    best: Best,
    text: str,
    placeholders: Mapping[str, tuple[str | int, ...]] | None = None,
) -> MetricDefinition:
    """A metric of planes that counts the matched ones."""
    return MetricDefinition("planes", name, unit, best, _MATCHED, text, placeholders or {})


def _define_azimuths() -> Iterator[MetricDefinition]:
    def degrees(name: str, text: str) -> MetricDefinition:
        return _of_matched(name, "degrees", "low", text)

    yield _of_matched(
        "azimuth_coverage",
        "",
        "high",
        "Share of the matched planes that are pitched in truth for which an azimuth is found. The "
        "other azimuth metrics see only these.",
    )
    yield degrees(
        "azimuth_error_deg",
        "Mean angle (0 to 180) between found and true azimuth, each plane the same, over "
        f"{_PITCHED}.",
    )
    yield degrees("azimuth_error_median_deg", "Median of the same angles, to 0.1 degrees.")
    yield _of_matched(
        "azimuth_within_{limit}_deg",
        "",
        "high",
        "Share of the same angles that are at most {limit} degrees (the underscore is a point).",
        {"limit": tuple(AZIMUTH_LIMITS_DEG)},
    )
    yield _of_matched(
        "azimuth_in_interval_90",
        "",
        "near 0.9",
        "Of the same planes those that are off by at most 22.5 degrees: share whose true azimuth "
        "lies within 1.645 stated standard deviations (azimuth_sd_degrees) of the found one, which "
        "is an interval of 90 %. The others are wrong by a side, of which confidence_error tells. "
        "Not measured where true azimuths are known by their class only.",
    )
    yield _of_matched(
        "confidence_error",
        "",
        "near 0",
        "Mean stated confidence, less the share of matched planes with a right direction: off by "
        "at most 22.5 degrees, or flat in truth and by prediction. Where a true azimuth is known "
        "by its class only, the probability of that counts.",
    )
    yield _of_matched(
        "confidence_gap",
        "",
        "low",
        "The same for the planes of each tenth of confidence by itself, either way, and the mean "
        "over planes (expected calibration error). Of few planes it is never small.",
    )
    yield degrees(
        "azimuth_error_pixels_deg",
        "For comparison with azimuth_error_deg, over the same planes: what single pixels say. Mean "
        "over planes of the mean angle between the true azimuth and the expected direction of the "
        "plane's true pixels that are predicted as pitched. Planes without such a pixel are left "
        "out.",
    )
    yield degrees(
        "azimuth_error_votes_deg",
        "The same of the pixels' vote: the direction of the sum of their expected directions, each "
        "as long as it is sure.",
    )


def _define_pitches() -> Iterator[MetricDefinition]:
    answered = "matched planes whose pitch is known in truth and by prediction"
    yield _of_matched(
        "pitch_coverage",
        "",
        "high",
        "Share of the matched planes of known pitch for which a pitch is found.",
    )
    for name, text in (
        ("pitch_error_deg", f"Mean absolute error of the pitch, over {answered}."),
        ("pitch_error_median_deg", "Median of the same errors, to 0.1 degrees."),
    ):
        yield _of_matched(name, "degrees", "low", text)
    yield _of_matched(
        "pitch_in_interval_90",
        "",
        "near 0.9",
        "Share of the same planes whose true pitch lies within 1.645 stated standard deviations "
        "(pitch_sd_degrees) of the found one, which is an interval of 90 %.",
    )


def _define_lengths() -> Iterator[MetricDefinition]:
    kinds: dict[str, tuple[str | int, ...]] = {"kind": LENGTH_KINDS}
    scope = (
        "Lengths are in plan, and of what lies where lines of the kind are labelled; the outline "
        "is eaves and rakes together, and eave and rake are measured only where labels tell them "
        "apart"
    )
    yield MetricDefinition(
        "lengths",
        "{kind}_error",
        "",
        "low",
        "metres of true lines",
        "Sum over photos of the difference, either way, between found and true length of {kind} "
        f"lines, over the true length of all photos. {scope}.",
        kinds,
    )
    yield MetricDefinition(
        "lengths",
        "{kind}_total_error",
        "",
        "near 0",
        "metres of true lines",
        "Found less true length of {kind} lines, all photos added up, over the true length: photos "
        "with too much make up for those with too little.",
        kinds,
    )
