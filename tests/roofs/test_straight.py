"""Coverages of straight edges from pixels."""

import math

import numpy as np
import pytest
import shapely
import shapely.affinity
from rasterio import features

from app.roofs.coverage import Coverage, trace_pieces
from app.roofs.frame import Frame
from app.roofs.pieces import equal_components
from app.roofs.settings import RoofSettings
from app.roofs.straight import find_spoilt, straighten
from tests.support.roofs import gable_planes

FRAME = Frame(np.full(2, 150.0), np.diag([0.1, -0.1]), np.diag([10.0, -10.0]))


def labels_of(planes: list, size_px: int = 300) -> np.ndarray:
    numbered = ((plane, number) for number, plane in enumerate(planes, 1))
    return features.rasterize(numbered, out_shape=(size_px, size_px), dtype=np.int32)


def straight(labels: np.ndarray, **settings: float) -> Coverage:
    chosen = RoofSettings(**settings)
    return straighten(trace_pieces(labels, FRAME, chosen.simplify_m), chosen, 0.1)


def bearings(coverage: Coverage, quarter: float = 90.0) -> np.ndarray:
    edges = coverage.edges()
    step = coverage.points[edges.end] - coverage.points[edges.start]
    return np.degrees(np.arctan2(step[:, 0], step[:, 1])) % quarter


@pytest.mark.parametrize("turn_deg", [0.0, 1.5, 11.0, 30.0, 45.0, 77.7])
def test_a_turned_gable_has_its_corners_and_directions(turn_deg: float) -> None:
    planes, _ = gable_planes(turn_deg)
    labels = labels_of(planes)
    coverage = straight(labels)
    polygons = coverage.polygons()
    assert shapely.coverage_is_valid(polygons)
    # 2 rings of 4, which share an edge: 7 edges, and 6 points of which all are used.
    assert len(coverage.edges().start) == 7
    in_pixels = np.bincount(labels.ravel())[1:] * 0.01
    assert sorted(shapely.area(polygons)) == pytest.approx(sorted(in_pixels), rel=0.005)
    off = (bearings(coverage) - turn_deg + 45) % 90 - 45
    assert np.abs(off).max() < 0.5
    for plane in planes:
        corners = FRAME.metres(shapely.get_coordinates(plane))
        found = shapely.get_coordinates(polygons)
        nearest = np.linalg.norm(corners[:, None] - found[None], axis=2).min(axis=1)
        assert nearest.max() < 0.06


def test_four_planes_that_meet_in_a_point_do_so() -> None:
    turn = np.radians(20)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners = np.array([(-50, -50), (50, -50), (50, 50), (-50, 50)]) @ matrix + 150
    planes = [shapely.Polygon([corners[i], corners[(i + 1) % 4], (150, 150)]) for i in range(4)]
    coverage = straight(labels_of(planes))
    edges = coverage.edges()
    assert len(edges.start) == 8
    meeting = np.bincount(np.concatenate((edges.start, edges.end)))
    apex = coverage.points[np.argmax(meeting)]
    assert meeting.max() == 4
    assert apex == pytest.approx([0, 0], abs=0.05)
    assert shapely.coverage_is_valid(coverage.polygons())


def test_the_hips_of_one_end_do_not_turn_those_of_another() -> None:
    # A roof 4 m wide with a hip at each end, of pitches of their own: in plan 45 and 41.5 degrees.
    steep = 20 / math.tan(math.radians(41.5))
    corners = [(100, 100), (190, 100), (190, 140), (100, 140)]
    ridge = [(120, 120), (190 - steep, 120)]
    planes = [
        shapely.Polygon([corners[0], corners[1], ridge[1], ridge[0]]),
        shapely.Polygon([corners[1], corners[2], ridge[1]]),
        shapely.Polygon([corners[2], corners[3], ridge[0], ridge[1]]),
        shapely.Polygon([corners[3], corners[0], ridge[0]]),
    ]
    turned = [shapely.affinity.rotate(plane, 23, (150, 150)) for plane in planes]
    off = (bearings(straight(labels_of(turned))) - 23 + 45) % 90 - 45
    # Bearings of the hips on either side of the ridge's.
    is_hip = np.abs(off) > 20
    assert np.abs(off[~is_hip]).max() < 0.5
    assert sorted(np.abs(off[is_hip])) == pytest.approx([41.5, 41.5, 45, 45], abs=1.0)


