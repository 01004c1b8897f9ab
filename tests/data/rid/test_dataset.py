import logging
import os
import pickle
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio import Affine
from rasterio.enums import ColorInterp

from app.base.errors import DataError, SampleError
from app.base.logs import ignore_expected_warnings
from app.base.tasks import ALL_TASKS, IGNORE_INDEX
from app.data.lines import lines_from_segments
from app.data.rid.dataset import RidDataset
from tests.support.fakes import (
    IMAGES,
    MASKS,
    RID_TRANSFORM,
    gable,
    image_path,
    mask_path,
    photograph,
    write_fake_rid,
    write_raster,
    write_rid_image,
    write_rid_mask,
)
from tests.support.paths import REAL_RID
from tests.support.samples import check_sample


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
        ignore_expected_warnings()
        sample = dataset[0]
    check_sample(sample)
    assert sample["gsd_m"] == 0.1


@pytest.mark.parametrize(
    ("options", "gsd_m"),
    [
        # At 48.4 degrees north a degree is 74,047 m of longitude and 111,198 m of latitude:
        # 1.341104e-6 * 74,047 = 0.09930 and 8.903e-7 * 111,198 = 0.09900 m.
        ({"crs": "EPSG:4326", "transform": RID_TRANSFORM}, 0.09915),
        ({"crs": "EPSG:25832", "transform": Affine(0.2, 0, 7e5, 0, -0.19, 5.3e6)}, 0.195),
        # The same, turned by 90 degrees.
        ({"crs": "EPSG:25832", "transform": Affine(0, 0.19, 7e5, 0.2, 0, 5.3e6)}, 0.195),
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
    transform = Affine(1.34e-6, 0, 11.99, 0, -1.34e-6, 48.4)
    write_raster(image_path(root, "2"), image, crs="EPSG:25832", transform=transform)
    with pytest.raises(
        DataError, match=r"2\.tif: got a georeference of 1\.3[0-9]*e-06 m per pixel"
    ):
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
        (noise(1), {}, "1 band of uint8 (gray)"),
        (noise(2), {}, "2 bands of uint8 (gray, undefined)"),
        (
            noise(4),
            {"photometric": "MINISBLACK", "alpha": "NO"},
            "4 bands of uint8 (gray, undefined, undefined, undefined)",
        ),
        (noise(3, np.uint16), {}, "3 bands of uint16 (gray, undefined, undefined)"),
        (noise(3, np.float32), {}, "3 bands of float32 (gray, undefined, undefined)"),
    ],
)
def test_an_image_of_other_bands_is_an_error(root, bands, options, got):
    write_raster(image_path(root, "2"), bands, **options)
    with pytest.raises(
        DataError, match=rf"2\.tif: got {re.escape(got)}, expected 3 bands \(R, G, B\)"
    ):
        RidDataset(root, "train")[0]


@pytest.mark.parametrize(
    ("bands", "got"),
    [
        (noise(3), "3 bands that differ, as colours do: "),
        (noise(1, np.uint16), "1 band of uint16 (gray), expected 1 band of uint8"),
    ],
)
def test_a_mask_of_other_bands_is_an_error(root, bands, got):
    write_raster(mask_path(root, "2"), bands)
    with pytest.raises(DataError, match=rf"2\.png: got {re.escape(got)}"):
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


def test_reading_is_quiet_and_leaves_no_handle_open(root, caplog):
    dataset = RidDataset(root, "train")
    with caplog.at_level(logging.WARNING):
        dataset[0]
    assert caplog.records == []
    open_files = [path.resolve() for path in Path("/proc/self/fd").iterdir() if path.exists()]
    assert not [path for path in open_files if path.is_relative_to(root.resolve())]


@pytest.mark.parametrize("kind", ["folder", "pipe", "outside", "dangling", "gone"])
@pytest.mark.parametrize("path_of", [image_path, mask_path])
def test_what_is_no_file_of_the_dataset_is_an_error(root, tmp_path_factory, path_of, kind):
    dataset = RidDataset(root, "train")
    path = path_of(root, "3")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / path.name
    shutil.move(path, elsewhere)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "outside":
        path.symlink_to(elsewhere)
    elif kind == "dangling":
        path.symlink_to(root / "nowhere")
    with pytest.raises(SampleError, match=rf"RID: {path}: got .*expected a file") as error:
        dataset[1]
    assert error.value.sample_id == "3"
    assert error.value.path == path
    # The others can be read, now and by one who comes later.
    check_sample(dataset[0])
    assert RidDataset(root, "train").sample_ids == (
        ["2", "7", "8"] if kind == "gone" else ["2", "3", "7", "8"]
    )


def test_a_header_that_promises_the_moon_is_an_error_and_costs_no_memory(root):
    options = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": 60_000, "height": 60_000}
    path = image_path(root, "2")
    with rasterio.open(path, "w", **options, sparse_ok=True):
        pass
    assert path.stat().st_size < 2**20
    with pytest.raises(
        SampleError, match=r"2\.tif: got 60000 x 60000 pixels, expected at most 4096"
    ):
        RidDataset(root, "train")[0]


