"""True roofs as shapes: of masks, of what people drew, and one against the other."""

import math

import numpy as np
import pytest
import shapely
from shapely import affinity

from app.base.tasks import (
    BACKGROUND_CLASS,
    FLAT_CLASS,
    IGNORE_INDEX,
    SOME_ROOF,
    build_tasks,
    find_task,
    relabelling,
)
from app.base.window import Window
from app.data.loading import EvalDataset
from app.data.own.catalogue import LabelSettings
from app.data.own.dataset import OwnDataset
from app.data.sample import DrawnShapes
from app.data.transforms import EvalTransform
from app.inference.true_roofs import roofs_of_mask, roofs_of_shapes
from app.metrics.matching import outline_distances
from app.metrics.roof_definitions import LENGTH_KINDS
from app.metrics.roofs import FoundRoofs, PhotoMeasures, ShapeMetrics
from tests.support.own import (
    UTM,
    hip_roof,
    place_of,
    write_layer,
    write_photo,
    write_rid_as_own,
    write_village,
)
from tests.support.paths import REAL_RID

SEGMENTS = find_task("segments")
NAN = math.nan
NONE = np.array([], np.object_)


def paint():
    """A gable of N and S, another N beside it across a gap of 2 px, flat, some roof, unknown."""
    segments = np.full((60, 100), BACKGROUND_CLASS, np.uint8)
    segments[10:20, 10:30], segments[20:30, 10:30] = 0, 8
    segments[10:20, 32:40] = 0
    segments[10:20, 50:60] = FLAT_CLASS
    segments[40:50, 10:30] = SOME_ROOF
    segments[:, 90:] = IGNORE_INDEX
    return segments


def test_pieces_of_a_mask():
    true = roofs_of_mask(paint(), SEGMENTS, 0.1)
    found = {
        (shape.area, azimuth, vague)
        for shape, azimuth, vague in zip(
            true.planes, np.nan_to_num(true.azimuth_deg, nan=-1), true.is_vague, strict=True
        )
    }
    assert found == {
        (200, 0, False),
        (200, 180, False),
        (80, 0, False),
        (100, -1, False),
        (200, -1, True),
    }
    # A gap of 0.2 m parts no building.
    assert sorted(shapely.area(true.buildings)) == [100, 200, 480]
    assert true.known.equals(shapely.box(0, 0, 90, 60))
    assert true.half_width_deg == 11.25
    assert np.isnan(true.pitch_deg).all()
    nothing = roofs_of_mask(np.full((9, 9), BACKGROUND_CLASS, np.uint8), SEGMENTS, 0.1)
    assert (len(nothing.planes), len(nothing.buildings), nothing.known) == (0, 0, None)


@pytest.mark.parametrize("bins", [8, 4, 1])
def test_a_mask_in_the_labels_of_fewer_directions(bins):
    segments = paint()
    segments[10:20, 10:30] = 1  # NNE: one of two of eight, N of four
    task = build_tasks(bins)[0]
    true = roofs_of_mask(relabelling(bins)[segments], task, 0.1)
    assert len(true.planes) == (5 if bins > 1 else 4)
    if bins == 1:
        assert true.is_vague.all()
        return
    assert sorted(true.azimuth_deg[np.isfinite(true.azimuth_deg)]) == [
        0,
        22.5 if bins == 8 else 0,
        180,
    ]
    assert true.is_vague.sum() == 1


def test_stairs_of_pixels_become_straight():
    y, x = np.indices((200, 200)) + 0.5
    angle = math.radians(20)
    u, v = x * math.cos(angle) + y * math.sin(angle), -x * math.sin(angle) + y * math.cos(angle)
    is_roof = (u > 60) & (u < 180) & (v > 0) & (v < 80)
    segments = np.full((200, 200), BACKGROUND_CLASS, np.uint8)
    segments[is_roof & (v < 40)], segments[is_roof & (v >= 40)] = 1, 9
    true = roofs_of_mask(segments, SEGMENTS, 0.1)
    assert shapely.area(true.planes) == pytest.approx([4800, 4800], rel=0.01)
    assert shapely.coverage_is_valid(true.planes)
    ideal = [affinity.rotate(shapely.box(60, v, 180, v + 40), 20, (0, 0)) for v in (0, 40)]
    distances = outline_distances(true.planes, np.array(ideal, np.object_))
    assert distances.max() < 0.7
    assert shapely.get_num_coordinates(true.planes).max() < 80  # of about 220


