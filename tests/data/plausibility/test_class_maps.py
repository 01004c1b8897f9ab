"""Maps of classes that were averaged or saved as JPEG, and maps that were not."""

import cv2
import numpy as np
import pytest

from app.data.plausibility.class_maps import Seams, find_seams, judge_seams
from tests.support.fakes import hip_roof

SOUND = hip_roof(256, 20)


def enlarge(classes, interpolation):
    return cv2.resize(classes, None, fx=2, fy=2, interpolation=interpolation)


def as_jpeg(classes):
    return cv2.imdecode(cv2.imencode(".jpg", classes)[1], cv2.IMREAD_GRAYSCALE)


def test_every_crossing_of_a_row_and_of_a_column_is_counted():
    classes = np.full((8, 8), 17, np.uint8)
    classes[:, 4:] = 3
    assert find_seams(classes) == Seams(num_clean=8)
    assert find_seams(classes.T) == Seams(num_clean=8)


def test_a_value_between_two_areas_is_a_ramp_and_any_other_is_scattered():
    row = np.array([17] * 5 + [12, 8] + [3] * 5 + [9] + [16] * 5, np.uint8)
    other = np.array([17] * 5 + [2, 8] + [3] * 5 + [1] + [16] * 5, np.uint8)
    rows = np.stack([row] * 2 + [other] * 2)
    found = find_seams(rows)
    assert (found.num_ramps, found.num_scattered) == (4, 4)


def test_neighbouring_numbers_unknown_pixels_and_wide_things_are_no_seams():
    row = np.array([4] * 5 + [5] * 5 + [255] * 5 + [0] * 5, np.uint8)
    assert find_seams(np.stack([row] * 3)) == Seams()
    # 13 px of stripes are a thing of its own.
    stripes = np.array([17] * 5 + [2, 9] * 6 + [2] + [3] * 5, np.uint8)
    assert find_seams(np.stack([stripes] * 3)) == Seams()


def test_a_sound_map_has_hardly_a_seam_even_if_enlarged_by_nearest_neighbours():
    for classes in (SOUND, enlarge(SOUND, cv2.INTER_NEAREST)):
        found = find_seams(classes)
        assert found.num_crossings > 300
        assert found.share < 0.02
        assert not found.is_blurred


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda classes: enlarge(classes, cv2.INTER_LINEAR), "resampling with averages"),
        (lambda classes: cv2.resize(classes, (170, 170), interpolation=cv2.INTER_AREA), "averages"),
        (as_jpeg, "as in JPEG"),
        (lambda classes: enlarge(classes, cv2.INTER_CUBIC), "as in JPEG or after cubic"),
    ],
)
def test_averages_and_jpeg_are_told_apart_and_named_with_their_share(spoil, words):
    found = find_seams(spoil(SOUND))
    assert found.share > 0.6
    [judgement] = judge_seams("segments", {str(i): found for i in range(4)})
    assert judgement.severity == "error"
    assert judgement.what.startswith("class numbers of segments are mixed in 4 of 4 samples (0, 1")
    assert f"{100 * found.share:.0f} % of {4 * found.num_crossings} crossings" in judgement.what
    assert words in judgement.what
    assert "nearest" in judgement.remedy


def test_few_spoiled_maps_are_a_warning_and_a_single_one_may_be_chance():
    sound, spoiled = find_seams(SOUND), find_seams(as_jpeg(SOUND))

    def judge(num_spoiled):
        seams = {str(i): spoiled if i < num_spoiled else sound for i in range(20)}
        return [(found.severity, found.what) for found in judge_seams("segments", seams)]

    assert judge(1) == []
    [(severity, what)] = judge(2)
    assert severity == "warning"
    assert "2 of 20 samples (0, 1)" in what
    assert judge(4)[0][0] == "error"
