"""Polygons become the pixels whose middles they hold; lines stay one pixel thick."""

import numpy as np
import shapely
import shapely.affinity

from app.data.shapes import Shapes, fill, fill_some, trace_some


def filled(polygon, size):
    target = np.zeros(size, np.uint8)
    shapes = Shapes.of([polygon])
    stamp = fill(shapes.parts(0), size)
    if stamp is not None:
        stamp.put(target, 1)
    return target


def test_a_pixel_is_a_polygons_if_its_middle_is():
    # Middles at 0.5, 1.5, ...: from 0.6 to 2.5 there are 1.5 and, on the border, none.
    assert filled(shapely.box(0.6, 1.4, 2.5, 3.6), (5, 4)).tolist() == [
        [0, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]


def test_holes_and_what_lies_beyond_the_window_are_left_out():
    ring = shapely.box(-9, -9, 30, 30).difference(shapely.box(1, 1, 3, 3))
    expected = np.ones((4, 5), np.uint8)
    expected[1:3, 1:3] = 0
    assert np.array_equal(filled(ring, (4, 5)), expected)
    assert not filled(shapely.box(5, 0, 9, 4), (4, 5)).any()
    assert not filled(shapely.box(-9, 0, -5, 4), (4, 5)).any()


def test_triangles_that_share_edges_share_no_pixel_and_leave_none():
    rng = np.random.default_rng(0)
    points = shapely.MultiPoint(rng.uniform(-10, 74, (40, 2)))
    triangles = shapely.get_parts(shapely.delaunay_triangles(points))
    shapes = Shapes.of(triangles)
    counts = np.zeros((64, 64), np.int64)
    for triangle in range(len(shapes)):
        stamp = fill(shapes.parts(triangle), (64, 64))
        if stamp is not None:
            counts[stamp.rows, stamp.columns] += stamp.inside
    y, x = np.indices((64, 64)) + 0.5
    inside = shapely.contains_xy(shapely.union_all(triangles), x, y)
    assert np.array_equal(counts, inside.astype(np.int64))


def test_many_at_once_have_the_pixels_that_each_has_alone():
    rng = np.random.default_rng(1)
    several = [
        shapely.union_all(shapely.buffer(shapely.points(rng.uniform(-8, 40, (3, 2))), size))
        for size in rng.uniform(0.1, 9, 30)
    ]
    shapes = Shapes.of([*several, shapely.box(99, 99, 120, 120)])
    numbers = np.array([30, 4, *range(7, 29), 1])
    together = fill_some(shapes, numbers, lambda points: points - 0.25, (32, 28))
    alone = [
        (number, fill([part - 0.25 for part in shapes.parts(number)], (32, 28)))
        for number in numbers.tolist()
    ]
    alone = [(number, stamp) for number, stamp in alone if stamp is not None]
    assert 5 < len(alone) < len(numbers)
    assert [number for number, _ in together] == [number for number, _ in alone]
    for (_, stamp), (_, expected) in zip(together, alone, strict=True):
        assert stamp[:2] == expected[:2]
        assert np.array_equal(stamp.inside, expected.inside)
    assert fill_some(shapes, numbers[:0], np.negative, (32, 28)) == []


def test_shapes_of_several_parts_keep_their_own():
    two = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(4, 0, 5, 1)])
    shapes = Shapes.of([shapely.box(7, 7, 9, 9), two])
    assert [len(shapes.parts(i)) for i in range(2)] == [1, 2]
    assert shapes.touching((3.0, 0.0, 6.0, 1.0)).tolist() == [1]
    assert shapes.touching((9.5, 9.5, 12.0, 12.0)).tolist() == []


def test_a_line_runs_through_the_pixels_it_crosses():
    target = np.zeros((3, 6), np.uint8)
    lines = Shapes.of(shapely.linestrings([[(1.2, 1), (4.8, 1)], [(0, 0), (9, 0)]]))
    trace_some(target, lines, np.array([0]), lambda points: np.add(points, (0.0, 0.5)), 1)
    assert target.tolist() == [[0] * 6, [0, 1, 1, 1, 1, 0], [0] * 6]


def test_lines_of_several_parts_leave_gaps_between_them():
    target = np.zeros((1, 9), np.uint8)
    two = shapely.MultiLineString([[(0.5, 0.5), (1.5, 0.5)], [(4.5, 0.5), (5.5, 0.5)]])
    lines = Shapes.of([shapely.LineString([(2.5, 0.5), (3.5, 0.5)]), two, two])
    trace_some(target, lines, np.array([1, 2]), lambda points: points, 3)
    assert target.tolist() == [[3, 3, 0, 0, 3, 3, 0, 0, 0]]
    trace_some(target, lines, np.array([], np.int64), lambda points: points, 9)
    assert target.max() == 3


def test_polygons_come_back_with_all_their_rings():
    court = shapely.box(0, 0, 9, 9).difference(shapely.Polygon([(1, 1), (2, 1), (1, 2)]))
    two = shapely.MultiPolygon([court, shapely.Polygon([(20, 0), (30, 0), (20, 5)])])
    shapes = Shapes.of([shapely.box(7, 7, 8, 8), two])
    moved = shapes.polygon(1, lambda points: np.add(points, (1.0, 2.0)))
    assert moved.equals(shapely.affinity.translate(two, 1.0, 2.0))