@pytest.mark.parametrize("turn_deg", [6.0, 36.0, 72.0])
def test_a_short_edge_at_the_end_of_a_long_one_stays(turn_deg: float) -> None:
    # A dormer on a plane: in plan, valleys of 1.9 m and eaves of 0.4 m.
    plane = shapely.box(60, 60, 220, 220)
    half = shapely.Polygon([(140, 100), (140, 118), (127, 118), (127, 114)])
    other = shapely.Polygon([(140, 100), (153, 114), (153, 118), (140, 118)])
    turned = [shapely.affinity.rotate(shape, turn_deg, (150, 150)) for shape in (half, other)]
    coverage = straight(labels_of([plane, *turned]))
    polygons = coverage.polygons()
    assert shapely.coverage_is_valid(polygons)
    for shape in turned:
        true = shapely.Polygon(FRAME.metres(shapely.get_coordinates(shape)))
        assert shapely.hausdorff_distance(polygons, true).min() < 0.15


def test_edges_are_named_from_both_sides() -> None:
    planes, _ = gable_planes(0.0)
    coverage = straight(labels_of(planes))
    edges = coverage.edges()
    step = coverage.points[edges.end] - coverage.points[edges.start]
    middle = (coverage.points[edges.end] + coverage.points[edges.start]) / 2
    left = np.stack((-step[:, 1], step[:, 0]), axis=1)
    polygons = coverage.polygons()
    for number in range(len(step)):
        inside = shapely.Point(middle[number] + 0.2 * left[number] / math.hypot(*step[number]))
        assert polygons[edges.left[number]].contains(inside)
    assert (edges.right >= 0).sum() == 1


def test_holes_and_points_that_touch_stay_a_coverage() -> None:
    labels = np.zeros((300, 300), np.int32)
    labels[50:250, 50:250] = 1
    labels[100:150, 100:150] = 2  # a dormer in the middle
    labels[180:220, 180:220] = 0  # a courtyard
    labels[250:280, 250:280] = 3  # touches at a corner
    coverage = straight(labels)
    polygons = coverage.polygons()
    assert shapely.coverage_is_valid(polygons)
    assert sorted(shapely.area(polygons)) == pytest.approx([9, 25, 400 - 25 - 16], rel=0.01)


def test_a_coverage_survives_noise() -> None:
    rng = np.random.default_rng(3)
    planes, _ = gable_planes(33.0)
    for _ in range(5):
        labels = labels_of(planes)
        # Ragged edges: each pixel takes the label of one up to 4 px away.
        rows, columns = np.indices(labels.shape)
        shifts = rng.integers(-4, 5, (2, 60, 60)).repeat(5, axis=1).repeat(5, axis=2)
        labels = labels[(rows + shifts[0]).clip(0, 299), (columns + shifts[1]).clip(0, 299)]
        pieces = equal_components(labels)
        coverage = straight(pieces)
        assert not find_spoilt(coverage).any()
        assert shapely.coverage_is_valid(coverage.polygons())


def test_what_would_be_spoilt_keeps_its_edges() -> None:
    # Two bars a pixel apart at their tips, and tolerances as wide as they are.
    labels = np.zeros((120, 120), np.int32)
    labels[10:16, 10:110] = 1
    labels[16:22, 10:60] = 2
    labels[17:23, 61:110] = 3
    labels[23:29, 10:110] = 4
    coverage = straight(labels, simplify_m=0.5, straight_m=2.0, snap_m=2.0, merge_m=2.0)
    assert coverage.num_planes == 4
    assert shapely.coverage_is_valid(coverage.polygons())
    assert (shapely.area(coverage.polygons()) > 1.0).all()
