"""AIRS's tiles as people store them: windows show the same, or the tile is set aside."""

import numpy as np
import pytest
import rasterio
import torch
from rasterio import Affine
from rasterio.enums import ColorInterp, Resampling

from app.base.errors import SampleError
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF
from app.data.airs.dataset import AirsDataset
from app.data.files.turns import Turn
from tests.support.fakes import write_raster
from tests.support.fakes_airs import GEO_TAGS, aerial, houses, write_tile
from tests.support.rasters import rewrite, south_up, turned, write_colours, write_mask
from tests.support.samples import check_sample

SIDE = 800  # 60 m: one cell
PLANES = ("image", "segments", "lines")
# Windows are moved to where few blocks hold them: of the same blocks, to the same place.
BLOCKS = {"tiled": True, "blockxsize": 16, "blockysize": 16}


@pytest.fixture
def tile(tmp_path):
    """Image and label of a tile whose roofs lie the same way in no turn."""
    roof = houses(SIDE)
    roof[:100, 500:] = 1
    options = GEO_TAGS | BLOCKS
    return write_tile(tmp_path / "airs/train", "a", roof, has_preview=False, options=options)


@pytest.fixture
def draw(tmp_path):
    """Draws windows of the tile, some with whole cells."""

    def samples():
        dataset = AirsDataset(tmp_path / "airs", "train", tmp_path / "scratch")
        assert dataset.missing == []
        rng = np.random.default_rng(3)
        drawn = [dataset.draw(0, 20.0, rng) for _ in range(4)]
        return [*drawn, dataset.eval_view(None)[0]]

    return samples


@pytest.fixture
def reason(tmp_path):
    """Why the tile is set aside, beside a good one."""

    def find():
        write_tile(tmp_path / "airs/train", "b", houses(SIDE), has_preview=False)
        (bad,) = AirsDataset(tmp_path / "airs", "train", tmp_path / "scratch").missing
        return bad.reason

    return find


def assert_equal(samples, expected):
    for sample, other in zip(samples, expected, strict=True):
        check_sample(sample)
        assert sample["sample_id"] == other["sample_id"]
        assert sample["gsd_m"] == pytest.approx(other["gsd_m"], rel=1e-6)
        for plane in PLANES:
            assert torch.equal(sample[plane], other[plane]), plane


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_windows_of_tiles_stored_any_way_round_are_north_up(tile, draw, quarters):
    before = draw()
    place = turned(GEO_TAGS["transform"], quarters, SIDE)
    for path in tile:
        rewrite(path, lambda bands: np.rot90(bands, quarters, (1, 2)), transform=place, **BLOCKS)
    assert_equal(draw(), before)


@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)])
def test_image_and_label_are_turned_each_as_it_says(tile, draw, which):
    before = draw()
    for path in (tile[index] for index in which):
        transform = south_up(GEO_TAGS["transform"], SIDE)
        rewrite(path, lambda bands: bands[:, ::-1], transform=transform, **BLOCKS)
    assert_equal(draw(), before)


def test_a_label_that_says_nothing_has_its_images_rows(tile, draw):
    before = draw()
    transform = south_up(GEO_TAGS["transform"], SIDE)
    rewrite(tile[0], lambda bands: bands[:, ::-1], transform=transform, **BLOCKS)
    rewrite(tile[1], lambda bands: bands[:, ::-1], crs=None, transform=Affine.identity())
    assert_equal(draw(), before)


