"""Tiles of AIRS that cannot be used, and links that lead elsewhere."""

import os
import re
import shutil

import cv2
import numpy as np
import pytest
import rasterio

from app.base.errors import DataError, SampleError
from app.data.airs.dataset import AirsDataset
from tests.support.fakes import write_raster
from tests.support.fakes_airs import aerial, houses, numbers, write_mirror, write_tile


def replace_label(values):
    """A function that overwrites a tile's label with the given values."""

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
            r"label/\S+ got 2 bands of uint8 \(gray, undefined\), expected 1 band",
        ),
        (
            lambda _, label: write_raster(label, np.zeros((1, 160, 160), np.int16)),
            r"label/\S+ got 1 band of int16 \(gray\), expected 1 band",
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


def test_a_label_saved_as_jpeg_is_named_with_the_way_back(tmp_path):
    write_mirror(tmp_path / "airs", size_px=640)
    path = tmp_path / "airs/train/label/christchurch_1.tif"
    label = houses(640) * np.uint8(255)
    blurred = cv2.imdecode(cv2.imencode(".jpg", label)[1], cv2.IMREAD_GRAYSCALE)
    write_raster(path, blurred[None])
    # By luck the thin look of the index may meet sound pixels alone.
    dataset = AirsDataset(tmp_path / "airs", "train", tmp_path / "scratch")
    with pytest.raises(SampleError) as caught:
        dataset[0]
    text = str(caught.value)
    assert "few of all but two of them, as JPEG or resampling with averages leaves" in text
    assert "--calc='A>127'" in text
