"""Labels of hand-made buildings, worked out by hand, on a grid of 10 x 10 m with 0.1 m pixels."""

import numpy as np
import pytest

from app.synthetic.geometry import Plane, Rectangle, Wing
from app.synthetic.labels import lines_from, segments_from
from app.synthetic.roofs import Grid, Roofs, add_building

EAVE, RIDGE, HIP, VALLEY = range(4)
EAST = np.array([1.0, 0.0])
SOUTH = np.array([0.0, 1.0])


def build(*wings: Wing) -> Roofs:
    roofs = Roofs.none(Grid.square(100, 0.1))
    add_building(roofs, wings)
    return roofs


def gable(footprint: Rectangle, eave_height_m: float = 3.0) -> Wing:
    return Wing(
        footprint, tuple(footprint.side_plane(sign, eave_height_m, 1.0) for sign in (1, -1))
    )


def marked_rows(line: np.ndarray, column: int) -> list[int]:
    return np.flatnonzero(line[:, column]).tolist()


@pytest.mark.parametrize(
    ("plane", "azimuth_deg"),
    [
        (Plane(0, 0, 1), 0),  # rises to the south, so it runs down to the north
        (Plane(0, -1, 0), 90),
        (Plane(0, 0, -1), 180),
        (Plane(0, 1, 0), 270),
        (Plane(0, -1, 1), 45),
    ],
)
def test_azimuth_is_the_way_down(plane: Plane, azimuth_deg: float) -> None:
    assert plane.azimuth_deg == pytest.approx(azimuth_deg)


def test_gable_with_ridge_from_west_to_east() -> None:
    roofs = build(gable(Rectangle(np.array([5.0, 5.0]), EAST, 6.0, 4.0)))
    segments = segments_from(roofs)
    expected = np.full((100, 100), 17)
    expected[30:50, 20:80] = 0
    expected[50:70, 20:80] = 8
    np.testing.assert_array_equal(segments, expected)
    # 45 degrees from eaves of 3 m: the ridge is at 5 m, and row 49 lies 0.05 m beside it.
    assert roofs.height_m[49, 50] == pytest.approx(4.95, abs=1e-5)
    assert roofs.height_m[30, 50] == pytest.approx(3.05, abs=1e-5)
    assert roofs.height_m[29, 50] == 0.0

    lines = lines_from(roofs)
    assert marked_rows(lines[RIDGE], 50) == [48, 49, 50]
    assert marked_rows(lines[EAVE], 50) == [28, 29, 30, 68, 69, 70]
    assert lines[HIP].sum() == 0
    assert lines[VALLEY].sum() == 0


def test_pyramid_has_hips_and_no_ridge() -> None:
    footprint = Rectangle(np.array([5.0, 5.0]), EAST, 4.0, 4.0)
    sides = [footprint.side_plane(sign, 3.0, 1.0) for sign in (1, -1)]
    ends = [footprint.end_plane(sign, 3.0, 1.0) for sign in (1, -1)]
    roofs = build(Wing(footprint, (*sides, *ends)))
    segments, lines = segments_from(roofs), lines_from(roofs)
    assert [segments[35, 50], segments[50, 65], segments[65, 50], segments[50, 35]] == [0, 4, 8, 12]
    # Round the very top, the north and the south plane touch between two pixels.
    top = np.zeros((100, 100), bool)
    top[47:53, 47:53] = True
    assert lines[RIDGE][~top].sum() == 0
    # The hips run along the diagonals, from corner to corner.
    for row in range(32, 49):
        assert lines[HIP, row, row] == 1
        assert lines[HIP, row, 99 - row] == 1
        assert lines[HIP, row, 50] == (row > 46)


def test_side_wing_makes_valleys() -> None:
    main = gable(Rectangle(np.array([5.0, 3.0]), EAST, 8.0, 4.0))
    side = gable(Rectangle(np.array([5.0, 5.5]), SOUTH, 5.0, 4.0))
    roofs = build(main, side)
    lines = lines_from(roofs)
    # Both ridges are 5 m high; the valleys run down from where they meet, (5, 3), at 45 degrees.
    for step in range(3, 18):
        assert lines[VALLEY, 30 + step, 50 + step] == 1
        assert lines[VALLEY, 30 + step, 49 - step] == 1
    assert lines[RIDGE, 60, 50] == 1
    assert lines[VALLEY, 60].sum() == 0
    assert segments_from(roofs)[60, 45] == 12
    assert segments_from(roofs)[60, 55] == 4


def test_coplanar_wings_are_one_facet() -> None:
    """Two halves of one gable: nothing is between them."""
    halves = [gable(Rectangle(np.array([east_m, 5.0]), EAST, 3.0, 4.0)) for east_m in (3.5, 6.0)]
    roofs = build(*halves)
    whole = build(gable(Rectangle(np.array([4.75, 5.0]), EAST, 5.5, 4.0)))
    assert len(roofs.facets) == 2
    np.testing.assert_array_equal(lines_from(roofs), lines_from(whole))


def test_flat_roof_against_a_wall_meets_it_in_an_eave() -> None:
    flat = Rectangle(np.array([8.5, 5.0]), EAST, 2.0, 4.0)
    roofs = build(
        gable(Rectangle(np.array([5.0, 5.0]), EAST, 6.0, 4.0)), Wing(flat, (Plane(2.0, 0, 0),))
    )
    assert segments_from(roofs)[50, 90] == 16
    assert roofs.height_m[50, 90] == 2.0
    assert np.flatnonzero(lines_from(roofs)[EAVE, 40]).tolist() == [
        *[18, 19, 20],
        *[78, 79, 80],
        *[93, 94, 95],
    ]


def test_dormer_hides_what_it_stands_on() -> None:
    main = gable(Rectangle(np.array([5.0, 5.0]), EAST, 6.0, 4.0))
    front = Rectangle(np.array([5.0, 6.0]), SOUTH, 1.5, 1.0)
    planes = tuple(front.side_plane(sign, 4.2, 0.5) for sign in (1, -1))
    roofs = build(main, Wing(front, planes, is_dormer=True))
    # At its front, row 65, the main roof is at 3.45 m and the dormer's ridge at 4.45 m.
    assert roofs.height_m[65, 50] == pytest.approx(4.425, abs=1e-5)
    assert roofs.facets[roofs.facet_map[65, 52]].is_dormer
    assert segments_from(roofs)[65, 52] == 4
    assert segments_from(roofs)[65, 47] == 12
    assert segments_from(roofs)[65, 60] == 8