def test_colours_are_where_the_image_says(tile, draw):
    before = draw()
    colours = [ColorInterp.nir, ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    with rasterio.open(tile[0]) as file:
        bands = file.read()
    write_colours(tile[0], np.concatenate((bands[:1], bands[::-1])), colours, **GEO_TAGS, **BLOCKS)
    assert_equal(draw(), before)


def test_a_label_of_another_place_is_refused_with_both(tile, reason):
    rewrite(tile[1], transform=GEO_TAGS["transform"] @ Affine.translation(200, 0))
    assert "label/a.tif: got a label whose upper left at (1570015, 5180000)" in reason()
    assert "image/a.tif, upper left at (1570000, 5180000) in EPSG:2193 (200 pix" in reason()


def hide_left(path, how):
    """The first 300 columns are declared as empty."""
    shown = np.ones((SIDE, SIDE), np.bool_)
    shown[:, :300] = False
    alpha = np.where(shown, 255, 0).astype(np.uint8)[None]
    if how == "alpha":
        rewrite(
            path, lambda b: np.concatenate((b, alpha)), photometric="RGB", alpha="YES", **BLOCKS
        )
    elif how == "nodata":
        rewrite(path, lambda b: np.where(shown, b, 0).astype(np.uint8), nodata=0, **BLOCKS)
    else:
        write_mask(path, shown, inside=how == "mask")


@pytest.mark.parametrize("how", ["alpha", "nodata", "mask", "mask beside"])
def test_what_an_image_does_not_show_is_unknown_to_train_and_to_validate_on(tile, draw, how):
    before = draw()
    hide_left(tile[0], how)
    num_hidden = 0
    for sample, other in zip(draw(), before, strict=True):
        check_sample(sample)
        hidden = max(0, 300 - int(sample["sample_id"].split(",")[1]))
        num_hidden += hidden
        for plane in ("segments", "lines"):
            assert (sample[plane][..., :hidden] == IGNORE_INDEX).all(), plane
        assert (sample["image"][..., :hidden] == 0).all()
        for plane in ("image", "segments"):
            assert torch.equal(sample[plane][..., hidden:], other[plane][..., hidden:]), plane
        # Seven pixels are half a metre. A roof that is cut off has no eave where it is cut.
        near = hidden + 7 if hidden else 0
        assert (sample["lines"][..., :near] == IGNORE_INDEX).all()
        assert torch.equal(sample["lines"][..., near:], other["lines"][..., near:])
    assert num_hidden > 300


def test_what_a_label_does_not_know_is_unknown_and_is_seen(tile, draw):
    before = draw()
    rewrite(tile[1], lambda bands: np.where(np.arange(SIDE) < 300, 255, bands).astype(np.uint8),
            nodata=255)  # fmt: skip
    for sample, other in zip(draw(), before, strict=True):
        hidden = max(0, 300 - int(sample["sample_id"].split(",")[1]))
        assert torch.equal(sample["image"], other["image"])
        assert (sample["segments"][:, :hidden] == IGNORE_INDEX).all()
        assert (sample["lines"][..., :hidden] == IGNORE_INDEX).all()
        assert torch.equal(sample["segments"][:, hidden:], other["segments"][:, hidden:])


ISPRS = np.array([[255, 255, 255], [0, 0, 255]], np.uint8)  # street, building


def test_a_label_of_colours_is_refused(tile, reason):
    rewrite(tile[1], lambda bands: ISPRS[bands[0]].transpose(2, 0, 1))
    assert "label/a.tif: got 3 bands that differ, as colours do: (255, 255, 255) " in reason()
    assert "--calc='(A==0)*(B==0)*(C==255)'" in reason()


def test_colours_that_the_index_did_not_see_are_an_error(tile, tmp_path):
    def spoil(bands):
        bands = np.repeat(bands, 3, axis=0)
        bands[2, 5:8, 5:8] = 1
        return bands

    rewrite(tile[1], spoil)
    dataset = AirsDataset(tmp_path / "airs", "train", tmp_path / "scratch")
    assert dataset.missing == []
    with pytest.raises(SampleError, match="3 bands that differ, as colours do"):
        dataset[0]


def test_labels_of_one_bit_or_of_a_colour_table_are_their_numbers(tile, draw):
    before = draw()
    rewrite(tile[1], nbits=1)
    assert_equal(draw(), before)
    with rasterio.open(tile[1]) as file:
        roof = file.read()
    options = {"driver": "GTiff", "count": 1, "height": SIDE, "width": SIDE, "dtype": "uint8"}
    with rasterio.open(tile[1], "w", **options, **GEO_TAGS) as file:
        file.write_colormap(1, {0: (255, 255, 255), 1: (0, 0, 0)})
        file.write(roof)
    assert_equal(draw(), before)


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        (lambda bands: bands + 1, {}, "got label values 1, 2, expected 0 and 1"),
        (lambda bands: bands + 1, {}, "if 1 is ground and 2 roof, `gdal_calc.py -A a.tif --calc="),
        (lambda bands: bands, {"nodata": 0}, "got 0 declared as nodata, which is a class"),
        (lambda bands: bands, {"photometric": "MINISWHITE"}, "1 band of uint8 in MINISWHITE"),
    ],
)  # fmt: skip
def test_numbers_that_mean_something_else_are_refused(tile, reason, change, options, expected):
    rewrite(tile[1], change, **options)
    assert expected in reason()


