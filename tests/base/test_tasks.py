"""The table of tasks: labels of fewer directions, and the effect of turns on labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.base.azimuth import BIN_NAMES, class_to_degrees, degrees_to_class
from app.base.tasks import (
    BACKGROUND_CLASS,
    FLAT_CLASS,
    IGNORE_INDEX,
    SOME_ROOF,
    TASK_NAMES,
    build_tasks,
    find_task,
    relabelling,
    segments_after_turns,
)

COARSER = (16, 8, 4)


def admitted_names(azimuth_bins, rid_label):
    """Names of the classes that a label of RID admits in a network of that many directions."""
    segments = find_task("segments", build_tasks(azimuth_bins))
    label = relabelling(azimuth_bins)[rid_label]
    return {segments.class_names[class_id] for class_id in segments.label_sets[label]}


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
def test_number_of_directions_changes_segments_and_nothing_else(azimuth_bins):
    tasks = build_tasks(azimuth_bins, superstructures=True)
    assert tuple(task.name for task in tasks) == TASK_NAMES
    assert tasks[1:] == build_tasks(superstructures=True)[1:]
    assert build_tasks(azimuth_bins) == tasks[:3]


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
def test_classes_are_labels_and_background_is_the_last(azimuth_bins):
    for task in build_tasks(azimuth_bins, superstructures=True):
        assert len(task.colours) == task.num_classes
        if task.kind == "classes":
            classes = [(class_id,) for class_id in range(task.num_classes)]
            assert list(task.label_sets[: task.num_classes]) == classes
            assert task.background_class == task.num_classes - 1
            assert len(set(task.label_sets)) == task.num_labels


@given(st.floats(0, 360, exclude_max=True), st.sampled_from(COARSER))
def test_the_new_label_admits_the_class_of_the_true_direction(azimuth_deg, azimuth_bins):
    segments = find_task("segments", build_tasks(azimuth_bins))
    name = segments.class_names[int(degrees_to_class(azimuth_deg, azimuth_bins))]
    admitted = admitted_names(azimuth_bins, int(degrees_to_class(azimuth_deg)))
    assert name in admitted
    assert len(admitted) <= 2


@pytest.mark.parametrize(
    ("azimuth_bins", "direction", "admitted"),
    [
        (16, "NNE", {"NNE"}),
        (8, "N", {"N"}),
        (8, "NNE", {"N", "NE"}),
        (8, "NNW", {"NW", "N"}),
        (4, "NNE", {"N"}),
        (4, "NE", {"N", "E"}),
        (4, "NW", {"W", "N"}),
        (4, "ENE", {"E"}),
        (1, "NE", {"roof"}),
    ],
)
def test_labels_of_directions(azimuth_bins, direction, admitted):
    assert admitted_names(azimuth_bins, BIN_NAMES.index(direction)) == admitted


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4])
def test_flat_background_and_some_roof(azimuth_bins):
    segments = find_task("segments", build_tasks(azimuth_bins))
    assert admitted_names(azimuth_bins, FLAT_CLASS) == {"flat"}
    assert admitted_names(azimuth_bins, BACKGROUND_CLASS) == {"background"}
    assert admitted_names(azimuth_bins, SOME_ROOF) == {*segments.class_names} - {"background"}


def test_roof_or_not():
    for label in range(SOME_ROOF + 1):
        expected = "background" if label == BACKGROUND_CLASS else "roof"
        assert admitted_names(1, label) == {expected}


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
def test_what_is_no_label_stays_unknown(azimuth_bins):
    assert (relabelling(azimuth_bins)[SOME_ROOF + 1 :] == IGNORE_INDEX).all()


def test_sixteen_directions_are_rids_own_labels():
    np.testing.assert_array_equal(relabelling(16)[: SOME_ROOF + 1], range(SOME_ROOF + 1))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turn", range(16))
def test_turned_labels_are_those_of_the_turned_directions(flip, turn):
    table = segments_after_turns()[int(flip), turn]
    turned_deg = class_to_degrees(np.arange(16)) + 22.5 * turn
    expected = degrees_to_class(-turned_deg if flip else turned_deg)
    np.testing.assert_array_equal(table[:16], expected)
    np.testing.assert_array_equal(table[16:], np.arange(16, 256))


def test_a_task_that_the_network_has_not():
    with pytest.raises(KeyError):
        find_task("superstructures", build_tasks())
