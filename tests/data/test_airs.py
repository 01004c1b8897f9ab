import os
import pickle
import re
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.windows import Window

from app.data.airs import AirsDataset, AirsWindows
from app.data.airs_tile import Tile
from app.data.sample import check_sample
from app.data.targets import lines_from_segments
from app.errors import DataError, SampleError
from app.logs import ignore_expected_warnings
from tests.fakes import write_raster
from tests.fakes_airs import (
    GEO_TAGS,
    aerial,
    houses,
    write_list,
    write_mirror,
    write_original,
    write_tile,
)


@pytest.fixture
def root(tmp_path):
    """The mirror: train tiles 1, 2, 11, val 3, test 4."""
    write_mirror(tmp_path / "airs")
    return tmp_path / "airs"


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch"


@pytest.fixture
def open_airs(root, scratch):
    """Opens a split of the mirror."""
    return lambda split="train", folder=root: AirsDataset(folder, split, scratch)


def tile_names(dataset):
    return list(dict.fromkeys(sample_id.split("@")[0] for sample_id in dataset.sample_ids))


def numbers(dataset):
    return [int(name.removeprefix("christchurch_")) for name in tile_names(dataset)]


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
    assert sample["gsd_m"] == pytest.approx(0.075)
    assert dataset.missing == []
    assert dataset.num_files == 3
    assert dataset.span_m == pytest.approx(12)


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


def test_of_three_bands_of_a_label_the_first_counts(root, open_airs):
    label = np.stack([houses(160), np.full((160, 160), 7), np.full((160, 160), 9)])
    write_raster(root / "train/label/christchurch_1.tif", label.astype(np.uint8))
    np.testing.assert_array_equal(open_airs()[0]["segments"].numpy(), 17 + houses(160))


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


def replace_label(values):
    """A function that writes a tile's label anew, of the given values all over."""

    def write(_, label_path):
        label = np.random.default_rng(0).choice(values, (1, 160, 160))
        write_raster(label_path, label.astype(np.uint8))

    return write


def truncate(which):
    def cut(*paths):
        path = paths[which]
        os.truncate(path, path.stat().st_size // 2)

    return cut


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (truncate(0), r"image/christchurch_1\.tif: got an unreadable file .*is it truncated"),
        (truncate(1), r"label/christchurch_1\.tif: got an unreadable file .*is it truncated"),
        (lambda image, _: image.write_bytes(b""), r"image/\S+ got an unreadable file"),
        (lambda image, label: shutil.copy(label, image), r"image/\S+ got 1 band of uint8"),
        (replace_label([0, 1, 255]), r"label/\S+ got label values 0, 1, 255, expected 0 and 1, or"),
        (replace_label([1, 255]), r"label/\S+ got label values 1, 255, expected 0 and 1, or 0 and"),
        (replace_label([0, 2]), r"label/\S+ got label values 0, 2, expected"),
        (replace_label(range(20)), r"got label values 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 10 more"),
        (
            lambda _, label: write_raster(label, np.zeros((2, 160, 160), np.uint8)),
            r"label/\S+ got 2 bands of uint8, expected 1 or 3 bands",
        ),
        (
            lambda _, label: write_raster(label, np.zeros((1, 160, 160), np.int16)),
            r"label/\S+ got 1 band of int16, expected 1 or 3 bands",
        ),
        (
            lambda _, label: write_raster(label, np.zeros((1, 160, 128), np.uint8)),
            r"label/\S+ got 128 x 160 pixels, expected 160 x 160, the size of \S+image/",
        ),
        (
            lambda image, _: write_raster(
                image,
                aerial(houses(160)),
                crs="EPSG:2193",
                transform=rasterio.Affine(75, 0, 0, 0, -75, 0),
            ),
            r"image/\S+ got a georeference of 75 m per pixel, expected 0\.01 to 1\.0 m",
        ),
        (
            lambda image, _: write_tile(
                image.parents[1], "christchurch_1", houses(1024), options={"compress": "deflate"}
            ),
            r"got 1024 x 1024 pixels and no georeference, as in a mirror .*made smaller.*full size",
        ),
        (lambda _, label: (label.unlink(), label.mkdir()), r"label/\S+ got a folder"),
    ],
)
def test_a_tile_that_cannot_be_used_is_set_aside(root, open_airs, spoil, match):
    image_path = root / "train/image/christchurch_1.tif"
    label_path = root / "train/label/christchurch_1.tif"
    spoil(image_path, label_path)
    dataset = open_airs()
    assert numbers(dataset) == [2, 11]
    assert dataset.num_files == 3
    (bad,) = dataset.missing
    assert bad.sample_id == "christchurch_1"
    assert bad.path in (image_path, label_path)
    assert str(bad.path) in bad.reason
    assert bad.reason.startswith("AIRS: ")
    assert bad.reason.isprintable()
    assert re.search(match, bad.reason), bad.reason


