import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.azimuth import (
    BIN_NAMES,
    NUM_SQUARE_SYMMETRIES,
    class_to_degrees,
    degrees_to_class,
    turn_class,
)
from app.tasks import segments_after_symmetry


def angle_difference_deg(a_deg, b_deg):
    difference = np.asarray(a_deg, np.float64) - np.asarray(b_deg, np.float64)
    return np.abs((difference + 180.0) % 360.0 - 180.0)


@pytest.mark.parametrize(
    ("azimuth_deg", "name"),
    [(0, "N"), (11.2, "N"), (11.3, "NNE"), (90, "E"), (180, "S"), (270, "W"), (348.8, "N")],
)
def test_degrees_to_class_names_the_compass(azimuth_deg, name):
    assert BIN_NAMES[int(degrees_to_class(azimuth_deg))] == name


@given(st.floats(-1e4, 1e4), st.sampled_from([4, 8, 16]))
def test_class_centre_is_within_half_a_bin(azimuth_deg, num_bins):
    centre_deg = class_to_degrees(degrees_to_class(azimuth_deg, num_bins), num_bins)
    assert angle_difference_deg(centre_deg, azimuth_deg) <= 180 / num_bins + 1e-6


@pytest.mark.parametrize(
    ("symmetry", "before", "after"),
    [
        (0, "NNE", "NNE"),
        (1, "N", "W"),  # a quarter turn counter-clockwise takes what faced north to the west
        (1, "E", "N"),
        (2, "N", "S"),
        (3, "N", "E"),
        (4, "E", "W"),  # left-right flip
        (4, "N", "N"),
        (6, "N", "S"),  # half turn and left-right flip: upside down
        (6, "E", "E"),
        (5, "ENE", "NNE"),
    ],
)
def test_turn_class(symmetry, before, after):
    assert BIN_NAMES[turn_class(BIN_NAMES.index(before), symmetry)] == after


@given(st.integers(0, 15), st.integers(0, 3))
def test_flipping_twice_and_turning_four_times_change_nothing(class_id, quarter_turns):
    assert turn_class(turn_class(class_id, 4), 4) == class_id
    for _ in range(4):
        class_id_after = turn_class(class_id, quarter_turns)
    for _ in range(3):
        class_id_after = turn_class(class_id_after, quarter_turns)
    assert class_id_after == class_id


def test_symmetry_tables_leave_other_labels_alone():
    tables = segments_after_symmetry()
    assert tables.shape == (NUM_SQUARE_SYMMETRIES, 256)
    np.testing.assert_array_equal(tables[:, 16:], np.tile(np.arange(16, 256), (8, 1)))
    for table in tables:
        assert sorted(table[:16]) == list(range(16))