def test_a_sample_error_survives_the_way_from_a_worker(root):
    mask_path(root, "2").write_bytes(b"")
    with pytest.raises(SampleError) as error:
        RidDataset(root, "train")[0]
    copy = pickle.loads(pickle.dumps(error.value))
    assert (copy.sample_id, copy.path, str(copy)) == ("2", mask_path(root, "2"), str(error.value))


def test_superstructures_are_read_where_asked_for(root):
    write_fake_rid(root, superstructures=True)
    without = RidDataset(root, "train")
    assert (without[0]["superstructures"] == IGNORE_INDEX).all()
    assert set(without.labels) == {"segments", "lines"}
    dataset = RidDataset(root, "train", superstructures=True)
    assert dataset.paths(0) == (
        image_path(root, "2"),
        mask_path(root, "2"),
        root / "masks_superstructures_reviewed" / "2.png",
    )
    sample = dataset[0]
    check_sample(sample)
    expected = np.full((64, 64), 8)
    expected[32:36, 32:36] = 4
    np.testing.assert_array_equal(sample["superstructures"].numpy(), expected)
    assert dataset.labels["superstructures"][4] == "chimney"
    assert dataset.labels["superstructures"][8] == "background"


def test_a_sample_without_superstructures_has_them_unknown(root):
    write_fake_rid(root, superstructures=True)
    (root / "masks_superstructures_reviewed" / "3.png").unlink()
    dataset = RidDataset(root, "train", superstructures=True)
    assert dataset.sample_ids == ["2", "3", "7", "8"]
    assert dataset.missing == []
    assert (dataset[1]["superstructures"] == IGNORE_INDEX).all()
    assert (dataset[0]["superstructures"] != IGNORE_INDEX).all()


def test_a_dataset_without_superstructures_does_not_label_them(root):
    dataset = RidDataset(root, "train", superstructures=True)
    assert dataset.labels == {
        task.name: task.class_names for task in ALL_TASKS if task.name in ("segments", "lines")
    }
    check_sample(dataset[0])


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (np.full((64, 64), 9, np.uint8), r"class 9 in 4096 pixels, expected 0\.\.8"),
        (np.full((60, 64), 8, np.uint8), r"64 x 60 pixels, expected 64 x 64, the size of"),
        (np.full((64, 64), 8, np.uint16), r"1 band of uint16 \(gray\), expected 1 band of uint8"),
    ],
)
def test_a_bad_mask_of_superstructures_is_an_error(root, mask, got):
    write_fake_rid(root, superstructures=True)
    path = root / "masks_superstructures_reviewed" / "2.png"
    write_raster(path, mask[None])
    with pytest.raises(SampleError, match=rf"2\.png: got {got}") as error:
        RidDataset(root, "train", superstructures=True)[0]
    assert error.value.path == path


def test_a_reader_offers_what_training_asks_for(root):
    mask_path(root, "7").unlink()
    dataset = RidDataset(root, "train")
    assert (dataset.name, dataset.title) == ("rid", "RID")
    assert dataset.num_files == 4
    # 64 pixels of 0.0991 m.
    assert dataset.span_m == pytest.approx(6.34, abs=0.01)
    order = dataset.pass_order(np.random.default_rng(1))
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_array_equal(order, dataset.pass_order(np.random.default_rng(1)))
    orders = {tuple(dataset.pass_order(np.random.default_rng(seed))) for seed in range(20)}
    assert len(orders) > 2
    drawn = dataset.draw(1, 3.0, np.random.default_rng(1))
    assert torch.equal(drawn["image"], dataset[1]["image"])


def test_span_is_that_of_the_first_image_that_can_be_read(root):
    image_path(root, "2").write_bytes(b"")
    write_raster(image_path(root, "3"), np.zeros((3, 40, 80), np.uint8))
    assert RidDataset(root, "train").span_m == pytest.approx(4.0)
    for sample_id in ("3", "7", "8"):
        image_path(root, sample_id).write_bytes(b"")
    assert RidDataset(root, "train").span_m == pytest.approx(51.2)


def test_a_reader_can_be_sent_to_a_worker(root):
    write_fake_rid(root, superstructures=True)
    dataset = RidDataset(root, "train", superstructures=True)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.sample_ids == dataset.sample_ids
    for key in ("image", "segments", "lines", "superstructures"):
        assert torch.equal(copy[2][key], dataset[2][key])


@pytest.mark.skipif(not REAL_RID.is_dir(), reason="the RID sample is not beside the repository")
def test_real_rid():
    dataset = RidDataset(REAL_RID, "all", superstructures=True)
    assert len(dataset) == 18
    assert dataset.span_m == pytest.approx(50.8, abs=0.1)
    assert dataset.missing == []
    for index, sample_id in enumerate(dataset.sample_ids):
        sample = dataset[index]
        check_sample(sample)
        assert sample["sample_id"] == sample_id
        assert sample["image"].shape == (3, 512, 512)
        assert sample["gsd_m"] == pytest.approx(0.0991, abs=2e-4)
        assert (sample["lines"][0] == 1).any()
        assert (sample["superstructures"] <= 8).all()
        assert 0.001 < (sample["superstructures"] < 8).float().mean() < 0.2