def test_no_usable_tile_is_an_error(root, open_airs):
    for path in (root / "train/label").glob("christchurch_*.tif"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no tile of split train can be used: AIRS: .*; AIRS: "):
        open_airs()


@pytest.mark.parametrize("which", ["image", "label"])
def test_links_out_of_the_folder_are_not_followed(root, open_airs, which):
    path = root / f"train/{which}/christchurch_1.tif"
    path.rename(root.parent / "outside.tif")
    path.symlink_to(root.parent / "outside.tif")
    (bad,) = open_airs().missing
    assert bad.path == path
    assert "a link that leads out of the dataset's folder" in bad.reason


def test_a_link_put_in_place_of_an_indexed_tile_is_not_followed(root, open_airs):
    dataset = open_airs()
    path = root / "train/image/christchurch_1.tif"
    path.rename(root.parent / "outside.tif")
    path.symlink_to(root.parent / "outside.tif")
    with pytest.raises(SampleError, match="a link that leads out"):
        dataset[0]


def test_a_list_that_is_a_link_out_of_the_folder_is_an_error(root, open_airs):
    (root / "train.txt").rename(root.parent / "outside.txt")
    (root / "train.txt").symlink_to(root.parent / "outside.txt")
    with pytest.raises(DataError, match="a link that leads out"):
        open_airs()


def test_links_inside_the_folder_are_followed(root, open_airs):
    path = root / "train/image/christchurch_1.tif"
    path.rename(root / "elsewhere.tif")
    path.symlink_to(root / "elsewhere.tif")
    assert open_airs().missing == []


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


@pytest.fixture
def wide(tmp_path, scratch):
    """One tile of 1400 x 2100 px, 105 x 157.5 m: 2 x 3 cells of 700 px."""
    write_tile(tmp_path / "wide/train", "christchurch_1", houses(1400, 2100))
    return AirsDataset(tmp_path / "wide", "train", scratch)


def test_cells_cover_a_tile_without_overlap(wide):
    assert list(wide.sample_ids) == [
        f"christchurch_1@{row},{column}" for row in (0, 700) for column in (0, 700, 1400)
    ]
    image = np.zeros((3, 1400, 2100), np.uint8)
    segments = np.zeros((1400, 2100), np.uint8)
    for index in range(len(wide)):
        sample = wide[index]
        rows, columns = (slice(start, start + 700) for start in corner(sample))
        image[:, rows, columns] = sample["image"]
        segments[rows, columns] = sample["segments"]
    np.testing.assert_array_equal(image, aerial(houses(1400, 2100)))
    np.testing.assert_array_equal(segments, 17 + houses(1400, 2100))
    assert torch.equal(wide[-1]["image"], wide[5]["image"])
    with pytest.raises(IndexError):
        wide[6]


def corner(sample):
    """Row and column of a sample's first pixel."""
    return [int(number) for number in sample["sample_id"].split("@")[1].split(",")]


def test_windows_are_centred_anywhere_in_the_cell_and_stay_inside_the_tile(wide):
    rng = np.random.default_rng(0)
    whole = aerial(houses(1400, 2100))
    corners = []
    for _ in range(60):
        sample = wide.draw(4, 30.0, rng)  # the middle cell of the lower row
        row, column = corner(sample)
        np.testing.assert_array_equal(
            sample["image"], whole[:, row : row + 400, column : column + 400]
        )
        check_sample(sample)
        corners.append((row, column))
    rows, columns = np.array(corners).T
    # Centres are between 700 and 1400, in both directions; and no row goes beyond 1400 - 400.
    assert 500 <= rows.min() < 560
    assert rows.max() == 1000
    assert 500 <= columns.min() < 560
    assert 1140 < columns.max() <= 1200


def test_windows_are_at_least_as_wide_as_asked(wide):
    rng = np.random.default_rng(0)
    assert wide.draw(0, 51.2, rng)["image"].shape == (3, 683, 683)
    assert wide.draw(0, 51.225, rng)["image"].shape == (3, 683, 683)
    assert wide.draw(0, 51.226, rng)["image"].shape == (3, 684, 684)
    assert wide.draw(0, 120.0, rng)["image"].shape == (3, 1400, 1600)
    assert wide.draw(0, 1000.0, rng)["image"].shape == (3, 1400, 2100)


def test_draws_depend_on_the_generator_alone(wide):
    first, again = (wide.draw(2, 20.0, np.random.default_rng(5)) for _ in range(2))
    assert first["sample_id"] == again["sample_id"]
    assert torch.equal(first["image"], again["image"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compress": "lzw"},
        {"interleave": "band"},
        {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"},
        {"tiled": True, "blockxsize": 128, "blockysize": 128},
    ],
)
def test_windows_of_any_kind_of_tiff(tmp_path, scratch, options):
    roof = houses(800)
    write_tile(tmp_path / "train", "a", roof, options=options | GEO_TAGS)
    sample = AirsDataset(tmp_path, "train", scratch).draw(0, 20.0, np.random.default_rng(3))
    row, column = corner(sample)
    window = np.s_[row : row + 267, column : column + 267]
    np.testing.assert_array_equal(sample["image"], aerial(roof)[:, *window])
    np.testing.assert_array_equal(sample["segments"], 17 + roof[window])


@pytest.mark.parametrize("options", [{}, {"compress": "deflate"}])
def test_damage_found_later_bears_the_name_of_its_tile(tmp_path, scratch, options):
    image_path, _ = write_tile(
        tmp_path / "train", "christchurch_1", houses(1400), options=options | GEO_TAGS
    )
    write_tile(tmp_path / "train", "christchurch_2", houses(160))
    dataset = AirsDataset(tmp_path, "train", scratch)
    assert len(dataset) == 5
    os.truncate(image_path, image_path.stat().st_size - 2000)
    with pytest.raises(SampleError, match="is it truncated") as caught:
        dataset[3]
    assert caught.value.sample_id == "christchurch_1"
    assert caught.value.path == image_path
    # Each window by itself: what a process read before must not change what it reads next.
    check_sample(dataset[0])
    check_sample(dataset[4])
    with pytest.raises(SampleError):
        pickle.loads(pickle.dumps(dataset))[3]


def test_label_values_that_the_index_did_not_see_are_an_error(tmp_path, scratch):
    _, label_path = write_tile(tmp_path / "train", "christchurch_1", houses(700))
    with rasterio.open(label_path, "r+") as file:
        file.write(np.full((1, 3, 3), 255, np.uint8), window=((5, 8), (5, 8)))
    dataset = AirsDataset(tmp_path, "train", scratch)
    assert dataset.missing == []
    with pytest.raises(
        SampleError, match="label values 0, 1, 255, expected 0 and 1, as elsewhere in the tile"
    ) as caught:
        dataset[0]
    assert caught.value.path == label_path


def test_a_tile_exchanged_for_one_of_another_size_is_an_error(root, open_airs):
    dataset = open_airs()
    write_tile(root / "train", "christchurch_1", houses(200))
    with pytest.raises(SampleError, match="got 200 x 200 pixels, expected 160 x 160, as when"):
        dataset[0]


@pytest.fixture
def village(tmp_path, scratch):
    """Sixteen tiles of one cell each, with shares of roof of 0 (ten), 0.06, 0.3, 0.8, 0.95 .. 1."""
    shares = [0.0] * 10 + [0.06, 0.3, 0.8, 0.95, 1.0, 1.0]
    for number, share in enumerate(shares):
        roof = np.zeros((640, 640), np.uint8)
        roof[: round(640 * share)] = 1
        write_tile(tmp_path / "village/train", f"{number:02}", roof, has_preview=False)
    return AirsDataset(tmp_path / "village", "train", scratch)


def test_a_pass_prefers_cells_with_roof_edges_evenly_by_their_share(village):
    rng = np.random.default_rng(0)
    passes = [village.pass_order(rng) for _ in range(1000)]
    assert all(len(order) == len(village) == 16 for order in passes)
    counts = np.bincount(np.concatenate(passes), minlength=16) / 16_000
    # 70 % in three equal parts, and to every cell a sixteenth of 30 %.
    anywhere = 0.3 / 16
    expected = np.full(16, anywhere)
    expected[10:13] += 0.7 / 3
    np.testing.assert_allclose(counts, expected, atol=0.01)


def test_a_pass_over_cells_without_edges_takes_all_alike(tmp_path, scratch):
    for number in range(4):
        write_tile(tmp_path / "train", str(number), np.zeros((64, 64), np.uint8))
    dataset = AirsDataset(tmp_path, "train", scratch)
    rng = np.random.default_rng(0)
    counts = Counter(int(index) for _ in range(1000) for index in dataset.pass_order(rng))
    assert all(count == pytest.approx(1000, abs=120) for count in counts.values())
    assert len(counts) == 4


def test_pass_order_depends_on_the_generator_alone(village):
    first, again = (village.pass_order(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.int64


def test_datasets_travel_to_other_processes(wide):
    sent = pickle.loads(pickle.dumps((wide, AirsWindows(wide, 3))))
    for here, there in zip((wide, AirsWindows(wide, 3)), sent, strict=True):
        assert list(there.sample_ids) == list(here.sample_ids)
        assert torch.equal(there[1]["image"], here[1]["image"])


def test_reading_keeps_few_files_open_and_writes_nothing_into_the_dataset(root, open_airs):
    def state():
        return {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    before = state()
    dataset = open_airs("all")
    for index in range(len(dataset)):
        dataset[index]
    assert state() == before
    open_files = [path.resolve() for path in Path("/proc/self/fd").iterdir() if path.exists()]
    assert len([path for path in open_files if path.is_relative_to(root.resolve())]) <= 32


def test_windows_are_moved_to_where_the_fewest_blocks_hold_them():
    sides = {"height_px": 10000, "width_px": 10000}
    facts = dict.fromkeys(("files", "gsd_m", "roof_value", "image_size_bytes", "label_size_bytes"))
    tile = Tile(**facts, **sides, block_px=(256, 256), num_rows=1, num_columns=1)
    rng = np.random.default_rng(0)
    for _ in range(500):
        top, left = (int(rng.integers(10000 - 683)) for _ in range(2))
        moved = tile.fit_to_blocks(Window(left, top, 683, 683))
        assert (moved.height, moved.width) == (683, 683)
        for start, before in ((moved.row_off, top), (moved.col_off, left)):
            assert abs(start - before) <= 171
            assert 0 <= start <= 10000 - 683
            at_the_end = before // 256 == (10000 - 683) // 256
            assert (start + 682) // 256 - start // 256 == 2 or at_the_end


def test_strips_move_windows_by_less_than_a_strip():
    facts = dict.fromkeys(("files", "gsd_m", "roof_value", "image_size_bytes", "label_size_bytes"))
    sides = {"height_px": 1000, "width_px": 800}
    tile = Tile(**facts, **sides, block_px=(16, 800), num_rows=1, num_columns=1)
    moved = tile.fit_to_blocks(Window(123, 77, 100, 100))
    assert moved.col_off == 123
    assert abs(moved.row_off - 77) < 16
    assert (moved.row_off + 99) // 16 - moved.row_off // 16 == 6


@pytest.mark.parametrize(("max_windows", "expected"), [(2, 2), (6, 6), (100, 6), (None, 6)])
def test_validation_windows_are_squares_of_51_m(wide, max_windows, expected):
    windows = AirsWindows(wide, max_windows)
    assert len(windows) == len(windows.sample_ids) == expected
    whole = aerial(houses(1400, 2100))
    for index, sample_id in enumerate(windows.sample_ids):
        sample = windows[index]
        check_sample(sample)
        assert sample["sample_id"] == sample_id
        row, column = corner(sample)
        np.testing.assert_array_equal(
            sample["image"], whole[:, row : row + 683, column : column + 683]
        )
    assert len(set(windows.sample_ids)) == expected
    assert list(AirsWindows(wide, max_windows).sample_ids) == list(windows.sample_ids)
    assert (windows.name, windows.title, windows.labels) == (wide.name, wide.title, wide.labels)
    assert (windows.num_files, windows.missing) == (1, [])


def test_validation_windows_are_spread_over_all_tiles_and_places(tmp_path, scratch):
    for number in range(8):
        write_tile(tmp_path / "val", str(number), houses(2100), has_preview=False)
    windows = AirsWindows(AirsDataset(tmp_path, "val", scratch), 16)  # of 72 cells
    tiles = Counter(sample_id.split("@")[0] for sample_id in windows.sample_ids)
    assert set(tiles.values()) <= {1, 2, 3}
    assert len(tiles) == 8
    assert len({sample_id.split("@")[1] for sample_id in windows.sample_ids}) >= 5


def test_a_tile_smaller_than_a_validation_window_is_one(open_airs):
    windows = AirsWindows(open_airs("val"), 10)
    assert windows[0]["image"].shape == (3, 160, 160)
