import shutil
import warnings

import numpy as np
import pytest
import rasterio
import torch

from app.base.errors import DataError
from app.base.logs import ignore_expected_warnings
from app.data.airs.dataset import AirsDataset
from app.data.lines import lines_from_segments
from tests.support.fakes import write_raster
from tests.support.fakes_airs import (
    GEO_TAGS,
    GROUND_GSD_M,
    aerial,
    houses,
    numbers,
    tile_names,
    write_list,
    write_mirror,
    write_original,
    write_tile,
)
from tests.support.samples import check_sample


def test_a_sample_holds_what_the_files_hold(open_airs):
    dataset = open_airs()
    assert len(dataset) == 3  # 12 m wide: one cell each
    assert list(dataset.sample_ids) == [
        "christchurch_1@0,0",
        "christchurch_2@0,0",
        "christchurch_11@0,0",
    ]
    sample = dataset[1]
    check_sample(sample)
    roof = houses(160)
    np.testing.assert_array_equal(sample["image"].numpy(), aerial(roof, seed=2))
    np.testing.assert_array_equal(sample["segments"].numpy(), 17 + roof)
    assert torch.isnan(sample["depth"]).all()
    assert (sample["superstructures"] == 255).all()
    assert sample["dataset"] == dataset.name == "airs"
    assert sample["sample_id"] == dataset.sample_ids[1]
    assert sample["gsd_m"] == pytest.approx(GROUND_GSD_M)
    assert dataset.missing == []
    assert dataset.num_files == 3
    assert dataset.span_m == pytest.approx(160 * GROUND_GSD_M)


def test_of_the_lines_only_the_outline_is_known(open_airs):
    lines = open_airs()[0]["lines"].numpy()
    assert (lines[1:] == 255).all()
    expected = np.zeros((160, 160))
    # Roof from row and column 53 on, to the border of the tile, which is no outline.
    expected[53, 53:] = expected[53:, 53] = 1
    np.testing.assert_array_equal(lines[0], expected)


@pytest.mark.parametrize("gsd_m", [0.075, 0.15, 0.3])
def test_outlines_are_those_that_segments_give_in_other_datasets(tmp_path, gsd_m):
    rng = np.random.default_rng(0)
    roof = np.kron(rng.random((40, 40)) < 0.3, np.ones((9, 9), np.uint8)).astype(np.uint8)
    roof[:, 100:103] = 0  # slits narrower than 0.4 m, and wider ones
    roof[:, 200:208] = 0
    options = GEO_TAGS | {"transform": rasterio.Affine(gsd_m, 0, 0, 0, -gsd_m, 0)}
    write_tile(tmp_path / "train", "a", roof, options=options)
    sample = AirsDataset(tmp_path, "train", tmp_path / "scratch").draw(
        0, 1000.0, np.random.default_rng(0)
    )
    expected = lines_from_segments(sample["segments"].numpy(), gsd_m)[0]
    np.testing.assert_array_equal(sample["lines"][0].numpy(), expected)
    assert 0 < expected.sum() < expected.size / 2


@pytest.mark.parametrize(
    ("split", "expected"),
    [("train", [1, 2, 11]), ("val", [3]), ("test", [4]), ("all", [1, 2, 11, 3, 4])],
)
def test_splits_of_the_mirror(open_airs, split, expected):
    dataset = open_airs(split)
    assert numbers(dataset) == expected
    assert dataset.missing == []


@pytest.mark.parametrize("place", ["", "trainval", "AIRS", "AIRS/trainval"])
def test_the_original_layout_wherever_it_lies(tmp_path, scratch, place):
    # With AIRS, the folder around it is the root; with trainval alone, trainval is.
    outer = tmp_path / "AIRS" if place.startswith("AIRS") else tmp_path
    write_original(outer)
    opened = tmp_path / place if place != "AIRS" else tmp_path
    assert numbers(AirsDataset(opened, "train", scratch)) == [1, 2]
    assert numbers(AirsDataset(opened, "val", scratch)) == [3]
    assert numbers(AirsDataset(opened, "all", scratch)) == [1, 2, 3]


def test_the_mirror_in_a_folder_of_its_own(root, open_airs):
    (root.parent / "channel").mkdir()
    root.rename(root.parent / "channel/archive")
    assert numbers(open_airs("all", root.parent / "channel")) == [1, 2, 11, 3, 4]


def test_the_original_release_has_no_labels_to_test_on(tmp_path, scratch):
    write_original(tmp_path)
    with pytest.raises(DataError, match=r"no folder \S+test: .*holds no labels of its test"):
        AirsDataset(tmp_path / "trainval", "test", scratch)


