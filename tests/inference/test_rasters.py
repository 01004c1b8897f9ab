"""Rasters of predictions: what is in the files, and that they are whole or not there."""

import resource

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from app.base.errors import StorageError
from app.base.tasks import build_tasks
from app.base.window import Window
from app.inference.layers import Band, Layer
from app.inference.photo_source import Grid
from app.inference.rasters import TiledRaster, explained_writes, finish

UTM = Affine(0.1, 0, 691000, 0, -0.1, 5334000)
GRID = Grid(1100, 1300, 0.1, UTM, "EPSG:32632")
(SEGMENTS, *_) = build_tasks()
CLASSES = Layer("segments", (Band("roof planes by direction"),), SEGMENTS)
HEIGHT = Layer("height", (Band("height above ground", "m"),), None, "float32")
SHARES = Layer("lines", tuple(Band(f"probability of {n}", "%", 0.5) for n in "abcd"))
TAGS = {"MODEL_SHA256": "ab" * 32, "GSD_M": "0.1"}


def values_of(layer, grid=GRID, seed=0):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(
        0, 18, (len(layer.bands), 1 + grid.height_px // 50, 1 + grid.width_px // 50)
    )
    values = blocks.repeat(50, 1).repeat(50, 2)[:, : grid.height_px, : grid.width_px]
    return values.astype(layer.dtype)


def write(folder, layer, values, grid=GRID, wanted=None, skipped=()):
    """In rectangles of odd sizes, row by row, without some of them."""
    (folder / "scratch").mkdir(exist_ok=True)
    raster = TiledRaster(folder / "scratch/a.tif", layer, grid, TAGS)
    number = 0
    for top in range(0, grid.height_px, 347):
        for left in range(0, grid.width_px, 401):
            height, width = min(347, grid.height_px - top), min(401, grid.width_px - left)
            window = Window(top, left, height, width)
            part = values[:, window.rows, window.columns]
            raster.add(window, None if number in skipped else part)
            number += 1
    raster.close()
    return finish(raster, wanted or grid, folder / f"house_{layer.name}.tif", TAGS)


@pytest.mark.parametrize("layer", [CLASSES, HEIGHT, SHARES])
def test_a_raster_is_what_was_written_in_tiles_with_overviews(tmp_path, layer):
    values = values_of(layer)
    path, *_ = write(tmp_path, layer, values)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), values)
        assert (file.crs.to_epsg(), file.transform) == (32632, UTM)
        assert set(file.block_shapes) == {(512, 512)}
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2, 4]
        assert file.descriptions == tuple(band.description for band in layer.bands)
        assert [unit or "" for unit in file.units] == [band.unit for band in layer.bands]
        assert file.scales == tuple(band.scale for band in layer.bands)
        assert {**file.tags(), **TAGS} == file.tags()
        expected = values[:, 4:28:4, 4:28:4]  # blocks of 50 px are of one value there
        np.testing.assert_array_equal(
            file.read(out_shape=(file.count, 275, 325))[:, 1:7, 1:7], expected
        )
        assert "alpha" not in [colour.name for colour in file.colorinterp]
        assert np.isnan(file.nodata) if layer is HEIGHT else file.nodata == 255


def test_classes_have_names_and_colours(tmp_path):
    path, sidecar = write(tmp_path, CLASSES, values_of(CLASSES))
    assert sidecar.name == "house_segments.tif.aux.xml"
    with rasterio.open(path) as file:
        colours = file.colormap(1)
        assert file.tags()["CLASS_4"] == "E"
        assert file.tags()["CLASS_17"] == "background"
    assert colours[4] == (*SEGMENTS.colours[4], 255)
    assert colours[255][3] == 0
    text = sidecar.read_text()
    assert text.index("<Category>N</Category>") < text.index("<Category>background</Category>")


