"""Pairs of polygons and distances of outlines, on squares that can be worked out by hand."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from app.metrics.matching import Matches, match_polygons, outline_distances

Polygons = npt.NDArray[np.object_]


def square(x: float, y: float = 0.0, side: float = 10.0, height: float | None = None) -> Any:
    return shapely.box(x, y, x + side, y + (side if height is None else height))


def shapes(*polygons: Any) -> Polygons:
    return np.array(polygons, np.object_)


def match(
    true: Polygons,
    found: Polygons,
    left_out: list[bool] | None = None,
    known: Any = None,
    least_area: float = 0.0,
) -> Matches:
    flags = np.array(left_out or [False] * len(true), np.bool_)
    return match_polygons(true, found, flags, known, least_area)


def pairs(matches: Matches) -> list[tuple[int, int]]:
    return list(zip(matches.true.tolist(), matches.found.tolist(), strict=True))


def test_a_pair_overlaps_by_more_than_half() -> None:
    # Of 10 x 10, moved by 2: 80 shared of 120; moved by 4: 60 of 140; moved by 10 / 3: half.
    true = shapes(square(0), square(20), square(40), square(60))
    found = shapes(square(44), square(22), square(60 + 10 / 3 + 1e-6))
    matches = match(true, found)
    assert pairs(matches) == [(1, 1)]
    assert matches.iou == pytest.approx([80 / 120])
    assert (matches.num_true, matches.num_found) == (4, 3)


def test_each_has_one_partner_and_the_better_one() -> None:
    true = shapes(square(0))
    found = shapes(square(2), square(1), square(3))
    matches = match(true, found)
    assert pairs(matches) == [(0, 1)]
    assert (matches.num_true, matches.num_found) == (1, 3)
    back = match(found, true)
    assert pairs(back) == [(1, 0)]
    assert (back.num_true, back.num_found) == (3, 1)


def test_what_is_left_out_is_neither_missed_nor_false() -> None:
    true = shapes(square(0), square(20), square(40))
    found = shapes(square(1), square(20, side=4), square(41))
    matches = match(true, found, left_out=[True, True, False])
    assert pairs(matches) == [(2, 2)]
    assert (matches.num_true, matches.num_found) == (1, 1)


@pytest.mark.parametrize(("x", "counts"), [(16, 0), (14, 1), (4, 1), (2, 1), (30, 0)])
def test_found_on_ground_of_which_nothing_is_known(x: float, counts: int) -> None:
    # Known from 0 to 20: of a square at 16, 6 of 10 lie beyond it.
    matches = match(shapes(square(3)), shapes(square(x)), known=square(0, side=20))
    assert matches.num_found == counts
    assert pairs(matches) == ([(0, 0)] if x in (2, 4) else [])


def test_slivers_count_only_as_partners_of_what_counts() -> None:
    true = shapes(square(0, side=2), square(20))
    # The partner of a sliver; a sliver alone; and one that is large enough, alone.
    found = shapes(square(0, side=2), square(10, side=2), square(40))
    matches = match(true, found, least_area=10.0)
    assert pairs(matches) == []
    assert (matches.num_true, matches.num_found) == (1, 1)
    # Large in truth, and found just too small.
    matches = match(shapes(square(0, side=3.2)), shapes(square(0, side=3.1)), least_area=10.0)
    assert (len(matches.iou), matches.num_true, matches.num_found) == (1, 1, 1)


@pytest.mark.parametrize("known", [None, square(0)])
def test_nothing(known: Any) -> None:
    none = shapes()
    assert match(none, none, known=known).num_true == 0
    assert match(none, shapes(square(0)), known=known).num_found == 1
    missed = match(shapes(square(0)), none, known=known)
    assert (missed.num_true, missed.num_found, len(missed.iou)) == (1, 0, 0)
    assert outline_distances(none, none).tolist() == []


@given(st.permutations(range(6)), st.floats(-3.0, 3.0))
def test_the_order_of_polygons_makes_no_difference(order: list[int], moved: float) -> None:
    true = shapes(*(square(11.0 * i) for i in range(6)))
    found = shapes(*(square(11.0 * i + moved, side=10 - abs(moved) / 2) for i in range(6)))
    straight, shuffled = match(true, found), match(true, found[order])
    assert [(one, order[other]) for one, other in pairs(shuffled)] == pairs(straight)
    assert np.array_equal(straight.iou, shuffled.iou)


def test_outlines_by_hand() -> None:
    # Moved by 1: two corners of each are 1 off, two lie on the other's outline.
    assert outline_distances(shapes(square(0)), shapes(square(1)))[0] == pytest.approx(0.5)
    # 1 smaller all around: corners are the root of 2 off, and 1 off.
    outer, inner = shapes(square(0, 0, 12)), shapes(square(1, 1, 10))
    assert outline_distances(outer, inner)[0] == pytest.approx((math.sqrt(2) + 1) / 2)
    # More corners on the same outline are no distance.
    dense = shapes(shapely.segmentize(square(0), 1.0))
    assert outline_distances(shapes(square(0)), dense)[0] == pytest.approx(0.0, abs=1e-12)
    # A hole: 4 of 8 corners lie 3 from the outline; nothing of the other's.
    hole = shapes(square(0).difference(square(3, 3, 4)))
    assert outline_distances(hole, shapes(square(0)))[0] == pytest.approx(0.75)
    # Of two parts, every corner counts the same.
    parts = shapes(shapely.MultiPolygon([square(0), square(20)]))
    assert outline_distances(parts, shapes(square(0)))[0] == pytest.approx((10 * 2 + 20 * 2) / 16)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=4))
def test_distances_of_outlines_are_those_of_the_reverse(shifts: list[tuple[int, int]]) -> None:
    one = shapes(*(square(0) for _ in shifts))
    other = shapes(*(square(x, y, 8.0) for x, y in shifts))
    there, back = outline_distances(one, other), outline_distances(other, one)
    assert there == pytest.approx(back)
    assert (there > 0).all()
    assert outline_distances(other, other) == pytest.approx(np.zeros(len(shifts)))