def drawn(planes, azimuth_deg, is_flat=None, hidden=(), areas=None):
    return DrawnShapes(
        np.array(planes, np.object_),
        np.array(azimuth_deg, np.float64),
        np.full(len(planes), 30.0),
        np.array(is_flat or [False] * len(planes), np.bool_),
        np.array(hidden, np.object_),
        None if areas is None else np.array(areas, np.object_),
        {},
    )


def test_what_stands_on_a_plane_takes_its_ground():
    roof, dormer, beside = (
        shapely.box(0, 0, 60, 40),
        shapely.box(10, 10, 20, 20),
        shapely.box(60, 0, 70, 40),
    )
    true = roofs_of_shapes(
        drawn([roof, beside, dormer], [180, NAN, NAN], [False, True, False]), (100, 100), 0.1
    )
    assert shapely.area(true.planes).tolist() == [2300, 400, 100]
    assert true.is_vague.tolist() == [False, False, True]
    assert true.half_width_deg == 0.0
    assert shapely.area(true.buildings).tolist() == [2800]
    # Nobody said where all is labelled: what is known is planes.
    assert true.known.area == 2800


def test_a_plane_wholly_covered_by_others_is_none():
    one, left, right = shapely.box(0, 0, 9, 9), shapely.box(0, 0, 5, 9), shapely.box(5, 0, 9, 9)
    true = roofs_of_shapes(drawn([one, left, right], [0, 90, 180]), (100, 100), 0.1)
    assert true.azimuth_deg.tolist() == [90, 180]


def test_ground_that_is_known():
    plane, hidden = shapely.box(0, 0, 20, 20), shapely.box(10, 0, 40, 20)
    shapes = drawn([plane], [0], hidden=[hidden], areas=[shapely.box(0, 0, 100, 50)])
    assert roofs_of_shapes(shapes, (100, 100), 0.1).known.area == 5000 - 20 * 20
    everywhere = drawn([plane], [0], areas=[shapely.box(0, 0, 100, 100)])
    assert roofs_of_shapes(everywhere, (100, 100), 0.1).known is None


def photos_of(root, gsd_m=0.1, window_px=512):
    dataset = EvalDataset(OwnDataset(root, "all"), EvalTransform(gsd_m, 16, True), None, window_px)
    return {photo.sample_id: photo for photo, _ in map(dataset.open_photo, range(len(dataset)))}


@pytest.mark.parametrize(("gsd_m", "window_px"), [(0.1, 512), (0.05, 512), (0.2, 64)])
def test_drawn_roofs_at_any_scale_and_by_windows(tmp_path, gsd_m, window_px):
    write_village(tmp_path, num_photos=3)
    photo = photos_of(tmp_path, gsd_m, window_px)["1"]
    true = roofs_of_shapes(photo.shapes, (photo.height_px, photo.width_px), photo.gsd_m)
    planes, bearings = hip_roof(*place_of(1), 25.0)
    assert sorted(shapely.area(true.planes) * gsd_m**2) == pytest.approx(
        sorted(shapely.area(planes)), rel=1e-3
    )
    grid_deg = np.sort(true.azimuth_deg) - np.sort(bearings)
    assert grid_deg == pytest.approx(np.zeros(4), abs=0.05)  # the photo's up is its grid's north
    assert true.known is None
    segments = photo.read_targets(Window(0, 0, photo.height_px, photo.width_px))["segments"]
    mask = roofs_of_mask(segments.numpy(), SEGMENTS, gsd_m)
    areas = shapely.area(mask.planes)
    expected = sorted(shapely.area(true.planes))
    # At the tips of hips lie pixels that touch their plane at corners alone.
    assert sorted(areas[areas > 9]) == pytest.approx(expected, rel=0.04)


