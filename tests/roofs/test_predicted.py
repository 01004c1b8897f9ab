"""Roofs found in rasters as `predict` writes them, and the photo that is shown below them."""

import dataclasses

import numpy as np
import pytest
import torch
from rasterio import Affine

from app.base.tasks import LINE_KINDS, build_tasks
from app.base.window import Window
from app.inference.layers import LayerMaker
from app.inference.photo_rasters import PhotoRasters
from app.inference.photo_source import open_photo
from app.inference.rasters import TiledRaster
from app.inference.tiles import SeenBlock
from app.roofs.calibration import Calibration
from app.roofs.predicted import find_predicted_roofs
from app.roofs.writing.drawing import MAX_PHOTO_SIDE_PX
from app.roofs.writing.view import read_view
from tests.support.fakes import write_raster
from tests.support.roofs import GSD_M, classes_of, gable_planes

SIDE = 300
UTM = {"transform": Affine(GSD_M, 0, 690_000, 0, -GSD_M, 5_334_000), "crs": "EPSG:25832"}
# Its north is 1.9 degrees clockwise of true north there.
CONVERGENCE_DEG = 1.9
MEASURED = Calibration(300, 0.0, 1.0, 300, 2.0, 300, 3.0)


def rasters_of(folder, photo, classes, tasks, pitch_deg=30.0):
    """As predicted by a network without a fault."""
    shares = torch.nn.functional.one_hot(torch.from_numpy(classes).long(), 18)
    averages = {"segments": shares.permute(2, 0, 1).float(), "lines": torch.zeros(4, SIDE, SIDE)}
    rows = torch.arange(SIDE) + 0.5
    heights = 3 + (40 - (rows - SIDE / 2).abs()).clamp(min=0) * GSD_M * np.tan(
        np.radians(pitch_deg)
    )
    averages["depth"] = heights[:, None].expand(SIDE, SIDE)[None].float()
    averages = {task.name: averages[task.name] for task in tasks}
    maker = LayerMaker(tasks, LINE_KINDS, 1)
    block = SeenBlock(Window(0, 0, SIDE, SIDE), averages, None)
    layers = {}
    for layer in maker.layers:
        raster = TiledRaster(folder / f"{layer.name}.tif", layer, photo.grid, {})
        raster.add(block.window, maker.make(block)[layer.name])
        raster.close()
        layers[layer.name] = raster
    return PhotoRasters(photo, {}, layers)


@pytest.fixture
def gable():
    planes, azimuths = gable_planes(0)
    return classes_of(planes, azimuths, SIDE)


def test_roofs_lie_where_the_photo_does_and_have_pitches(tmp_path, gable):
    pixels = np.full((3, SIDE, SIDE), 90, np.uint8)
    photo = open_photo(write_raster(tmp_path / "house.tif", pixels, **UTM), GSD_M)
    roofs = find_predicted_roofs(
        rasters_of(tmp_path, photo, gable, build_tasks()), "house", MEASURED
    )
    assert (roofs.photo, roofs.crs) == ("house", "EPSG:25832")
    north, south = sorted(roofs.planes, key=lambda plane: -plane.polygon.centroid.y)
    turned = [(plane.azimuth_degrees + 180) % 360 - 180 for plane in (north, south)]
    assert turned[0] == pytest.approx(CONVERGENCE_DEG, abs=1.5)
    assert turned[1] % 360 == pytest.approx(180 + CONVERGENCE_DEG, abs=1.5)
    for plane in (north, south):
        assert plane.pitch_degrees == pytest.approx(30, abs=1)
        assert plane.ground_area_m2 == pytest.approx(48, rel=0.03)
    assert roofs.buildings[0].polygon.bounds == pytest.approx(
        (690_009, 5_333_981, 690_021, 5_333_989), abs=0.2
    )
    assert "ridge" in {line.kind for line in roofs.lines}
    # What the model's calibration says of standard deviations is stated.
    wider = dataclasses.replace(MEASURED, azimuth_factor=3.0, pitch_factor=6.0)
    others = find_predicted_roofs(
        rasters_of(tmp_path, photo, gable, build_tasks()), "house", wider
    ).planes
    for plane, other in zip(roofs.planes, others, strict=True):
        assert other.azimuth_sd_degrees == pytest.approx(1.5 * plane.azimuth_sd_degrees)
        assert other.pitch_sd_degrees == pytest.approx(2 * plane.pitch_sd_degrees)


def test_without_a_reference_system_they_are_in_pixels_of_the_photos_own(tmp_path, gable):
    pixels = np.full((3, 2 * SIDE, 2 * SIDE), 90, np.uint8)
    photo = open_photo(write_raster(tmp_path / "house.png", pixels), GSD_M, GSD_M / 2)
    roofs = find_predicted_roofs(
        rasters_of(tmp_path, photo, gable, build_tasks()), "house", MEASURED
    )
    assert roofs.crs is None
    (building,) = roofs.buildings
    assert building.polygon.bounds == pytest.approx((180, 220, 420, 380), abs=4)
    assert building.ground_area_m2 == pytest.approx(96, rel=0.03)
    assert roofs.planes[0].polygon.within(building.polygon.buffer(1))
    assert all(line.line.within(building.polygon.buffer(6)) for line in roofs.lines)


def test_a_network_without_planes_finds_none(tmp_path, gable):
    pixels = np.full((3, SIDE, SIDE), 90, np.uint8)
    photo = open_photo(write_raster(tmp_path / "house.tif", pixels, **UTM), GSD_M)
    tasks = [task for task in build_tasks() if task.name == "depth"]
    assert (
        find_predicted_roofs(rasters_of(tmp_path, photo, gable, tasks), "house", MEASURED) is None
    )


@pytest.mark.parametrize("has_place", [True, False])
def test_the_photo_is_shown_as_large_as_a_page_needs(tmp_path, has_place):
    pixels = np.zeros((3, 500, 5 * MAX_PHOTO_SIDE_PX // 4), np.uint8)
    pixels[0, :, 1000:] = 250
    path = write_raster(tmp_path / "long.tif", pixels, **(UTM if has_place else {}))
    view = read_view(open_photo(path, 0.2, 0.1))
    assert view.image.shape == (400, MAX_PHOTO_SIDE_PX, 3)
    assert view.image[:, 795].max() == 0
    assert view.image[:, 805, 0].min() == 250
    assert view.gsd_m == pytest.approx(0.125, rel=1e-3)
    place = (690_100, 5_333_950) if has_place else (1000, 500)
    assert view.to_px @ place == pytest.approx((800, 400), abs=1e-6)


def test_a_small_photo_is_shown_as_it_is(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 60)).astype(np.uint8)
    view = read_view(open_photo(write_raster(tmp_path / "a.tif", pixels, **UTM), 0.3))
    np.testing.assert_array_equal(view.image, pixels.transpose(1, 2, 0))
