"""Labels are drawn for a window, so they are exact at any turn and zoom."""

import math

import cv2
import numpy as np
import pytest
import shapely

from app.base.tasks import IGNORE_INDEX
from app.data.frame import Pose
from app.data.geometry import cut_window, resample_whole
from app.data.own.dataset import OwnDataset
from app.data.sample import drawn
from app.data.shapes import Shapes, fill
from tests.support.own import EAST, NORTH, hip_roof, hip_roofs, place_of, write_layer, write_photo
from tests.support.own import write_village as write
from tests.support.samples import check_sample

POSES = [Pose(), Pose(4, flip=True), Pose(12), Pose(5, 1.5, 0.8), Pose(11, -2.0, 1.25, True)]


def classes(dataset, index=0):
    return drawn(dataset[index])["segments"].numpy()


@pytest.mark.parametrize("pose", POSES)
def test_labels_of_a_turned_window_are_the_shapes_seen_through_the_turn(tmp_path, pose):
    write(tmp_path, num_photos=3)
    dataset = OwnDataset(tmp_path, "all")
    index = dataset.sample_ids.index("1")
    size_px, centre = 160, (118.3, 123.9) if not pose.is_upright else (120.0, 120.0)
    window = cut_window(dataset[index], pose, centre, size_px, 0.1)
    check_sample(window)
    # The middle of each pixel, turned back into the photo by hand.
    y, x = np.indices((size_px, size_px)) + 0.5 - size_px / 2
    x = -x if pose.flip else x
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    column = centre[1] + (cos * x + sin * y) / pose.zoom
    row = centre[0] + (-sin * x + cos * y) / pose.zoom
    planes, _ = hip_roof(*place_of(1), 25.0)
    east = place_of(1)[0] + (column - 120) * 0.1
    north = place_of(1)[1] - (row - 120) * 0.1
    is_roof = shapely.contains_xy(shapely.union_all(planes), east, north)
    segments = window["segments"].numpy()
    # Coordinates of a file end somewhere: a pixel's middle may lie on an edge to 1e-6 m.
    assert np.count_nonzero((segments < 16) != is_roof) <= 2
    assert np.count_nonzero((segments == IGNORE_INDEX) & is_roof) == 0


def test_planes_beyond_the_photo_and_its_border_are_unknown(tmp_path):
    write(tmp_path, num_photos=3)
    dataset = OwnDataset(tmp_path, "all")
    window = cut_window(dataset[0], Pose(), (0.0, 0.0), 100, 0.1)
    unknown = window["segments"].numpy() == IGNORE_INDEX
    assert unknown[:50].all()
    assert unknown[:, :50].all()
    assert not unknown[50:, 50:].any()
    assert (window["lines"].numpy()[:, :50] == IGNORE_INDEX).all()


def test_at_another_scale_labels_are_drawn_again_and_not_resampled(tmp_path):
    write(tmp_path, num_photos=3)
    dataset = OwnDataset(tmp_path, "all")
    whole = resample_whole(dataset[0], 0.05)
    assert whole["image"].shape == (3, 480, 480)
    assert "drawing" not in whole
    roof_m2 = float((whole["segments"] < 16).sum()) * 0.05**2
    assert roof_m2 == pytest.approx(96.0, rel=0.002)
    roof_m2 = float((classes(dataset) < 16).sum()) * 0.1**2
    assert roof_m2 == pytest.approx(96.0, rel=0.005)


def test_without_areas_what_is_in_no_plane_is_unknown_and_with_them_background(tmp_path):
    write(tmp_path / "with", num_photos=3)
    write(tmp_path / "without", num_photos=3, with_areas=False)
    for name, expected in (("with", 17), ("without", IGNORE_INDEX)):
        dataset = OwnDataset(tmp_path / name, "all")
        segments = classes(dataset)
        assert set(np.unique(segments[segments >= 16])) == {expected}
        assert ("background" in dataset.labels["segments"]) == (name == "with")
        assert ("eave" in dataset.labels["lines"]) == (name == "with")


def planes_of_all_kinds(root):
    """A flat plane, one with a pitch of 0, one without azimuth, one to the east, one dormer."""
    write_photo(root / "photos/0.tif", EAST, NORTH)
    write_photo(root / "photos/1.tif", EAST + 100, NORTH)
    boxes = [
        shapely.box(EAST - 11 + 4 * i, NORTH - 3, EAST - 8 + 4 * i, NORTH + 3) for i in range(4)
    ]
    boxes.append(shapely.box(EAST + 2, NORTH, EAST + 3, NORTH + 1))  # in the last one
    boxes.append(shapely.box(EAST + 99, NORTH, EAST + 101, NORTH + 1))
    write_layer(
        root / "planes.geojson",
        [shapely.transform(box, lambda points: points) for box in boxes],
        azimuth_degrees=[np.nan, np.nan, np.nan, 90.0, 180.0, 90.0],
        flat=[True, False, False, False, False, False],
        pitch_degrees=[np.nan, 0.0, 40.0, 40.0, 20.0, 20.0],
    )


