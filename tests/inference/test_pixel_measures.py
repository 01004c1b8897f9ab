"""Lengths of lines in masks, found lengths on known ground, and what pixels say of planes."""

import math

import cv2
import numpy as np
import pytest
import shapely
import torch

from app.base.tasks import IGNORE_INDEX
from app.data.lines import draw_lines
from app.data.sample import DrawnShapes
from app.inference.evidence import PhotoEvidence
from app.inference.pixel_measures import find_pixel_errors_deg, length_px, measure_lengths_m
from app.metrics.roof_definitions import LENGTH_KINDS
from app.metrics.roofs import FoundRoofs, TrueRoofs

SIDE_PX = 240
NONE = np.array([], np.object_)


def draw(*lines, width_px=1):
    mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    for line in lines:
        cv2.polylines(mask, [np.array(line, np.int32)], False, 1, width_px)
    return mask.view(np.bool_)


@pytest.mark.parametrize("width_px", [1, 3])
def test_straight_lines_at_any_angle(width_px):
    off = []
    for angle_deg in range(0, 180, 7):
        angle = math.radians(angle_deg)
        end = 120 + 90 * np.array([math.cos(angle), math.sin(angle)])
        start = 240 - end
        off.append(length_px(draw([start, end], width_px=width_px)) / 180 - 1)
    assert np.abs(off).max() < 0.02
    assert abs(np.mean(off)) < 0.01


def test_rings_crosses_and_several_lines():
    ring = [(40, 40), (200, 60), (180, 200), (60, 180), (40, 40)]
    assert length_px(draw(ring)) == pytest.approx(shapely.LineString(ring).length, rel=0.01)
    cross = draw([(20, 120), (220, 120)], [(120, 20), (120, 220)])
    assert length_px(cross) == pytest.approx(400, rel=0.015)
    apart = draw([(20, 20), (220, 20)], [(20, 60), (20, 220)])
    assert length_px(apart) == pytest.approx(200 + 160, rel=0.01)
    assert length_px(draw()) == 0.0


def found_lines(*lines):
    none = np.array([])
    return FoundRoofs(
        NONE, none, none, none, none, none, NONE,
        np.array([shapely.LineString(points) for _, points in lines], np.object_),
        tuple(kind for kind, _ in lines),
    )  # fmt: skip


def by_kind(targets, found, shapes=None):
    lengths = measure_lengths_m({"lines": torch.from_numpy(targets)}, shapes, found, 0.1)
    return {kind: tuple(lengths[:, i]) for i, kind in enumerate(LENGTH_KINDS)}


def test_lengths_where_lines_are_labelled():
    """A ridge, and right of column 120 nothing that is known of hips; valleys are not labelled."""
    centres = np.zeros((4, SIDE_PX, SIDE_PX), np.uint8)
    centres[0] = draw([(20, 20), (220, 20)])
    centres[1] = draw([(20, 100), (220, 100)])
    centres[2, :, 120:] = IGNORE_INDEX
    centres[3] = IGNORE_INDEX
    targets = draw_lines(centres, 0.1)
    found = found_lines(
        ("eave", [(20, 20.5), (120, 20.5)]),
        ("rake", [(120, 20.5), (200, 20.5)]),
        ("ridge", [(20, 103), (220, 103)]),
        ("hip", [(70, 150), (170, 150)]),
        ("valley", [(70, 180), (170, 180)]),
    )
    values = by_kind(targets, found)
    assert values["outline"] == pytest.approx((20.0, 18.0), abs=0.2)
    # 3 px beside the line is still a ridge, drawn elsewhere.
    assert values["ridge"] == pytest.approx((20.0, 20.0), abs=0.2)
    assert values["hip"] == pytest.approx((0.0, 5.0), abs=0.06)
    for kind in ("valley", "eave", "rake"):
        assert all(math.isnan(value) for value in values[kind])


def test_eaves_and_rakes_where_people_told_them_apart():
    centres = np.zeros((4, SIDE_PX, SIDE_PX), np.uint8)
    centres[0] = draw([(20, 20), (220, 20), (220, 120)])
    none = np.array([])
    shapes = DrawnShapes(
        NONE,
        none,
        none,
        none.astype(np.bool_),
        NONE,
        None,
        {"eave": 20.0, "rake": 10.0, "ridge": 7.0},
    )
    found = found_lines(("eave", [(20, 20), (210, 20)]), ("rake", [(220, 20), (220, 100)]))
    values = by_kind(draw_lines(centres, 0.1), found, shapes)
    assert values["eave"] == pytest.approx((20.0, 19.0), abs=0.06)
    assert values["rake"] == pytest.approx((10.0, 8.0), abs=0.06)
    assert values["outline"] == pytest.approx((30.0, 27.0), abs=0.3)
    # What people drew stands above what is measured in pixels.
    assert values["ridge"] == (7.0, 0.0)


def test_lines_beyond_the_photo_count_nothing():
    targets = np.zeros((4, SIDE_PX, SIDE_PX), np.uint8)
    values = by_kind(targets, found_lines(("ridge", [(-20, 120), (260, 120)])))
    assert values["ridge"] == pytest.approx((0.0, 24.0), abs=0.06)
    assert by_kind(targets, found_lines())["ridge"] == (0.0, 0.0)


def test_pixels_of_a_plane_and_their_vote():
    """A plane of four columns: two say N surely, one E hardly, and one is not pitched."""
    classes = np.array([[0, 0, 4, 17, 0]] * 4, np.uint8)
    # In steps of a hundredth, from 100 on; 255 is no data.
    right = np.array([[100, 100, 140, 100, 100]] * 3 + [[100, 100, 140, 100, 255]], np.uint8)
    up = np.array([[200, 200, 100, 120, 0]] * 3 + [[200, 200, 100, 120, 255]], np.uint8)
    evidence = PhotoEvidence({"classes": classes, "direction_x": right, "direction_y": up})
    planes = np.array([shapely.box(0, 0, 4, 4), shapely.box(3, 0, 4, 4), shapely.box(4, 0, 5, 4)])
    nothing = np.zeros(3, np.bool_)
    true = TrueRoofs(
        planes, np.array([350.0, 0.0, np.nan]), np.full(3, np.nan), nothing, NONE, None, 0.0
    )
    errors = find_pixel_errors_deg(true, evidence, 16)
    vote_deg = math.degrees(math.atan2(40, 200)) + 10
    assert errors[:, 0] == pytest.approx([(10 + 10 + 100) / 3, vote_deg])
    assert np.isnan(errors[:, 1:]).all()
    # A network that tells no directions.
    assert np.isnan(find_pixel_errors_deg(true, PhotoEvidence({"classes": classes}), 0)).all()
