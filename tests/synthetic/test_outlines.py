"""Shapes of roofs against lengths and areas worked out by hand, and against scenes' pixels."""

from collections import Counter

import cv2
import numpy as np
import pytest
import shapely

from app.base.azimuth import degrees_to_class
from app.base.tasks import BACKGROUND_CLASS, FLAT_CLASS
from app.data.shapes import Shapes, fill
from app.synthetic.geometry import Plane, Rectangle, Wing
from app.synthetic.outlines import RoofShapes, find_shapes
from app.synthetic.scene import make_scene

EXTENT_M = 40.0
GSD_M = 0.1


def pitched(centre_m, heading_deg, size_m, is_hip=False, eave_m=3.0, tangent=0.5) -> Wing:
    heading = np.radians(heading_deg)
    ground = Rectangle(np.array(centre_m), np.array([np.cos(heading), np.sin(heading)]), *size_m)
    planes = [ground.side_plane(sign, eave_m, tangent) for sign in (1, -1)]
    if is_hip:
        planes += [ground.end_plane(sign, eave_m, tangent) for sign in (1, -1)]
    return Wing(ground, tuple(planes))


def lengths_m(roof: RoofShapes) -> dict[str, float]:
    total: Counter[str] = Counter()
    for line, kind in roof.lines:
        total[kind] += line.length
    return {kind: pytest.approx(length, abs=1e-4) for kind, length in total.items()}


@pytest.mark.parametrize("heading_deg", [0.0, 33.0])
def test_a_gable(heading_deg):
    roof = find_shapes([pitched((20, 20), heading_deg, (10, 6))], EXTENT_M)
    assert [shape.polygon.area for shape in roof.planes] == pytest.approx([30, 30])
    # Corners on straight edges are left out.
    assert [len(shape.polygon.exterior.coords) for shape in roof.planes] == [5, 5]
    assert lengths_m(roof) == {"eave": 20.0, "rake": 12.0, "ridge": 10.0}


def test_a_hip_roof():
    roof = find_shapes([pitched((20, 20), 12, (10, 6), is_hip=True)], EXTENT_M)
    # Trapezes of 10 and 4 over 3 m, triangles of 6 over 3 m.
    assert sorted(shape.polygon.area for shape in roof.planes) == pytest.approx([9, 9, 21, 21])
    assert lengths_m(roof) == {"eave": 32.0, "ridge": 4.0, "hip": 4 * 18**0.5}


def test_a_lower_wing_meets_the_main_roof_in_valleys():
    # Its ridge, 2 m above the eaves' 3, ends where the main roof is as high: 1 m before its ridge.
    main, side = pitched((20, 20), 0, (12, 6)), pitched((20, 23), 90, (6, 4))
    roof = find_shapes([main, side], EXTENT_M)
    assert len(roof.planes) == 4
    # 1 m of the wing's eave on either side lies in the main roof; so do 4 m of the main eave.
    expected = {"eave": 12 + 8 + 2 * 3, "rake": 12 + 4, "ridge": 12 + 5, "valley": 2 * 8**0.5}
    assert expected == lengths_m(roof)


def test_a_step_between_two_roofs_is_the_upper_ones_edge():
    garage = Wing(Rectangle(np.array([26, 20]), np.array([1, 0]), 4, 4), (Plane(2.4, 0, 0),))
    roof = find_shapes([pitched((20, 20), 0, (10, 6)), garage], EXTENT_M)
    assert lengths_m(roof) == {"eave": 20.0 + 3 + 3 + 4, "rake": 12.0, "ridge": 10.0}
    assert roof.planes[2].polygon.area == pytest.approx(3 * 4)


def test_what_lies_beyond_the_image_is_cut_off_without_a_line():
    roof = find_shapes([pitched((40, 20), 0, (10, 6))], EXTENT_M)
    assert [shape.polygon.area for shape in roof.planes] == pytest.approx([15, 15])
    assert lengths_m(roof) == {"eave": 10.0, "rake": 6.0, "ridge": 5.0}
    assert find_shapes([pitched((50, 20), 0, (10, 6))], EXTENT_M) == RoofShapes((), ())


@pytest.mark.parametrize("seed", range(6))
def test_shapes_are_those_of_the_scenes_pixels(seed):
    scene = make_scene((5, seed), 512, GSD_M)
    extent_m = 512 * GSD_M
    roofs = [find_shapes(wings, extent_m) for wings in scene.buildings]
    planes = [shape for roof in roofs for shape in roof.planes]
    drawn = np.full(scene.segments.shape, BACKGROUND_CLASS, np.uint8)
    shapes = Shapes.of([shape.polygon for shape in planes])
    for number, (_, plane) in enumerate(planes):
        label = FLAT_CLASS if plane.is_flat else int(degrees_to_class(plane.azimuth_deg))
        stamp = fill([part / GSD_M for part in shapes.parts(number)], drawn.shape)
        if stamp is not None:
            stamp.put(drawn, label)
    # A pixel through whose middle a border runs may be either side's.
    assert (drawn != scene.segments).mean() < 2e-3
    brush = np.ones((3, 3), np.uint8)
    is_inner = cv2.dilate(scene.segments, brush) == cv2.erode(scene.segments, brush)
    np.testing.assert_array_equal(drawn[is_inner], scene.segments[is_inner])
    for wings, roof in zip(scene.buildings, roofs, strict=True):
        polygons = [shape.polygon for shape in roof.planes]
        assert shapely.coverage_is_valid(polygons)
        grounds = [shapely.Polygon(wing.footprint.corners_m()) for wing in wings]
        seen = shapely.union_all(grounds).intersection(shapely.box(0, 0, extent_m, extent_m))
        # Neither overlaps nor gaps.
        assert sum(polygon.area for polygon in polygons) == pytest.approx(seen.area, abs=1e-3)
        assert shapely.union_all(polygons).symmetric_difference(seen).area < 1e-3