@pytest.mark.parametrize("layer", [CLASSES, HEIGHT])
def test_the_same_again_is_equal_to_the_byte(tmp_path, layer):
    values = values_of(layer)
    first = [path.read_bytes() for path in write(tmp_path, layer, values)]
    assert [path.read_bytes() for path in write(tmp_path, layer, values)] == first


def test_what_was_left_out_is_no_data_and_takes_no_memory(tmp_path):
    values = values_of(HEIGHT)
    path, *_ = write(tmp_path, HEIGHT, values, skipped=(0, 1, 5, 6, 9))
    with rasterio.open(path) as file:
        got = file.read()
    is_nothing = np.isnan(got[0])
    assert is_nothing[:347, :802].all()
    assert not is_nothing[:347, 802:].any()
    np.testing.assert_array_equal(got[0, ~is_nothing], values[0, ~is_nothing])


def test_tiles_that_have_begun_are_few(tmp_path):
    grid = Grid(512 * 6, 512 * 3, 0.1)
    raster = TiledRaster(tmp_path / "a.tif", CLASSES, grid, {})
    most = 0
    for top in range(0, grid.height_px, 384):
        for left in range(0, grid.width_px, 384):
            # Half of them hold nothing, in whatever order.
            values = np.zeros((1, 384, 384), np.uint8) if (top + left) // 384 % 2 else None
            raster.add(Window(top, left, 384, 384), values)
            most = max(most, len(raster._begun))
    raster.close()
    assert most <= 2 * 3 + 1


@pytest.mark.parametrize("layer", [CLASSES, HEIGHT])
@pytest.mark.parametrize("size", [(2200, 2600), (733, 866)])
def test_on_other_pixels_it_covers_the_same_ground(tmp_path, layer, size):
    values = values_of(layer)
    scale = Affine.scale(GRID.width_px / size[1], GRID.height_px / size[0])
    wanted = Grid(*size, 0.1 * GRID.width_px / size[1], UTM @ scale, "EPSG:32632")
    path, *_ = write(tmp_path, layer, values, wanted=wanted)
    with rasterio.open(path) as file:
        got = file.read()
        assert file.transform.almost_equals(wanted.transform)
    # At the middles of blocks of 50 px.
    middles = [np.arange(25, side - 25, 50) for side in (GRID.height_px, GRID.width_px)]
    rows, columns = (
        (middle * new / old).astype(int)
        for middle, new, old in zip(middles, size, (GRID.height_px, GRID.width_px), strict=True)
    )
    np.testing.assert_array_equal(
        got[:, rows][:, :, columns], values[:, middles[0]][:, :, middles[1]]
    )


def test_without_a_place_there_is_none(tmp_path):
    grid = Grid(300, 200, 0.1)
    path, *_ = write(tmp_path, SHARES, values_of(SHARES, grid), grid)
    with rasterio.open(path) as file:
        assert file.crs is None
        assert file.transform == Affine.identity()


@pytest.mark.parametrize("limit", [100, 3000, 60_000, 100_000])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, limit):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 18, (1, GRID.height_px, GRID.width_px)).astype(np.uint8)
    path, *_ = write(tmp_path, CLASSES, np.zeros_like(values))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with (
            pytest.raises(StorageError, match=r"a file cannot be written: .* again") as caught,
            explained_writes(tmp_path),
        ):
            write(tmp_path, CLASSES, values)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_file_that_was_not_written_whole_does_not_reach_its_place(tmp_path, monkeypatch):
    values = values_of(CLASSES)
    path, *_ = write(tmp_path, CLASSES, values)
    before = path.read_bytes()

    def lossy(source, target, **options):
        """As a disk that loses the end of a file."""
        copy(source, target, **options)
        target.write_bytes(target.read_bytes()[:-2000])

    copy = rasterio.shutil.copy
    monkeypatch.setattr(rasterio.shutil, "copy", lossy)
    with pytest.raises(StorageError, match="cannot be written"), explained_writes(tmp_path):
        write(tmp_path, CLASSES, values + np.uint8(1))
    assert path.read_bytes() == before