@pytest.mark.parametrize("value", [1, 0])
def test_overviews_of_a_label_are_never_read(tile, tmp_path, value):
    """A smaller copy says "roof everywhere", or "no roof": the label itself is asked."""
    with rasterio.open(tile[1]) as file:
        roof = file.read()
    write_raster(tile[1], np.full_like(roof, value), **GEO_TAGS)
    with rasterio.open(tile[1], "r+") as file:
        file.build_overviews([2, 4, 8, 16, 32], Resampling.nearest)
    with rasterio.open(tile[1], "r+") as file:
        file.write(roof)
    with rasterio.open(tile[1], overview_level=1) as overview:
        assert (overview.read() == value).all()
    dataset = AirsDataset(tmp_path / "airs", "train", tmp_path / "scratch")
    assert len(dataset._edge_cells) == 1
    assert set(np.unique(dataset[0]["segments"])) == {BACKGROUND_CLASS, SOME_ROOF}


@pytest.mark.parametrize(
    ("place", "gsd_m", "assumed"),
    [
        ({"transform": Affine(0.25, 0, 9, 0, -0.25, 9)}, 0.25,
         "no coordinate reference system, taken as metres (1 of 1 looked at)"),
        ({}, 0.075, "no georeference, taken as 0.075 m per pixel (1 of 1 looked at)"),
        ({"crs": "EPSG:3857", "transform": Affine(0.1, 0, 1.9e7, 0, -0.1, -5.4e6)}, 0.0724, ""),
    ],
)  # fmt: skip
def test_the_scale_is_what_files_say_and_what_is_assumed_is_named(tmp_path, place, gsd_m, assumed):
    write_tile(tmp_path / "airs/train", "a", houses(SIDE), options=place)
    dataset = AirsDataset(tmp_path / "airs", "train", tmp_path / "scratch")
    assert dataset.tiles[0].gsd_m == pytest.approx(gsd_m, abs=1e-4)
    assert dataset.assumed_scale == assumed
    # From what is kept of the first look, too.
    again = AirsDataset(tmp_path / "airs", "train", tmp_path / "scratch")
    assert again.assumed_scale == assumed
    assert again.tiles == dataset.tiles
    assert again.tiles[0].image.turn == Turn()


def test_nothing_in_an_image_is_a_reason(tmp_path, reason):
    empty = np.zeros((1, SIDE, SIDE), np.uint8)
    path = tmp_path / "airs/train/image/a.tif"
    write_tile(tmp_path / "airs/train", "a", houses(SIDE), has_preview=False)
    write_raster(path, np.concatenate((aerial(houses(SIDE)), empty)), photometric="RGB",
                 alpha="YES", **GEO_TAGS)  # fmt: skip
    assert "image/a.tif: got nothing but what is declared as empty" in reason()
