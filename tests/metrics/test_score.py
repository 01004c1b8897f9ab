"""The score that decides which weights are kept, worked out by hand."""

import pytest

from app.metrics.definitions import MetricValue
from app.metrics.score import compute_score

ALL = ("segments", "lines", "depth", "superstructures")


def metric(value: float | None, support: int = 1) -> MetricValue:
    return MetricValue(value, support, "pixels", "", "")


def values(prefix: str = "val/", **numbers: float | None) -> dict[str, MetricValue]:
    """Metrics by task and name, as segments__roof_iou=0.5; None is one without support."""
    return {
        prefix + name.replace("__", "/"): metric(value, 0 if value is None else 1)
        for name, value in numbers.items()
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"segments__roof_iou": 0.8, "segments__miou_no_background": 0.4}, 0.6),
        # AIRS tells no directions.
        ({"segments__roof_iou": 0.8, "segments__miou_no_background": None}, 0.8),
        ({"depth__mae_m": 0.0}, 1.0),
        ({"depth__mae_m": 3.0}, 0.25),
        ({"segments__roof_iou": 0.8, "lines__f1_3px": 0.2, "depth__mae_m": 1.0}, 0.5),
        ({"superstructures__miou_no_background": 0.3}, 0.3),
        ({"segments__roof_iou": None}, None),
        ({}, None),
    ],
)
def test_of_one_dataset(found: dict[str, float | None], expected: float | None) -> None:
    score = compute_score(values(**found), ALL, ("rid",), ("rid",))
    assert score == (None if expected is None else pytest.approx(expected))


def test_only_trained_tasks_count() -> None:
    found = values(segments__roof_iou=0.8, lines__f1_3px=0.2)
    assert compute_score(found, ("lines",), ("rid",), ("rid",)) == pytest.approx(0.2)


def test_lines_of_which_none_is_right_or_wrong_score_nothing() -> None:
    """Their F1 is undefined though there were lines to find; another epoch's need not be."""
    found = {"val/lines/f1_3px": metric(None, support=9)}
    assert compute_score(found, ALL, ("rid",), ("rid",)) == 0


def test_each_dataset_trained_on_counts_the_same_for_the_tasks_that_it_labels() -> None:
    found = {
        **values(segments__roof_iou=0.99, lines__f1_3px=0.99),  # of the pixels of all
        **values("val/rid/", segments__roof_iou=0.6, lines__f1_3px=0.5),
        **values("val/own/", segments__roof_iou=0.2, lines__f1_3px=None),
        **values("val/airs/", segments__roof_iou=0.1),  # validated on, not trained on
    }
    score = compute_score(found, ALL, ("rid", "own"), ("rid", "airs", "own"))
    assert score == pytest.approx(((0.6 + 0.2) / 2 + 0.5) / 2)
