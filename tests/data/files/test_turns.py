import itertools

import numpy as np
import pytest
from rasterio.windows import Window

from app.data.files.turns import Turn

TURNS = [Turn(*flags) for flags in itertools.product((False, True), repeat=3)]
STORED = np.arange(5 * 7).reshape(5, 7)


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_a_turned_window_is_a_window_of_what_is_turned(turn):
    upright = turn.apply(STORED)
    assert upright.shape == turn.size(5, 7)
    for window in (Window(1, 0, 3, 2), Window(0, 2, 2, 3)):
        stored = turn.stored_window(window, *upright.shape)
        rows, columns = stored.toslices()
        read = turn.apply(STORED[rows, columns])
        expected_rows, expected_columns = window.toslices()
        np.testing.assert_array_equal(read, upright[expected_rows, expected_columns])


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_places_of_turned_pixels_are_those_where_they_are_stored(turn):
    upright = turn.apply(STORED)
    to_stored = turn.to_stored(*upright.shape)
    for row, column in np.ndindex(upright.shape):
        x, y = to_stored @ (column + 0.5, row + 0.5)
        assert STORED[int(y), int(x)] == upright[row, column]


def test_the_eight_turns_are_eight():
    assert len({turn.apply(STORED).tobytes() for turn in TURNS}) == 8
