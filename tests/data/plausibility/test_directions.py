"""Directions that are turned or mirrored against the outlines of their planes."""

import re

import numpy as np
import pytest

from app.base.tasks import segments_after_turns
from app.data.lines import lines_from_segments
from app.data.plausibility.directions import count_turned_creases, judge_directions
from tests.support.fakes import gable, hip_roof

GSD_M = 0.1
# One roof each; gables alone would look the same mirrored as turned.
HOUSES = {str(deg): hip_roof(300, deg) for deg in (0, 30, 45, 70, 100, 160)}


def turned(segments, turn, flip=False):
    """Wrong labels: once more turned and mirrored they are right."""
    back = (-turn if not flip else turn) % 16
    return segments_after_turns()[int(flip), back][segments]


def judge(houses):
    counts = {key: count_turned_creases(segments, GSD_M) for key, segments in houses.items()}
    return judge_directions(counts)


def test_the_creases_of_directions_as_labelled_are_the_lines_of_the_target():
    for segments in HOUSES.values():
        lines = lines_from_segments(segments, GSD_M)
        metres = [round(GSD_M * np.count_nonzero(kind == 1)) for kind in lines[1:]]
        assert count_turned_creases(segments, GSD_M)[0, 0].tolist() == metres


def test_a_gable_turned_round_makes_a_valley_of_its_ridge():
    counts = count_turned_creases(gable(300, 0), GSD_M)
    ridge_m = counts[0, 0, 0]
    assert 20 <= ridge_m <= 23  # 0.72 of 30 m
    assert counts[0, 0].tolist() == [ridge_m, 0, 0]
    assert counts[0, 8].tolist() == [0, 0, ridge_m]
    # Mirrored top to bottom: turned round, then left to right.
    assert counts[1, 8].tolist() == [0, 0, ridge_m]


def test_sound_directions_raise_nothing():
    assert judge(HOUSES) == []


@pytest.mark.parametrize(
    ("turn", "flip", "words"),
    [
        (8, False, "turned by 180 degrees (are azimuths counted from the south, or upwards?)"),
        (4, False, "turned by 90 degrees clockwise"),
        (12, False, "turned by 90 degrees counter-clockwise"),
        (8, True, "mirrored top to bottom (were rows stored from south to north?)"),
        (0, True, "mirrored left to right"),
    ],
)
def test_the_turn_that_would_set_them_right_is_named_with_both_counts(turn, flip, words):
    [found] = judge({key: turned(segments, turn, flip) for key, segments in HOUSES.items()})
    assert (found.severity, found.kind) == ("error", "directions are turned")
    assert words in found.what
    made = [int(number) for number in re.findall(r"make (\d+) m of ridge", found.what)]
    would_be = [
        int(number) for number in re.findall(r"would make (\d+), (\d+) and (\d+)", found.what)[0]
    ]
    assert made[0] < 0.3 * would_be[0]
    assert would_be[2] <= 2  # houses of convex roofs have no valley


def test_part_of_the_samples_is_named():
    houses = {f"{copy}-{key}": house for copy in range(4) for key, house in HOUSES.items()}
    houses["0-0"] = turned(houses["0-0"], 8)
    assert judge(houses) == []
    houses["0-30"] = turned(houses["0-30"], 8)
    [found] = judge(houses)
    assert found.severity == "warning"
    assert "2 of 24 samples (0-0, 0-30)" in found.what


def test_planes_without_directions_say_nothing():
    assert count_turned_creases(np.full((50, 50), 17, np.uint8), GSD_M) is None
