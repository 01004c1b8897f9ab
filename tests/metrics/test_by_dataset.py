"""The table of metrics by dataset."""

from app.metrics.by_dataset import describe_by_dataset, rows_by_dataset

VALUES = {
    "val/segments/roof_iou": 0.5,
    "val/rid/segments/roof_iou": 0.75,
    "val/airs/segments/roof_iou": 0.25,
    "val/segments/azimuth_error_deg": 33.3,
    "val/rid/segments/azimuth_error_deg": 33.3,
    "val/airs/segments/azimuth_error_deg": None,
    "val/depth/rmse_m": None,
    "val/lines/precision_3px": 0.5,  # in no line of a log
}


def test_datasets_stand_side_by_side():
    assert describe_by_dataset(VALUES, "val", {"rid": 30, "airs": 4}) == [
        "                    RID   AIRS     all",
        "  roof IoU        0.750  0.250   0.500",
        "  azimuth error  33 deg      -  33 deg",
        "  photos             30      4      34",
        "  -: not labelled there, or not taught",
    ]


def test_drawn_datasets_are_called_synthetic():
    heading, *_ = describe_by_dataset(VALUES, "val", {"rid": 30, "airs": 4}, ["airs"])
    assert heading.split() == ["RID", "AIRS", "(synthetic)", "all"]


def test_a_single_dataset_has_the_names_of_all():
    values = {name.replace("val/", "test/"): value for name, value in VALUES.items()}
    [row, other] = rows_by_dataset(values, "test", ["own"])
    assert row.names == {"own": "test/segments/roof_iou"}
    assert (row.words, row.format("own"), other.format("own")) == ("roof IoU", "0.500", "33 deg")


def test_nothing_known_is_no_table():
    assert describe_by_dataset({"val/depth/rmse_m": None}, "val", {"rid": 3}) == []
