"""Scores in the words of those who published the datasets."""

import pytest

from app.metrics.published import describe_published, find_quality


def test_every_dataset_has_the_protocol_of_its_own():
    values = {
        "val/rid/segments/per_image_miou": 0.25,
        "val/rid/segments/roof_iou": 0.9,
        "val/airs/segments/roof_iou": 0.8,
        "val/airs/segments/roof_precision": 0.9,
        "val/airs/segments/roof_recall": 0.875,
        "val/airs/segments/roof_f1": None,
        "val/airs/segments/per_image_miou": None,
        "val/roofline/lines/recall_3px": 0.5,
        "val/roofline/lines/precision_3px": 0.5,
        "val/roofline/lines/hip_recall_3px": 0.0,
        "val/roofline/lines/hip_precision_3px": None,
        "val/own/segments/per_image_miou": 0.3,
    }
    assert describe_published(values, "val", ["rid", "roofline", "airs", "own"]) == [
        "by the published protocols:",
        "  RID: mIoU 0.250, mean over images of each image's mean",
        "  Roofline: completeness, correctness, quality within 3 px: "
        "all 0.500, 0.500, 0.333; hip 0.000, -, -",
        "  AIRS: roofs, pixels of all photos pooled: IoU 0.800, precision 0.900, recall 0.875, "
        "F1 -",
    ]


def test_a_dataset_by_itself_has_names_without_it():
    assert describe_published({"test/segments/per_image_miou": 0.5}, "test", ["rid"])[1:] == [
        "  RID: mIoU 0.500, mean over images of each image's mean"
    ]


def test_nothing_is_said_of_what_was_not_scored():
    assert describe_published({"test/segments/roof_iou": 0.5}, "test", ["own"]) == []
    assert describe_published({"test/segments/per_image_miou": None}, "test", ["rid"]) == []


@pytest.mark.parametrize(
    ("completeness", "correctness", "quality"),
    # 30 of 40 true pixels found, 30 of 50 found ones true: 30 of the 60 that are either.
    [(0.75, 0.6, 0.5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.0, None, None)],
)
def test_quality_is_what_both_share_of_what_either_has(completeness, correctness, quality):
    assert find_quality(completeness, correctness) == pytest.approx(quality)
