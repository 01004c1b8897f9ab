"""Polygons become the pixels whose middles they hold; lines stay one pixel thick."""

import numpy as np
import shapely
import shapely.affinity

from app.data.shapes import Shapes, fill, trace


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


def test_shapes_of_several_parts_keep_their_own():
    two = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(4, 0, 5, 1)])
    shapes = Shapes.of([shapely.box(7, 7, 9, 9), two])
    assert [len(shapes.parts(i)) for i in range(2)] == [1, 2]
    assert shapes.touching((3.0, 0.0, 6.0, 1.0)).tolist() == [1]
    assert shapes.touching((9.5, 9.5, 12.0, 12.0)).tolist() == []


def test_a_line_runs_through_the_pixels_it_crosses():
    target = np.zeros((3, 6), np.uint8)
    trace(target, [np.array([(1.2, 1.5), (4.8, 1.5)])], 1)
    assert target.tolist() == [[0] * 6, [0, 1, 1, 1, 1, 0], [0] * 6]


def test_polygons_come_back_with_all_their_rings():
    court = shapely.box(0, 0, 9, 9).difference(shapely.Polygon([(1, 1), (2, 1), (1, 2)]))
    two = shapely.MultiPolygon([court, shapely.Polygon([(20, 0), (30, 0), (20, 5)])])
    shapes = Shapes.of([shapely.box(7, 7, 8, 8), two])
    moved = shapes.polygon(1, lambda points: np.add(points, (1.0, 2.0)))
    assert moved.equals(shapely.affinity.translate(two, 1.0, 2.0))
