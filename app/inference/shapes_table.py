"""Scores of roofs found as shapes, in lines that can be read without docs/metrics.md."""

from collections.abc import Iterator, Mapping

from app.base.dataset_names import DatasetName
from app.metrics.definitions import MetricValue


def describe_shapes(
    values: Mapping[str, MetricValue], split: str, num_samples: Mapping[DatasetName, int]
) -> list[str]:
    """The planes and buildings of all datasets together, and of each where there are several.

    Args:
        values: Metrics by name.
        split: The first part of their names.
        num_samples: Photos by dataset.
    """
    groups = {"+".join(num_samples): split}
    if len(num_samples) > 1:
        groups |= {name: f"{split}/{name}" for name in num_samples}
    lines = []
    for name, prefix in groups.items():
        lines.append(f"roofs found in the predictions of {name}, {split}:")
        lines += _describe(values, prefix)
    return lines


def _describe(values: Mapping[str, MetricValue], prefix: str) -> Iterator[str]:
    def share(name: str) -> str:
        value = values[f"{prefix}/{name}"].value
        return "not known" if value is None else f"{100 * value:.0f} %"

    def degrees(name: str) -> str:
        value = values[f"{prefix}/{name}"].value
        return "not known" if value is None else f"{value:.1f} degrees"

    def support(name: str) -> int:
        return values[f"{prefix}/{name}"].support

    yield _row(
        "buildings",
        f"{share('buildings/recall')} of {support('buildings/recall')} found, "
        f"{share('buildings/precision')} of the finds are true",
    )
    if not support("planes/recall"):
        yield _row("planes", "no true plane of known direction here")
        return
    yield _row(
        "planes",
        f"{share('planes/recall')} of {support('planes/recall')} found, "
        f"{share('planes/precision')} of the finds are true",
    )
    num_compared = support("planes/azimuth_error_deg")
    if not num_compared:
        yield _row("azimuth", "no true plane is found")
        return
    yield _row("azimuth", f"mean error over the same {num_compared} planes:")
    yield _row(
        "  of roofs",
        f"{degrees('planes/azimuth_error_deg')}, in the median "
        f"{degrees('planes/azimuth_error_median_deg')}; within 22.5 degrees "
        f"{share('planes/azimuth_within_22_5_deg')}",
    )
    yield _row(
        "  of pixels",
        f"{degrees('planes/azimuth_error_pixels_deg')}, each pixel by itself",
    )
    yield _row(
        "  of votes",
        f"{degrees('planes/azimuth_error_votes_deg')}, all pixels of a plane together",
    )
    error = values[f"{prefix}/planes/confidence_error"].value
    if error is not None:
        side = "above" if error > 0 else "below"
        yield _row("confidence", f"{100 * abs(error):.0f} % {side} the share of right directions")
    for name, of in (("azimuth", "right directions"), ("pitch", "pitches")):
        if support(f"planes/{name}_in_interval_90"):
            held = share(f"planes/{name}_in_interval_90")
            yield _row(f"{name} +-", f"stated intervals of 90 % hold {held} of the {of}")
    if support("planes/pitch_error_deg"):
        yield _row(
            "pitch",
            f"{degrees('planes/pitch_error_deg')} off in the mean, in the median "
            f"{degrees('planes/pitch_error_median_deg')}",
        )


def _row(head: str, text: str) -> str:
    return f"  {head:<12}{text}"