def test_flat_planes_some_roofs_and_dormers(tmp_path):
    planes_of_all_kinds(tmp_path)
    dataset = OwnDataset(tmp_path, "all")
    segments = classes(dataset, dataset.sample_ids.index("0"))
    row = segments[115, [25, 65, 105, 135, 145]]
    # East on the grid is 1.9 degrees more from true north; a dormer lies on its plane.
    assert row.tolist() == [16, 16, 18, 4, 8]


def write_lines(root, *kinds):
    """Lines of the roof of photo 0: its outline, and one of each of the kinds given."""
    planes, _ = hip_roof(*place_of(0), 0.0)
    east, north = place_of(0)
    all_lines = {
        "eave": [(-6, -4), (6, -4)],
        "rake": [(-6, -4), (-6, 4)],
        "ridge": [(-2, 0), (2, 0)],
        "hip": [(2, 0), (6, 4)],
        "valley": [(-2, 0), (-6, 4)],
        "other": [(-6, 4), (6, 4)],
    }
    shapes = [shapely.LineString(np.add(all_lines[kind], (east, north))) for kind in kinds]
    write_layer(root / "roofs.gpkg", shapes, layer="lines", append=True, kind=list(kinds))
    return planes


def test_lines_are_those_that_people_drew_and_a_rake_is_an_outline(tmp_path):
    write(tmp_path, num_photos=3)
    write_lines(tmp_path, "eave", "rake", "ridge", "hip", "valley", "other")
    dataset = OwnDataset(tmp_path, "all")
    lines = drawn(dataset[dataset.sample_ids.index("0")])["lines"].numpy()
    eave, ridge, hip, valley = lines
    assert (eave[159, 65:175] == 1).sum() + (eave[160, 65:175] == 1).sum() == 110
    assert (eave[85:155, 59] == 1).sum() + (eave[85:155, 60] == 1).sum() == 70  # the rake
    assert (ridge[119:121] == 1).sum() == pytest.approx(41, abs=1)
    assert hip[100, 160] == 1 or hip[99, 160] == 1
    # The hip that nobody drew is none, and around "other" nothing is known.
    assert (hip[121:150] == 1).sum() == 0
    assert (lines[:, 78:82, 70:170] == IGNORE_INDEX).all()
    assert (valley == 1).any()
    # The roof of another photo, whose lines nobody drew, has those that follow from its planes.
    other = drawn(dataset[dataset.sample_ids.index("1")])["lines"].numpy()
    assert (other[2] == 1).sum() > 100


def test_kinds_that_a_file_never_draws_follow_from_planes(tmp_path):
    write(tmp_path, num_photos=3)
    write_lines(tmp_path, "ridge")
    dataset = OwnDataset(tmp_path, "all")
    eave, ridge, hip, _ = drawn(dataset[dataset.sample_ids.index("0")])["lines"].numpy()
    assert (ridge[119:121] == 1).sum() == pytest.approx(41, abs=1)
    assert (eave == 1).sum() == pytest.approx(2 * (120 + 80), abs=8)
    assert (hip == 1).sum() > 100


def test_lines_of_a_turned_window_lie_on_the_image_s_roof(tmp_path):
    """A line and the outline of its plane turn together, to a pixel."""
    write(tmp_path, num_photos=3)
    write_lines(tmp_path, "eave")
    dataset = OwnDataset(tmp_path, "all")
    sample = dataset[dataset.sample_ids.index("0")]
    for pose in POSES:
        window = cut_window(sample, pose, (120.0, 120.0), 240, 0.1)
        roof = (window["segments"].numpy() < 16).astype(np.uint8)
        edge = cv2.dilate(roof, np.ones((3, 3))) - cv2.erode(roof, np.ones((3, 3)))
        eave = window["lines"].numpy()[0] == 1
        assert eave.sum() > 80
        assert edge[eave].all()


def test_ground_of_a_broken_plane_is_unknown(tmp_path):
    write(tmp_path, num_photos=3)
    east, north = place_of(0)
    bow_tie = shapely.Polygon([(2, 5), (6, 5), (2, 9), (6, 9)])
    planes, bearings = hip_roofs(3)
    (tmp_path / "roofs.gpkg").unlink()
    broken = shapely.transform(bow_tie, lambda points: np.add(points, (east, north)))
    write_layer(tmp_path / "planes.fgb", [*planes, broken], azimuth=[*bearings, 90.0])
    area = shapely.box(east - 12, north - 12, east + 12, north + 12)
    write_layer(tmp_path / "areas.fgb", [area], layer="areas")
    dataset = OwnDataset(tmp_path, "all", max_bad_fraction=0.1)
    segments = classes(dataset, dataset.sample_ids.index("0"))
    assert segments[67, 160] == IGNORE_INDEX  # between the halves' upper corners
    assert segments[20, 20] == 17
    assert len(dataset.catalogue.bad_features) == 1


def test_a_shape_without_pixels_is_none():
    assert fill(Shapes.of([shapely.box(1.1, 1.1, 1.4, 1.4)]).parts(0), (4, 4)) is None
