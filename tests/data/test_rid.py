import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio import Affine
from rasterio.enums import ColorInterp

from app.data.rid import RidDataset
from app.data.sample import check_sample
from app.data.targets import lines_from_segments
from app.errors import DataError
from tests.fakes import (
    RID_TRANSFORM,
    gable,
    photograph,
    write_fake_rid,
    write_raster,
    write_rid_image,
    write_rid_list,
    write_rid_mask,
)

REAL_RID = Path(__file__).parents[2] / "../shared/data/rid"
IMAGES, MASKS, LISTS = (
    "images_roof_centered_geotiff",
    "masks_segments_reviewed",
    "filenames_train_val_test_split",
)


@pytest.fixture
def root(tmp_path):
    """Samples 2, 3, 7, 8 to train on, 9, 10 for val, 11, 12 for test."""
    write_fake_rid(tmp_path)
    return tmp_path


def image_path(root, sample_id):
    return root / IMAGES / f"{sample_id}.tif"


def mask_path(root, sample_id):
    return root / MASKS / f"{sample_id}.png"


def test_a_sample_holds_what_the_files_hold(root):
    segments = gable(64, azimuth_deg=90)
    image = photograph(segments, seed=5)
    write_rid_mask(root, "7", segments)
    write_rid_image(root, "7", image)
    dataset = RidDataset(root, "train")
    assert dataset.sample_ids == ["2", "3", "7", "8"]
    assert dataset.paths(2) == (image_path(root, "7"), mask_path(root, "7"))

    sample = dataset[2]
    check_sample(sample)
    np.testing.assert_array_equal(sample["image"].numpy(), image)
    np.testing.assert_array_equal(sample["segments"].numpy(), segments)
    expected_lines = lines_from_segments(segments, sample["gsd_m"])
    np.testing.assert_array_equal(sample["lines"].numpy(), expected_lines)
    assert torch.isnan(sample["depth"]).all()
    assert sample["dataset"] == "rid"
    assert sample["sample_id"] == "7"


@pytest.mark.parametrize(
    ("split", "fold", "expected"),
    [
        ("train", 1, ["2", "3", "7", "8"]),
        ("val", 1, ["9", "10"]),
        ("test", 1, ["11", "12"]),
        ("all", 1, ["2", "3", "7", "8", "9", "10", "11", "12"]),
        ("train", 2, ["9", "10", "2", "3"]),
        ("val", 2, ["7", "8"]),
        ("test", 2, ["11", "12"]),
    ],
)
def test_splits_and_folds(root, split, fold, expected):
    dataset = RidDataset(root, split, fold)
    assert dataset.sample_ids == expected
    assert len(dataset) == len(expected)
    assert dataset.missing == []


def test_the_release_may_lie_in_its_own_folder(tmp_path):
    write_fake_rid(tmp_path / "RID_dataset")
    assert len(RidDataset(tmp_path, "all")) == 8


def test_lists_are_read_however_they_were_written(root):
    text = "﻿2.png\r\n\r\n3\n  7.tif  \nimages\\8.png\r\nC:\\RID\\images/9.TIF\n2.png\n"
    (root / LISTS / "train_filenames_1_rev.txt").write_bytes(text.encode())
    dataset = RidDataset(root, "train", rid_split="release")
    assert dataset.sample_ids == ["2", "3", "7", "8", "9"]


def test_file_endings_in_any_case(root):
    image_path(root, "2").rename(root / IMAGES / "2.TIFF")
    mask_path(root, "2").rename(root / MASKS / "2.PNG")
    dataset = RidDataset(root, "train")
    assert dataset.sample_ids == ["2", "3", "7", "8"]
    check_sample(dataset[0])


def test_png_images_have_the_documented_scale(root):
    for path in list((root / IMAGES).iterdir()):
        with rasterio.open(path) as file:
            write_raster(root / "images_roof_centered_png" / f"{path.stem}.png", file.read())
    shutil.rmtree(root / IMAGES)
    (root / MASKS).rename(root / "masks_segments")
    dataset = RidDataset(root, "train")
    assert dataset.paths(0)[0] == root / "images_roof_centered_png" / "2.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample = dataset[0]
    check_sample(sample)
    assert sample["gsd_m"] == 0.1


@pytest.mark.parametrize(
    ("options", "gsd_m"),
    [
        # At 48.4 degrees north a degree is 74,047 m of longitude and 111,198 m of latitude:
        # 1.341104e-6 * 74,047 = 0.09930 and 8.903e-7 * 111,198 = 0.09900 m.
        ({"crs": "EPSG:4326", "transform": RID_TRANSFORM}, 0.09915),
        ({"crs": "EPSG:25832", "transform": Affine(0.2, 0, 7e5, 0, -0.1, 5.3e6)}, 0.15),
        # The same, turned by 90 degrees.
        ({"crs": "EPSG:25832", "transform": Affine(0, 0.1, 7e5, 0.2, 0, 5.3e6)}, 0.15),
        # US survey feet.
        ({"crs": "EPSG:2263", "transform": Affine(0.5, 0, 1e6, 0, -0.5, 2e5)}, 0.1524),
        ({}, 0.1),
    ],
)
def test_the_scale_comes_from_the_georeference(root, options, gsd_m):
    image = photograph(gable(64, 0), seed=0)
    write_raster(image_path(root, "2"), image, **options)
    assert RidDataset(root, "train")[0]["gsd_m"] == pytest.approx(gsd_m, rel=1e-4)


