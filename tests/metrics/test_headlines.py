"""The table of metrics that matter: names that exist, positions without gaps, words."""

from app.base.tasks import ALL_TASKS
from app.metrics.definitions import define_metrics
from app.metrics.headlines import CHARTS, HEADLINES, cards, curves, headline
from app.metrics.roof_definitions import define_shape_metrics


def test_every_name_is_written_and_stands_once() -> None:
    defined = {
        f"val/{task.name}/{name}"
        for task in ALL_TASKS
        for row in define_metrics(task)
        for name, _ in row.expand()
    }
    defined |= {
        f"val/{row.task}/{name}" for row in define_shape_metrics() for name, _ in row.expand()
    }
    names = [one.name for one in HEADLINES]
    assert len(names) == len(set(names))
    assert set(names) - defined == {"train/loss", "val/score", "samples_per_s"}


def test_every_row_is_shown_somewhere() -> None:
    for one in HEADLINES:
        assert one.log or one.in_table or one.card or one.curve or one.figure or one.in_cloudwatch


def test_positions_leave_no_gap() -> None:
    assert [card.position for _, card in cards()] == list(range(1, 10))
    for chart in CHARTS:
        positions = [
            one.curve.position for one in HEADLINES if one.curve and one.curve.chart == chart
        ]
        assert sorted(positions) == list(range(1, len(positions) + 1))
        assert 1 <= len(curves(chart)) <= 6


def test_cards_and_curves_stand_in_the_order_of_their_positions() -> None:
    assert [name for name, _ in cards()][:5] == [
        "val/segments/roof_recall",
        "val/segments/roof_iou",
        "val/segments/plane_recall",
        "val/segments/plane_right",
        "val/segments/azimuth_right",
    ]
    assert curves(CHARTS[-1]) == [
        ("val/superstructures/any_superstructure_iou", "of any kind"),
        ("val/superstructures/miou_no_background", "of the right kind"),
    ]


def test_a_line_names_what_is_known_in_words() -> None:
    row = {
        "samples_per_s": 12.34,
        "train/loss": 1.23456,
        "val/segments/azimuth_error_deg": 17.6,
        "val/segments/roof_iou": 0.8125,
        "val/depth/rmse_m": None,
    }
    assert headline(row) == (
        "loss 1.235  roof IoU 0.812  azimuth error 18 deg  speed 12.3 samples/s"
    )


def test_a_line_of_another_split() -> None:
    row = {"test/depth/rmse_m": 2.0, "val/depth/rmse_m": 3.0}
    assert headline(row, "test") == "height RMSE 2.00 m"
