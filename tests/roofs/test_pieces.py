"""Pieces of hand-made class maps at 0.1 m."""

import numpy as np
import pytest

from app.roofs.pieces import PixelEvidence, equal_components, find_pieces
from app.roofs.settings import RoofSettings

NORTH, NORTH_NORTH_EAST, SOUTH, FLAT, GROUND, UNKNOWN = 0, 1, 8, 16, 17, 255


def evidence(
    classes: np.ndarray, line: np.ndarray | None = None, vote_deg: np.ndarray | None = None
) -> PixelEvidence:
    degrees = np.where(classes < 16, classes * 22.5, np.nan) if vote_deg is None else vote_deg
    angle = np.radians(degrees)
    x, y = (np.nan_to_num(part(angle)).astype(np.float32) for part in (np.sin, np.cos))
    return PixelEvidence(classes.astype(np.uint8), x, y, line)


def pieces_of(
    classes: np.ndarray, line: np.ndarray | None = None, vote_deg: np.ndarray | None = None
) -> np.ndarray:
    return find_pieces(evidence(classes, line, vote_deg), RoofSettings(), 0.1)


def gable() -> np.ndarray:
    """8 m from west to east; 4 m of it runs down to the north, 4 m to the south."""
    classes = np.full((120, 120), GROUND)
    classes[20:60, 20:100] = NORTH
    classes[60:100, 20:100] = SOUTH
    return classes


def test_components_of_all_values_at_once() -> None:
    values = np.array([[1, 1, 2], [0, 2, 1], [2, 2, 1]], np.int32)
    labels = equal_components(values)
    # Pixels that touch at corners only do not hang together.
    assert len(np.unique(labels)) == 1 + 4
    assert labels[0, 0] == labels[0, 1]
    assert labels[1, 1] == labels[2, 0] != labels[0, 2]
    assert labels[1, 0] == 0


def test_a_gable_is_two_pieces() -> None:
    classes = gable()
    pieces = pieces_of(classes)
    assert pieces.max() == 2
    np.testing.assert_array_equal(pieces > 0, classes != GROUND)
    assert (pieces[20:60, 20:100] == pieces[30, 30]).all()


def test_what_is_small_goes_to_the_neighbour_with_the_longest_edge() -> None:
    classes = gable()
    classes[54:60, 50:60] = FLAT  # 10 px of edge with the south, 22 with the north
    pieces = pieces_of(classes)
    assert pieces.max() == 2
    assert (pieces[54:60, 50:60] == pieces[30, 30]).all()


def test_a_small_piece_stays_where_lines_set_it_apart() -> None:
    classes = gable()
    classes[30:36, 50:58] = 4  # 0.48 m2: half a dormer
    around = np.zeros(classes.shape, np.float32)
    around[29:37, 49:59] = 0.9
    around[30:36, 50:58] = 0.0
    pieces = pieces_of(classes, around)
    assert pieces.max() == 3
    assert (pieces == pieces[32, 52]).sum() == 48
    # Not where lines lie on one side alone, nor where it is smaller still.
    ridge = np.where(np.indices(classes.shape)[0] == 29, around, 0)
    assert pieces_of(classes, ridge).max() == 2
    classes[30:36, 53:58] = NORTH
    around[30:36, 53:58] = 0.0
    around[29:37, 53] = 0.9
    assert pieces_of(classes, around).max() == 2


def test_what_is_thin_is_shared_out() -> None:
    classes = gable()
    classes[59:61] = np.where(classes[59:61] == GROUND, GROUND, 4)  # 0.2 m along the ridge
    pieces = pieces_of(classes)
    assert pieces.max() == 2
    assert (pieces[59, 20:100] == pieces[30, 30]).all()
    assert (pieces[60, 20:100] == pieces[90, 30]).all()


def test_what_is_small_and_alone_is_ground() -> None:
    classes = gable()
    classes[5:10, 5:10] = NORTH
    assert pieces_of(classes)[:15].max() == 0


def test_holes_and_slits_are_closed_and_what_is_unknown_is_not() -> None:
    classes = gable()
    classes[30:35, 30:35] = GROUND  # a chimney
    classes[58:61, 20:100] = GROUND  # a slit along the ridge
    classes[80:85, 40:45] = UNKNOWN
    pieces = pieces_of(classes)
    assert pieces.max() == 2
    assert (pieces[20:80, 20:100] > 0).all()
    assert (pieces[80:85, 40:45] == 0).all()


def test_a_courtyard_stays() -> None:
    classes = gable()
    classes[45:75, 45:75] = GROUND
    assert (pieces_of(classes)[45:75, 45:75] == 0).all()


@pytest.mark.parametrize(("line_column", "expected"), [(60, 3), (21, 2), (None, 2)])
def test_a_line_cuts_a_piece_that_it_runs_through(line_column: int | None, expected: int) -> None:
    line = np.zeros((120, 120), np.float32)
    if line_column is not None:
        line[20:60, line_column - 1 : line_column + 2] = 0.9
    pieces = pieces_of(gable(), line)
    assert pieces.max() == expected
    if expected == 3:
        assert pieces[40, 40] != pieces[40, 80]
        border = np.flatnonzero(np.diff(pieces[40, 20:100]))
        assert border.tolist() == [pytest.approx(40, abs=1)]


def test_a_faint_line_or_one_that_ends_within_does_not_cut() -> None:
    line = np.zeros((120, 120), np.float32)
    line[20:60, 59:62] = 0.3
    line[20:45, 39:42] = 0.9
    assert pieces_of(gable(), line).max() == 2


def test_neighbours_of_nearly_one_direction_are_one_plane_where_no_line_lies_between() -> None:
    classes = gable()
    classes[20:60, 60:100] = NORTH_NORTH_EAST
    votes = np.where(classes == SOUTH, 180.0, np.where(classes == GROUND, np.nan, 11.25))
    assert pieces_of(classes).max() == 3, "their classes alone are 22.5 degrees apart"
    assert pieces_of(classes, vote_deg=votes).max() == 2
    line = np.zeros(classes.shape, np.float32)
    line[20:60, 59:62] = 0.9
    assert pieces_of(classes, line, votes).max() == 3
