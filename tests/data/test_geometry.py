import math

import numpy as np
import pytest
import torch

from app.base.azimuth import NUM_BINS, degrees_to_class
from app.base.tasks import FLAT_CLASS, IGNORE_INDEX
from app.data.geometry import (
    Pose,
    cut_window,
    draw_centre,
    draw_pose,
    pixel_ratio,
    resample_whole,
)
from app.synthetic.labels import lines_from, segments_from
from app.synthetic.roofs import Grid, draw_street, place_buildings
from tests.support.samples import check_sample

POSES = [
    Pose(turn_bins, 0.0, zoom, flip)
    for turn_bins in range(NUM_BINS)
    for flip in (False, True)
    for zoom in (1.0, 0.8, 1.25)
]


def numbered(height=8, width=8, gsd_m=0.1):
    """A sample whose depth numbers its pixels, so that a window says where each came from."""
    pixels = torch.arange(height * width).view(height, width)
    lines = torch.zeros(4, height, width, dtype=torch.uint8)
    lines[1, height // 2] = 1
    lines[3] = 255
    return {
        "image": (pixels % 251).byte().expand(3, -1, -1).clone(),
        "segments": (pixels % 19).to(torch.uint8),
        "lines": lines,
        "depth": pixels.float(),
        "superstructures": (pixels % 9).to(torch.uint8),
        "dataset": "rid",
        "sample_id": "7",
        "gsd_m": gsd_m,
    }


def village(seed, size_px=256, gsd_m=0.1):
    """A sample of exact labels, the map of its roof planes, and the azimuth of each."""
    rng = np.random.default_rng(seed)
    grid = Grid.square(size_px, gsd_m)
    roofs = place_buildings(rng, grid, draw_street(rng, grid))
    facet_map = roofs.facet_map.astype(np.float32)
    height_m = np.where(facet_map >= 0, roofs.height_m, np.nan).astype(np.float32)
    sample = {
        "image": torch.zeros(3, size_px, size_px, dtype=torch.uint8),
        "segments": torch.from_numpy(segments_from(roofs)),
        "lines": torch.from_numpy(lines_from(roofs)),
        "depth": torch.from_numpy(height_m),
        "superstructures": torch.full((size_px, size_px), 255, dtype=torch.uint8),
        "dataset": "rid",
        "sample_id": str(seed),
        "gsd_m": gsd_m,
    }
    return sample, {**sample, "depth": torch.from_numpy(facet_map)}


def test_quarter_turns_and_flips_move_every_pixel_of_all_targets_alike():
    before = numbered()
    for turn_bins in (0, 4, 8, 12):
        for flip in (False, True):
            pose = Pose(turn_bins, flip=flip)
            after = cut_window(before, pose, (4.0, 4.0), 8, 0.1)
            check_sample(after)
            expected = np.rot90(before["depth"].numpy(), -turn_bins // 4)
            expected = expected[:, ::-1] if flip else expected
            assert np.array_equal(after["depth"].numpy(), expected)
            source = after["depth"].long()
            for name in ("image", "superstructures", "lines"):
                moved = before[name].flatten(-2)[..., source.flatten()].reshape(after[name].shape)
                assert torch.equal(after[name], moved), name


def test_a_window_is_cut_where_its_centre_says():
    window = cut_window(numbered(20, 30), Pose(), (10.0, 12.0), 4, 0.1)
    assert window["depth"][0, 0] == 8 * 30 + 10
    assert window["depth"][3, 3] == 11 * 30 + 13


@pytest.mark.parametrize("pose", [Pose(), Pose(4), Pose(3, 1.5, 0.9), Pose(2, zoom=1.25)])
def test_beyond_the_photo_the_image_goes_on_and_nothing_is_known(pose):
    sample = numbered(16, 16)
    sample["image"].fill_(200)
    window = cut_window(sample, pose, (8.0, 8.0), 64, 0.1)
    check_sample(window)
    assert (window["image"] >= 199).all()
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert window["segments"][corner] == IGNORE_INDEX
        assert (window["lines"][:, corner[0], corner[1]] == IGNORE_INDEX).all()
        assert window["depth"][corner].isnan()
        assert window["superstructures"][corner] == IGNORE_INDEX
    known = (window["segments"] != IGNORE_INDEX).sum().item()
    assert known == pytest.approx((16 * pose.zoom) ** 2, rel=0.1)


def test_planes_face_where_their_turned_heights_run_down():
    """The class of every pixel against the plane refitted to the transformed heights."""
    num_pixels = num_checked = num_wrong = 0
    size_px, gsd_m = 308, 0.1
    for seed, pose in enumerate(POSES):
        sample, facets = village(seed, size_px=360)
        window = cut_window(sample, pose, (180.0, 180.0), size_px, gsd_m)
        moved = cut_window(facets, pose, (180.0, 180.0), size_px, gsd_m)["depth"].numpy()
        facet_map = np.where(np.isnan(moved), -1, moved / np.float32(pose.zoom)).round()
        num_pixels += size_px**2
        for facet in np.unique(facet_map[facet_map >= 0]):
            y, x = np.nonzero(facet_map == facet)
            labels = window["segments"].numpy()[y, x]
            if len(y) < 200 or labels[0] == FLAT_CLASS:
                continue
            azimuth_deg = fitted_azimuth_deg(x, y, window["depth"].numpy()[y, x])
            # Nearest pixels leave the fit off by a fraction of a degree.
            if min((azimuth_deg + 11.25) % 22.5, -(azimuth_deg + 11.25) % 22.5) < 0.5:
                continue
            num_checked += len(y)
            num_wrong += int((labels != degrees_to_class(azimuth_deg)).sum())
    assert num_pixels > 8_800_000
    assert num_checked > 1_000_000
    assert num_wrong == 0


def fitted_azimuth_deg(x, y, height_m):
    """Where the plane through these points runs down, degrees clockwise from north."""
    columns = np.column_stack((x, y, np.ones(len(x)))).astype(np.float64)
    (east, south, _), *_ = np.linalg.lstsq(columns, height_m.astype(np.float64), rcond=None)
    return math.degrees(math.atan2(-east, south)) % 360


def test_zoom_grows_heights_so_that_slopes_stay():
    sample = numbered(64, 64)
    sample["depth"] = torch.arange(64).float().repeat(64, 1) * 0.1 * 0.5  # 0.5 m per metre
    window = cut_window(sample, Pose(zoom=1.25), (32.0, 32.0), 40, 0.1)
    rise = (window["depth"][:, -1] - window["depth"][:, 0]) / (39 * 0.1)
    assert torch.allclose(rise, torch.full((40,), 0.5), atol=0.02)


def test_photos_are_averaged_and_labels_are_not():
    sample = numbered(64, 64, gsd_m=0.05)
    checker = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    sample["image"] = (checker * 200).byte().expand(3, -1, -1).clone()
    sample["segments"] = torch.where(torch.arange(64) < 32, 3, 17).byte().repeat(64, 1)
    whole = resample_whole(sample, 0.1)
    check_sample(whole)
    assert whole["image"].shape == (3, 32, 32)
    # no trace of the pattern is left, but for where the photo ends
    assert (whole["image"][:, 2:-2, 2:-2].float() - 100).abs().max() <= 1
    assert (whole["image"].float() - 100).abs().max() <= 20
    assert set(whole["segments"].unique().tolist()) == {3, 17}
    assert (whole["segments"] == 3).sum() == 16 * 32
    assert whole["gsd_m"] == 0.1


def test_nearly_the_same_sampling_distance_is_left_alone():
    sample = numbered(gsd_m=0.099)
    assert pixel_ratio(sample, 0.1) == 1
    assert resample_whole(sample, 0.1) is sample
    assert pixel_ratio(numbered(gsd_m=0.075), 0.1) == pytest.approx(4 / 3)


@pytest.mark.parametrize("pose", POSES)
def test_centre_lines_stay_one_pixel_thick_and_where_they_were(pose):
    sample = numbered(96, 96)
    sample["lines"][:] = 0
    sample["lines"][1, 48, 10:86] = 1
    window = cut_window(sample, pose, (48.0, 48.0), 96, 0.1)
    y, x = np.nonzero(window["lines"][1].numpy() == 1)
    angle = pose.angle if not pose.flip else -pose.angle
    # the line runs through the middle, in the direction the content was turned to
    across = (x + 0.5 - 48) * -math.sin(angle) + (y + 0.5 - 48) * math.cos(angle)
    along = (x + 0.5 - 48) * math.cos(angle) + (y + 0.5 - 48) * math.sin(angle)
    assert np.abs(across).max() <= 1.5
    assert np.abs(across).mean() <= 0.75
    gaps = np.diff(np.sort(along))
    assert gaps.max() <= 2.5  # drawing closes them


def test_windows_lie_inside_the_photo_wherever_they_can():
    sample = numbered(300, 300)
    rng = np.random.default_rng(0)
    for _ in range(200):
        pose = draw_pose(rng)
        centre = draw_centre(sample, pose, 128, 0.1, rng)
        window = cut_window(sample, pose, centre, 128, 0.1)
        assert (window["segments"] != IGNORE_INDEX).all()


def test_poses_cover_all_turns_and_stay_in_their_ranges():
    rng = np.random.default_rng(1)
    poses = [draw_pose(rng) for _ in range(2000)]
    turns = np.bincount([pose.turn_bins for pose in poses], minlength=NUM_BINS)
    assert (turns > 0).all()
    assert turns[[0, 4, 8, 12]].sum() > 1000  # the free ones turn by quarters as well
    assert 0.4 < np.mean([pose.flip for pose in poses]) < 0.6
    assert all(0.8 <= pose.zoom <= 1.25 and abs(pose.small_angle_deg) <= 2 for pose in poses)
    assert all(draw_pose(rng, may_shrink=False).zoom >= 1 for _ in range(200))