def test_shapes_are_kept_only_where_they_are_asked_for(tmp_path):
    write_village(tmp_path, num_photos=3)
    reader = OwnDataset(tmp_path, "all")
    for window_px in (512, 64):
        photo, _ = EvalDataset(reader, EvalTransform(0.1), None, window_px).open_photo(0)
        assert photo.shapes is None
    assert "shapes" not in EvalTransform(0.1)(reader[0])


def test_pitches_eaves_and_rakes_of_a_gable_that_the_photo_cuts(tmp_path):
    """A gable of 12 x 8 m whose eastern half lies beyond the photo; the file tells rakes."""
    east, north = place_of(0)
    write_photo(tmp_path / "photos/0.tif", east, north)
    middle = east + 12.0  # the photo's right border
    planes = [
        shapely.box(middle - 6, north, middle + 6, north + 4),
        shapely.box(middle - 6, north - 4, middle + 6, north),
    ]
    write_layer(tmp_path / "roofs.gpkg", planes, azimuth=[0.0, 180.0], pitch_degrees=[31.5, NAN])
    lines = [(middle - 6, middle + 6, north + y, north + y) for y in (-4, 0, 4)]
    lines += [(middle + x, middle + x, north - 4, north + 4) for x in (-6, 6)]
    write_layer(
        tmp_path / "roofs.gpkg",
        [shapely.LineString([(x0, y0), (x1, y1)]) for x0, x1, y0, y1 in lines],
        UTM, "lines", True,
        kind=["eave", "ridge", "eave", "rake", "rake"],
    )  # fmt: skip
    (tmp_path / "splits.csv").write_text("photo,split\n0,train\n")
    reader = OwnDataset(tmp_path, "all", LabelSettings("compass", "grid"))
    shapes = EvalTransform(0.1, 16, True)(reader[reader.sample_ids.index("0")])["shapes"]
    assert shapely.area(shapes.planes).tolist() == pytest.approx([2400, 2400], rel=1e-3)
    assert sorted(np.nan_to_num(shapes.pitch_deg, nan=-1)) == [-1, 31.5]
    told = {"outline": 20.0, "eave": 12.0, "rake": 8.0, "ridge": 6.0}
    assert shapes.lengths_m == pytest.approx(told, rel=1e-3)


@pytest.mark.skipif(not REAL_RID.is_dir(), reason="no real RID at ../shared/data")
def test_rids_masks_are_its_polygons(tmp_path):
    """RID drew its masks from these polygons: the two truths have to agree."""
    write_rid_as_own(tmp_path)
    metrics = ShapeMetrics()
    for photo in photos_of(tmp_path).values():
        size = photo.height_px, photo.width_px
        true = roofs_of_shapes(photo.shapes, size, photo.gsd_m)
        targets = photo.read_targets(Window(0, 0, *size))
        mask = roofs_of_mask(targets["segments"].numpy(), SEGMENTS, photo.gsd_m)
        unstated = np.full(len(mask.planes), NAN)
        stated = (mask.azimuth_deg, unstated, unstated, unstated, unstated)
        found = FoundRoofs(mask.planes, *stated, mask.buildings, NONE, ())
        measures = PhotoMeasures(
            np.full((2, len(LENGTH_KINDS)), NAN), np.full((2, len(true.planes)), NAN)
        )
        metrics.update(true, found, photo.gsd_m, measures)
    values = {name: value.value for name, value in metrics.compute("test", "rid").items()}
    assert values["test/buildings/pq"] > 0.95
    assert values["test/planes/precision"] > 0.95
    assert values["test/planes/iou"] > 0.95
    assert values["test/planes/boundary_distance_m"] < 0.15
    # Of 22.5 degrees wide classes, 5.6 off on average where azimuths lie evenly.
    assert values["test/planes/azimuth_error_deg"] < 7
    assert values["test/planes/azimuth_within_11_25_deg"] > 0.97
