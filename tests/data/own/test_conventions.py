"""What azimuths count from is found by outlines, or refused with the rates."""

import re

import cv2
import numpy as np
import pytest
import rasterio
import torch

from app.base.azimuth import degrees_to_class
from app.base.errors import DataError
from app.base.tasks import relabelling
from app.data.frame import Pose
from app.data.geometry import cut_window
from app.data.own.catalogue import LabelSettings
from app.data.own.dataset import OwnDataset
from app.data.sample import drawn
from tests.support.own import (
    hip_roof,
    hip_roofs,
    place_of,
    write_layer,
    write_rid_as_own,
    write_village,
)
from tests.support.paths import REAL_RID

# Of Munich in UTM zone 32: by so much the grid's north is clockwise of true north.
GRID_NORTH_DEG = 1.9022

STORED = {
    "compass": lambda compass: compass % 360,
    "south0": lambda compass: (compass - 180 + 180) % 360 - 180,
    "east0": lambda compass: (compass - 90) % 360,
    "west0": lambda compass: (compass - 270) % 360,
    "compass_ccw": lambda compass: -compass % 360,
    "south0_ccw": lambda compass: (180 - compass) % 360,
    "east0_ccw": lambda compass: (90 - compass) % 360,
    "west0_ccw": lambda compass: (270 - compass) % 360,
}


def in_order(bearings):
    """Directions in an order that does not depend on a hair's breadth around north."""
    return sorted((np.asarray(bearings) + 10) % 360)


@pytest.mark.parametrize(("name", "north"), [*zip(STORED, ["true", "grid"] * 4, strict=True)])
def test_every_convention_and_either_north_is_found_and_gives_the_same_labels(
    tmp_path, name, north
):
    to_true = GRID_NORTH_DEG if north == "true" else 0.0
    write_village(tmp_path, to_stored=lambda bearing: STORED[name](bearing + to_true))
    dataset = OwnDataset(tmp_path, "all")
    (found,) = dataset.catalogue.conventions
    assert (found.name, found.north) == (name, north)
    for number, photo in enumerate(dataset.catalogue.photos):
        # Large planes come first, so bearings are compared as sets.
        expected = in_order(hip_roof(0, 0, 25.0 * number)[1])
        assert in_order(photo.roofs.azimuth_deg) == pytest.approx(expected, abs=0.01)


def test_directions_that_nothing_explains_are_refused_with_the_rates(tmp_path):
    rng = np.random.default_rng(0)
    write_village(tmp_path, to_stored=lambda _: float(rng.uniform(0, 360)))
    with pytest.raises(DataError, match="is not clear: of 24 planes") as error:
        OwnDataset(tmp_path, "all")
    assert re.search(r"roofs\.gpkg: layer planes, field azimuth:", str(error.value))
    rates = re.findall(r"(compass|south0|east0|west0)(?:_ccw)? \d+%", str(error.value))
    assert len(rates) == 8
    assert "set own_azimuth to one of compass, south0" in str(error.value)


def test_a_setting_is_taken_as_given(tmp_path):
    write_village(tmp_path)
    dataset = OwnDataset(tmp_path, "all", LabelSettings("south0", "grid"))
    opposite = in_order(np.add(hip_roof(0, 0, 25.0)[1], 180))
    found = dataset.catalogue.photos[1].roofs.azimuth_deg
    assert in_order(found) == pytest.approx(opposite, abs=1e-3)


def test_too_few_outlines_need_a_setting_but_for_names_that_mean_one_thing(tmp_path):
    write_village(tmp_path, num_photos=6)
    planes, bearings = hip_roof(*place_of(0), 0.0)
    (tmp_path / "roofs.gpkg").unlink()
    (tmp_path / "splits.csv").write_text("0,train\n")
    write_layer(tmp_path / "planes.geojson", planes, azimuth=bearings)
    with pytest.raises(DataError, match="the outlines of 4 planes tell a direction, expected 8"):
        OwnDataset(tmp_path, "all")
    write_layer(tmp_path / "planes.geojson", planes, azimuth_degrees=bearings)
    dataset = OwnDataset(tmp_path, "all")
    assert dataset.catalogue.conventions[0].name == "compass"


def test_radians_are_refused(tmp_path):
    write_village(tmp_path, to_stored=np.radians)
    with pytest.raises(DataError, match="expected degrees, got radians as it seems; multiply by"):
        OwnDataset(tmp_path, "all")