def test_two_datasets_in_one_folder_are_an_error(tmp_path, scratch):
    write_mirror(tmp_path / "a")
    write_mirror(tmp_path / "b")
    with pytest.raises(DataError, match=r"several datasets in .*got \S+a; \S+b, expected one"):
        AirsDataset(tmp_path, "train", scratch)


@pytest.mark.parametrize(
    "text",
    [
        "christchurch_1.tif\nchristchurch_2.tif\n",
        "christchurch_1\nchristchurch_2",
        "﻿christchurch_1.TIFF\r\n\r\n  christchurch_2.Tif  \r\n",
        "train\\image\\christchurch_1.tif\nC:\\AIRS\\train/christchurch_2\n",
        "christchurch_1.tif\nchristchurch_1_vis.tif\nchristchurch_2.tif\nchristchurch_1.tif\n",
    ],
)
def test_lists_are_read_however_they_were_written(root, open_airs, text):
    (root / "train.txt").write_bytes(text.encode())
    dataset = open_airs()
    assert numbers(dataset) == [1, 2]
    assert dataset.missing == []


def test_without_lists_the_folders_say_what_is_in_a_split(root, open_airs):
    (root / "train.txt").unlink()
    (root / "val.txt").unlink()
    assert numbers(open_airs("train")) == [1, 11, 2]
    assert numbers(open_airs("val")) == [3]


def test_names_are_taken_as_they_are(tmp_path, scratch):
    for name in ("a", "north_side_2", "1.5", "x_vis_y"):
        write_tile(tmp_path / "train", name, houses(64))
    write_list(tmp_path / "train.txt", ["north_side_2", "1.5", "x_vis_y", "a"])
    dataset = AirsDataset(tmp_path, "train", scratch)
    assert tile_names(dataset) == ["north_side_2", "1.5", "x_vis_y", "a"]


def test_an_umlaut_is_the_same_as_one_letter_and_as_two(tmp_path, scratch):
    write_tile(tmp_path / "train", "D\u00e4cher_1.5", houses(64))
    image_path = tmp_path / "train/image/D\u00e4cher_1.5.tif"
    image_path.rename(image_path.with_name("Da\u0308cher_1.5.tif"))
    for name in ("D\u00e4cher_1.5", "Da\u0308cher_1.5.tif"):
        write_list(tmp_path / "train.txt", [name])
        dataset = AirsDataset(tmp_path, "train", scratch)
        assert tile_names(dataset) == ["D\u00e4cher_1.5"]
        assert dataset.missing == []


def test_file_endings_in_any_case(root, open_airs):
    folder = root / "train"
    (folder / "image/christchurch_1.tif").rename(folder / "image/christchurch_1.TIF")
    (folder / "label/christchurch_1.tif").rename(folder / "label/christchurch_1.tiff")
    dataset = open_airs()
    assert numbers(dataset) == [1, 2, 11]
    check_sample(dataset[0])


def test_previews_and_what_archives_add_are_no_tiles(root, open_airs):
    (root / "train.txt").unlink()
    shutil.copy(
        root / "train/label/christchurch_1_vis.tif", root / "train/image/christchurch_1_vis.tif"
    )
    (root / "train/image/._christchurch_1.tif").write_bytes(b"not a tile")
    (root / "train/label/Thumbs.db").write_bytes(b"")
    dataset = open_airs()
    assert numbers(dataset) == [1, 11, 2]
    assert dataset.missing == []


@pytest.mark.parametrize("has_list", [True, False])
def test_tiles_that_lack_a_file_are_missing(root, open_airs, has_list):
    (root / "train/label/christchurch_1.tif").unlink()
    (root / "train/image/christchurch_11.tif").unlink()
    if not has_list:
        (root / "train.txt").unlink()
    dataset = open_airs()
    assert numbers(dataset) == [2]
    assert dataset.num_files == 3
    reasons = {bad.sample_id: bad.reason for bad in dataset.missing}
    assert set(reasons) == {"christchurch_1", "christchurch_11"}
    assert (
        "label/christchurch_1.tif: the tile has an image but no label"
        in (reasons["christchurch_1"])
    )
    assert (
        "image/christchurch_11.tif: the tile has a label but no image"
        in (reasons["christchurch_11"])
    )


