"""The table of scores on photos held out."""

import pytest

from app.base.tasks import ALL_TASKS
from app.metrics.definitions import define_metrics
from app.metrics.held_out import HELD_OUT, HeldOut, tabulate
from app.metrics.roof_definitions import define_shape_metrics
from tests.support.best import scores_of


def test_scores_are_metrics_that_there_are():
    names = set()
    for row in (
        *define_shape_metrics(),
        *(row for task in ALL_TASKS for row in define_metrics(task)),
    ):
        names |= {f"{row.task}/{name}" for name, _ in row.expand()}
    assert {one.name for one in HELD_OUT} <= names


def test_a_column_for_each_dataset_and_no_row_without_a_value():
    own = HeldOut.of_document(scores_of("test"))
    airs = HeldOut.of_document(
        {
            "split": "val",
            "tta": 8,
            "num_samples": {"airs": 12},
            "metrics": {"val/segments/roof_iou": {"value": 0.5}},
        }
    )
    assert tabulate([own, airs]) == [
        ["", "Own roofs, test", "AIRS, val"],
        ["roof IoU", "0.750", "0.500"],
        ["within 22.5 deg, %", "90", "-"],
        ["photos", "3", "12"],
    ]
    assert (own.has_shapes, airs.has_shapes) == (True, False)


def test_a_file_of_several_datasets_is_none_of_these():
    with pytest.raises(ValueError, match="too many values"):
        HeldOut.of_document({**scores_of("test"), "num_samples": {"own": 3, "rid": 2}})
