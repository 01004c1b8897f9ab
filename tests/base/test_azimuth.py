import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.base.azimuth import (
    BIN_NAMES,
    bins_of_class,
    class_to_degrees,
    degrees_to_class,
    turn_class,
)


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
    ("turn_bins", "flip", "before", "after"),
    [
        (0, False, "NNE", "NNE"),
        (12, False, "N", "W"),  # three quarters clockwise take what faced north to the west
        (12, False, "E", "N"),
        (8, False, "N", "S"),
        (4, False, "N", "E"),
        (1, False, "NNW", "N"),
        (0, True, "E", "W"),  # left-right flip
        (0, True, "N", "N"),
        (8, True, "N", "S"),  # half turn and left-right flip: upside down
        (8, True, "E", "E"),
        (12, True, "ENE", "NNE"),
    ],
)
def test_turn_class(turn_bins, flip, before, after):
    assert BIN_NAMES[turn_class(BIN_NAMES.index(before), turn_bins, flip)] == after


@given(
    st.sampled_from([4, 8, 16]), st.integers(-40, 40), st.booleans(), st.floats(0, 360, width=32)
)
def test_a_turned_class_is_the_class_of_the_turned_direction(
    num_bins, turn_bins, flip, azimuth_deg
):
    before = int(degrees_to_class(azimuth_deg, num_bins))
    centre_deg = float(class_to_degrees(before, num_bins))
    turned_deg = centre_deg + turn_bins * 360 / num_bins
    # A left-right flip mirrors x, which is east: sine of the azimuth changes its sign.
    turned_deg = -turned_deg if flip else turned_deg
    assert turn_class(before, turn_bins, flip, num_bins) == degrees_to_class(turned_deg, num_bins)


@given(st.floats(0, 360, exclude_max=True), st.sampled_from([4, 8]))
def test_the_coarser_bins_of_a_class_hold_every_direction_in_it(azimuth_deg, num_bins):
    class_id = int(degrees_to_class(azimuth_deg))
    assert int(degrees_to_class(azimuth_deg, num_bins)) in bins_of_class(class_id, num_bins)


@pytest.mark.parametrize("num_bins", [4, 8, 16])
def test_a_class_has_one_coarser_bin_exactly_where_it_lies_in_one(num_bins):
    for class_id in range(16):
        # Directions strictly inside the class, from edge to edge.
        inside_deg = 22.5 * (class_id + np.linspace(-0.499, 0.499, 101))
        expected = np.unique(degrees_to_class(inside_deg, num_bins)).tolist()
        assert sorted(bins_of_class(class_id, num_bins)) == expected