def test_a_listed_tile_without_any_file_is_missing(root, open_airs):
    write_list(root / "train.txt", ["christchurch_1", "christchurch_99"])
    dataset = open_airs()
    assert numbers(dataset) == [1]
    (bad,) = dataset.missing
    assert bad.sample_id == "christchurch_99"
    assert bad.path == root / "train/image/christchurch_99.tif"
    assert "train.txt lists the tile, but it has neither image nor label" in bad.reason


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (shutil.rmtree, r"folder not found: \S+airs: expected train/ and val/"),
        (
            lambda root: shutil.rmtree(root / "train/image"),
            r"no folder \S+train/image: found label",
        ),
        (
            lambda root: shutil.rmtree(root / "train"),
            r"no folder \S+train: found test; train\.txt; ",
        ),
        (lambda root: (root / "train.txt").write_text("\n"), r"no tile named in \S+train\.txt"),
        (
            lambda root: (root / "train.txt").write_bytes("a\n".encode("utf-16")),
            r"list cannot be read: \S+train\.txt.*expected UTF-8",
        ),
        (lambda root: write_list(root / "train.txt", ["7"]), r"no tile of split train .*neither"),
        (
            lambda root: shutil.copy(
                root / "train/image/christchurch_1.tif", root / "train/image/christchurch_1.TIFF"
            ),
            r"two files for tile christchurch_1 in .*got christchurch_1\.TIFF and",
        ),
    ],
)
def test_a_folder_that_is_no_dataset_is_an_error(root, open_airs, spoil, match):
    spoil(root)
    with pytest.raises(DataError, match=match) as caught:
        open_airs()
    assert str(caught.value).startswith("AIRS: ")


def test_an_empty_folder_is_an_error(tmp_path, scratch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no tiles in \S+empty: found nothing, expected train/"):
        AirsDataset(tmp_path / "empty", "train", scratch)


@pytest.mark.parametrize("roof_value", [1, 255])
@pytest.mark.parametrize("label_bands", [1, 3])
def test_labels_of_either_value_and_number_of_bands(tmp_path, scratch, roof_value, label_bands):
    roof = houses(160)
    write_tile(tmp_path / "train", "a", roof, roof_value=roof_value, label_bands=label_bands)
    sample = AirsDataset(tmp_path, "train", scratch)[0]
    np.testing.assert_array_equal(sample["segments"].numpy(), 17 + roof)


def test_the_value_of_roofs_may_differ_between_tiles(root, open_airs):
    write_tile(root / "train", "christchurch_2", houses(160), roof_value=255)
    dataset = open_airs()
    assert torch.equal(dataset[0]["segments"], dataset[1]["segments"])


def test_a_tile_without_roofs_is_all_background(root, open_airs):
    write_tile(root / "train", "christchurch_1", np.zeros((160, 160), np.uint8))
    sample = open_airs()[0]
    assert (sample["segments"] == 17).all()
    assert (sample["lines"][0] == 0).all()


@pytest.mark.parametrize("roof_value", [1, 255])
def test_a_roof_that_the_index_did_not_see(tmp_path, scratch, roof_value):
    roof = np.zeros((700, 700), np.uint8)
    roof[5:8, 5:8] = 1  # between the pixels that are looked at, of which the first is at 16
    write_tile(tmp_path / "train", "a", roof, roof_value=roof_value)
    dataset = AirsDataset(tmp_path, "train", scratch)
    assert (dataset[0]["segments"] == 18).sum() == 9


def test_an_image_may_have_alpha(root, open_airs):
    image = np.concatenate([aerial(houses(160)), np.full((1, 160, 160), 255, np.uint8)])
    path = root / "train/image/christchurch_1.tif"
    write_raster(path, image, photometric="RGB", alpha="yes", **GEO_TAGS)
    np.testing.assert_array_equal(open_airs()[0]["image"].numpy(), image[:3])


@pytest.mark.parametrize(
    ("options", "gsd_m"),
    [
        (GEO_TAGS, 0.075),
        ({}, 0.075),
        ({"crs": "EPSG:2193", "transform": rasterio.Affine(0.15, 0, 0, 0, -0.15, 0)}, 0.15),
        ({"crs": "EPSG:4326", "transform": rasterio.Affine(1e-6, 0, 172, 0, -1e-6, 0)}, 0.111),
    ],
)
def test_the_scale_comes_from_the_georeference(root, open_airs, options, gsd_m):
    write_tile(root / "train", "christchurch_1", houses(160), options=options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ignore_expected_warnings()
        dataset = open_airs()
        sample = dataset[0]
    assert sample["gsd_m"] == pytest.approx(gsd_m, abs=1e-3)
    assert dataset.span_m == pytest.approx(min(12, 160 * gsd_m), abs=0.1)


def test_a_tile_of_1024_px_with_georeference_is_good(root, open_airs):
    write_tile(root / "train", "christchurch_1", houses(1024))
    assert open_airs().missing == []