@pytest.mark.skipif(not REAL_RID.is_dir(), reason="real RID images are not at ../shared/data/rid")
@pytest.mark.parametrize(
    ("suffix", "crs"), [(".geojson", "EPSG:4326"), (".gpkg", "EPSG:25832"), (".fgb", "EPSG:3857")]
)
def test_rids_own_table_gives_rids_masks_in_any_format_and_reference_system(tmp_path, suffix, crs):
    masks = write_rid_as_own(tmp_path / "own", suffix, crs)
    dataset = OwnDataset(tmp_path / "own", "all")
    assert dataset.catalogue.conventions[0].name == "south0"
    assert dataset.catalogue.conventions[0].north == "true"
    assert not dataset.catalogue.bad_features
    num_px = num_same = 0
    for i, sample_id in enumerate(dataset.sample_ids):
        segments = drawn(dataset[i])["segments"].numpy()
        with rasterio.open(masks[sample_id]) as file:
            mask = file.read(1)
        square = np.ones((5, 5), np.uint8)
        inner = cv2.dilate(mask, square) == cv2.erode(mask, square)
        num_px += int(inner.sum())
        num_same += int((segments == mask)[inner].sum())
    assert len(dataset) == 18
    assert num_px > 0.9 * 18 * 512**2
    assert num_same >= 0.995 * num_px


def test_azimuths_are_sorted_into_classes_after_the_turn(tmp_path):
    write_village(tmp_path, num_photos=3)
    dataset = OwnDataset(tmp_path, "all")
    for number, photo in enumerate(dataset.catalogue.photos):
        sample = dataset[dataset.sample_ids.index(str(number))]
        for turn_bins, small_deg, flip in ((0, 0.0, False), (3, 1.9, True), (9, -1.7, False)):
            pose = Pose(turn_bins, small_deg, 1.1, flip)
            window = cut_window(sample, pose, (120.0, 120.0), 200, 0.1)
            turned = photo.roofs.azimuth_deg + 22.5 * turn_bins + small_deg
            expected = set(degrees_to_class(-turned if flip else turned).tolist())
            got = set(np.unique(window["segments"].numpy()).tolist()) - {17, 255}
            assert got == expected


@pytest.mark.parametrize("num_bins", [8, 4])
def test_coarser_directions_are_made_of_degrees_after_the_turn(tmp_path, num_bins):
    """Never "one of two", as a class of 16 that straddles them would be."""
    write_village(tmp_path, num_photos=4)
    fine = OwnDataset(tmp_path, "all")
    coarse = OwnDataset(tmp_path, "all", LabelSettings(azimuth_bins=num_bins))
    table = relabelling(num_bins)
    num_straddling = 0
    for photo in coarse.catalogue.photos:
        index = coarse.sample_ids.index(photo.place.name)
        for pose in (Pose(), Pose(1, 1.9, 1.1, True), Pose(3, -1.8)):
            window, of_16 = (
                cut_window(each[index], pose, (120.0, 120.0), 200, 0.1) for each in (coarse, fine)
            )
            turned = photo.roofs.azimuth_deg + 22.5 * pose.turn_bins + pose.small_angle_deg
            turned = -turned if pose.flip else turned
            got = set(np.unique(table[window["segments"].numpy()]).tolist())
            assert got - {num_bins + 1, 255} == set(degrees_to_class(turned, num_bins).tolist())
            num_straddling += int((table[of_16["segments"].numpy()] > num_bins + 2).any())
            assert torch.equal(window["lines"], of_16["lines"])
    assert num_straddling > 3


def test_a_setting_that_outlines_contradict_is_doubted(tmp_path):
    write_village(tmp_path)
    (doubt,) = OwnDataset(tmp_path, "all", LabelSettings("south0", "grid")).doubts
    assert "own_azimuth=south0 agrees with the outlines of 0% of 24 planes, compass with 100%" in (
        doubt
    )
    assert not OwnDataset(tmp_path, "all", LabelSettings("compass")).doubts


def test_pitches_in_radians_are_refused_and_minus_one_is_none(tmp_path):
    write_village(tmp_path)
    planes, bearings = hip_roofs(6)
    (tmp_path / "roofs.gpkg").unlink()
    write_layer(tmp_path / "planes.geojson", planes, azimuth=bearings, slope=[0.7] * 24)
    with pytest.raises(
        DataError, match=r"field slope: pitches from 0\.7 to 0\.7, expected degrees"
    ):
        OwnDataset(tmp_path, "all")
    pitches = [-1.0, 2.0, *[35.0] * 22]
    write_layer(tmp_path / "planes.geojson", planes, azimuth=bearings, slope=pitches)
    roofs = OwnDataset(tmp_path, "all").catalogue.photos[0].roofs
    assert roofs.is_flat.sum() == 1