def test_an_impossible_georeference_is_an_error(root):
    image = photograph(gable(64, 0), seed=0)
    # Degrees per pixel as if they were metres.
    write_raster(image_path(root, "2"), image, crs="EPSG:25832", transform=RID_TRANSFORM)
    with pytest.raises(DataError, match=r"2\.tif: got a georeference of 1\.1157e-06 m per pixel"):
        RidDataset(root, "train")[0]


def test_an_alpha_band_is_dropped(root):
    image = photograph(gable(64, 0), seed=0)
    with_alpha = np.concatenate((image, np.full_like(image[:1], 255)))
    for name in ("2.tif", "3.tif"):
        (root / IMAGES / name).unlink()
    write_raster(root / IMAGES / "2.tif", with_alpha, photometric="RGB", alpha="YES")
    np.testing.assert_array_equal(RidDataset(root, "train")[0]["image"].numpy(), image)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_palette_mask_is_its_indices(root):
    segments = gable(64, azimuth_deg=45)
    path = mask_path(root, "2")
    options = {"driver": "PNG", "width": 64, "height": 64, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **options) as file:
        file.write_colormap(1, {value: (200 - value, value, 7 * value) for value in range(18)})
        file.write(segments, 1)
    with rasterio.open(path) as file:
        assert file.colorinterp == (ColorInterp.palette,)
    np.testing.assert_array_equal(RidDataset(root, "train")[0]["segments"].numpy(), segments)


def cut(path, num_bytes):
    path.write_bytes(path.read_bytes()[:num_bytes])


@pytest.mark.parametrize("kept", [lambda size: size // 2, lambda size: size - 100, lambda _: 0])
@pytest.mark.parametrize("kind", ["tif image", "png image", "mask"])
def test_a_truncated_file_is_an_error_and_never_read_as_noise(root, kind, kept):
    # Of a size at which the data is more than the last 100 bytes.
    noise = np.random.default_rng(0).integers(0, 18, (3, 64, 64)).astype(np.uint8)
    path = mask_path(root, "2")
    if kind == "mask":
        write_rid_mask(root, "2", noise[0])
    elif kind == "tif image":
        path = write_rid_image(root, "2", noise)
    else:
        shutil.rmtree(root / IMAGES)
        path = write_raster(root / "images_roof_centered_png" / "2.png", noise)
    dataset = RidDataset(root, "train")
    dataset[0]
    cut(path, kept(path.stat().st_size))
    with pytest.raises(DataError, match=rf"{path.name}: got an unreadable file .*truncated"):
        dataset[0]


def noise(num_bands, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 18, (num_bands, 64, 64)).astype(dtype)


@pytest.mark.parametrize(
    ("bands", "options", "got"),
    [
        (noise(1), {}, "1 band of uint8"),
        (noise(2), {}, "2 bands.* of uint8"),
        (noise(4), {"photometric": "MINISBLACK", "alpha": "NO"}, "4 bands of uint8"),
        (noise(3, np.uint16), {}, "3 bands of uint16"),
        (noise(3, np.float32), {}, "3 bands of float32"),
    ],
)
def test_an_image_of_other_bands_is_an_error(root, bands, options, got):
    write_raster(image_path(root, "2"), bands, **options)
    with pytest.raises(DataError, match=rf"2\.tif: got {got}, expected 3 bands \(R, G, B\)"):
        RidDataset(root, "train")[0]


@pytest.mark.parametrize(
    ("bands", "got"),
    [
        (noise(3), "3 bands of uint8"),
        (noise(2), "2 bands with alpha of uint8"),
        (noise(1, np.uint16), "1 band of uint16"),
    ],
)
def test_a_mask_of_other_bands_is_an_error(root, bands, got):
    write_raster(mask_path(root, "2"), bands)
    with pytest.raises(DataError, match=rf"2\.png: got {got}, expected 1 band of uint8"):
        RidDataset(root, "train")[0]


@pytest.mark.parametrize(
    ("values", "got"),
    [((18,), "class 18 in 1 pixels"), ((255, 18, 18), "class 18 in 2 pixels; 255 in 1 pixels")],
)
def test_a_mask_with_other_classes_is_an_error(root, values, got):
    segments = gable(64, 0)
    segments[5, : len(values)] = values
    write_rid_mask(root, "2", segments)
    with pytest.raises(DataError, match=rf"2\.png: got {got}, expected 0\.\.17"):
        RidDataset(root, "train")[0]


def test_a_mask_of_another_size_is_an_error(root):
    write_rid_mask(root, "2", gable(64, 0)[:, :60])
    expected = r"2\.png: got 60 x 64 pixels, expected 64 x 64, the size of \S*2\.tif"
    with pytest.raises(DataError, match=expected):
        RidDataset(root, "train")[0]


def test_a_file_of_another_format_is_an_error(root):
    image_path(root, "2").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match=r"2\.tif: got an unreadable file .*not recognized"):
        RidDataset(root, "train")[0]


def test_a_few_missing_files_are_listed_and_left_out(root):
    image_path(root, "3").unlink()
    mask_path(root, "8").unlink()
    dataset = RidDataset(root, "train")
    assert dataset.sample_ids == ["2", "7"]
    assert dataset.paths(1) == (image_path(root, "7"), mask_path(root, "7"))
    assert [(bad.sample_id, bad.path) for bad in dataset.missing] == [
        ("3", image_path(root, "3")),
        ("8", mask_path(root, "8")),
    ]
    assert dataset.missing[1].reason == (
        f"RID: file not found: {mask_path(root, '8')}; add it, or remove 8 from the lists"
    )


def test_no_complete_sample_is_an_error(root):
    write_rid_list(root, "train_filenames_1_rev.txt", [str(n) for n in range(100, 112)])
    with pytest.raises(DataError, match="none of the 12 samples of split train, fold 1") as error:
        RidDataset(root, "train")
    message = str(error.value)
    assert str(image_path(root, "100")) in message
    # Image and mask of each: 24, of which ten are shown.
    assert message.count(".tif") + message.count(".png") == 10
    assert "and 14 more" in message


def test_every_wrong_folder_name_is_named_at_once(root):
    (root / IMAGES).rename(root / "images")
    (root / MASKS).rename(root / "Masks_segments_reviewed")
    (root / LISTS).rename(root / "splits")
    with pytest.raises(DataError) as error:
        RidDataset(root, "train")
    message = str(error.value)
    for expected in (
        "no folder images_roof_centered_geotiff or images_roof_centered_png",
        "no folder masks_segments_reviewed or masks_segments",
        "no folder filenames_train_val_test_split",
        "found Masks_segments_reviewed; images; splits",
    ):
        assert expected in message
    assert "\n" not in message


def test_an_empty_channel_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"RID: folder is empty: \S+: expected a folder with"):
        RidDataset(tmp_path, "train")
    with pytest.raises(DataError, match=r"RID: folder not found: \S+nowhere: expected a folder"):
        RidDataset(tmp_path / "nowhere", "train")


def test_a_missing_list_is_an_error(root):
    (root / LISTS / "val_filenames_3_rev.txt").unlink()
    with pytest.raises(DataError, match=r"list not found: \S+val_filenames_3_rev.txt: found test_"):
        RidDataset(root, "all", fold=3)
    assert len(RidDataset(root, "train", fold=3)) == 4


def test_a_list_without_names_is_an_error(root):
    (root / LISTS / "val_filenames_1_rev.txt").write_text("\n\r\n  \n")
    with pytest.raises(DataError, match=r"no sample named in \S+val_filenames_1_rev.txt"):
        RidDataset(root, "val")


def test_a_list_that_is_no_utf8_is_an_error(root):
    (root / LISTS / "val_filenames_1_rev.txt").write_bytes("2.png\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"list cannot be read: \S+val_.*expected UTF-8 text"):
        RidDataset(root, "val")


def test_two_images_of_one_sample_are_an_error(root):
    shutil.copy(image_path(root, "2"), root / IMAGES / "2.TIFF")
    with pytest.raises(DataError, match=r"two files for sample 2 in .*got 2\.TIFF and 2\.tif"):
        RidDataset(root, "train")


def test_reading_is_quiet_and_leaves_no_handle_open(root, caplog):
    dataset = RidDataset(root, "train")
    with caplog.at_level(logging.WARNING):
        dataset[0]
    assert caplog.records == []
    open_files = [path.resolve() for path in Path("/proc/self/fd").iterdir() if path.exists()]
    assert not [path for path in open_files if path.is_relative_to(root.resolve())]


@pytest.mark.skipif(not REAL_RID.is_dir(), reason="the RID sample is not beside the repository")
def test_real_rid():
    dataset = RidDataset(REAL_RID, "all")
    assert len(dataset) == 18
    assert dataset.missing == []
    for index, sample_id in enumerate(dataset.sample_ids):
        sample = dataset[index]
        check_sample(sample)
        assert sample["sample_id"] == sample_id
        assert sample["image"].shape == (3, 512, 512)
        assert sample["gsd_m"] == pytest.approx(0.0991, abs=2e-4)
        assert (sample["lines"][0] == 1).any()
    lengths = [len(RidDataset(REAL_RID, split, fold=5)) for split in ("train", "val", "test")]
    assert lengths == [12, 3, 3]
