"""Splits that share no ground: which samples are left out, and of which split."""

import shutil
from collections import Counter

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from app.base.errors import DataError
from app.data.files.header import read_header
from app.data.rid.dataset import RidDataset
from app.data.rid.split import SplitReport
from tests.support import fakes
from tests.support.paths import REAL_RID

IMAGES = "images_roof_centered_geotiff"


@pytest.fixture
def root(tmp_path):
    """Samples 2, 3, 7, 8 to train on, 9, 10 for val, 11, 12 for test; none overlap."""
    fakes.write_fake_rid(tmp_path)
    return tmp_path


def put(root, sample_id, east_px, south_px=0, seed=0):
    """An image of 64 px at a place far from where the others are."""
    image = fakes.photograph(fakes.gable(64, 0), seed=seed)
    fakes.write_rid_image(root, sample_id, image, fakes.rid_transform(-9000 + east_px, south_px))


def ids(root, split, **options):
    return RidDataset(root, split, **options).sample_ids


def counts(root, split, **options):
    report = RidDataset(root, split, **options).split_report
    return report.num_dropped_overlap, report.num_dropped_identical, report.num_unchecked


def test_splits_of_separate_ground_stay_as_they_are(root):
    for split, expected in (("train", 4), ("val", 2), ("test", 2), ("all", 8)):
        dataset = RidDataset(root, split)
        assert len(dataset) == expected
        report = dataset.split_report
        assert report.num_dropped_overlap + report.num_dropped_identical == 0
        assert dataset.split_report.num_listed == expected


@pytest.mark.parametrize("rival", ["9", "11"])
@pytest.mark.parametrize(("east_px", "south_px"), [(30, 0), (-30, 10), (0, 62), (62, -62)])
def test_train_keeps_away_from_val_and_test(root, rival, east_px, south_px):
    put(root, rival, 0)
    put(root, "3", east_px, south_px)
    assert ids(root, "train") == ["2", "7", "8"]
    assert counts(root, "train") == (1, 0, 0)
    assert ids(root, "val") == ["9", "10"]
    assert ids(root, "test") == ["11", "12"]
    assert len(ids(root, "all")) == 8


def test_the_lists_as_they_are_on_request(root):
    put(root, "9", 0)
    put(root, "3", 30)
    assert ids(root, "train", rid_split="release") == ["2", "3", "7", "8"]
    assert counts(root, "train", rid_split="release") == (0, 0, 0)


@pytest.mark.parametrize(
    ("east_px", "south_px", "is_kept"),
    [(64, 0, True), (63.5, 0, True), (62.5, 0, False), (0, -63.5, True), (0, -62.5, False)],
)
def test_neighbours_that_touch_or_share_a_sliver_are_kept(root, east_px, south_px, is_kept):
    put(root, "9", 0)
    put(root, "3", east_px, south_px)
    assert ("3" in ids(root, "train")) == is_kept


def test_val_gives_way_to_test_and_train_may_then_have_its_ground(root):
    put(root, "11", 0)
    put(root, "9", 40)
    put(root, "3", 80)  # shares ground with 9, not with 11
    put(root, "7", 20)
    assert ids(root, "test") == ["11", "12"]
    assert ids(root, "val") == ["10"]
    assert counts(root, "val") == (1, 0, 0)
    assert ids(root, "train") == ["2", "3", "8"]


def test_images_of_one_split_may_overlap(root):
    put(root, "2", 0)
    put(root, "3", 10)
    put(root, "11", 500)
    put(root, "12", 510)
    assert ids(root, "train") == ["2", "3", "7", "8"]
    assert ids(root, "test") == ["11", "12"]


def test_each_fold_is_checked_against_its_own_val(root):
    put(root, "7", 0)
    put(root, "2", 30)  # fold 1 trains on both, fold 2 validates on 7
    assert ids(root, "train", fold=1) == ["2", "3", "7", "8"]
    assert ids(root, "train", fold=2) == ["9", "10", "3"]


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:25832", Affine(0.1, 0, 7e5, 0, -0.1, 5.3e6)),
        # South up, and turned by a quarter.
        ("EPSG:25832", Affine(0.1, 0, 7e5, 0, 0.1, 5.3e6)),
        ("EPSG:25832", Affine(0, 0.1, 7e5, 0.1, 0, 5.3e6)),
    ],
)
def test_ground_is_compared_in_other_systems_too(root, crs, transform):
    for index, sample_id in enumerate(("2", "3", "7", "8", "9", "10", "11", "12")):
        place = transform @ Affine.translation(100 * index, 0)
        if sample_id == "12":
            place = transform @ Affine.translation(130, 30)  # on 3's
        image = fakes.photograph(fakes.gable(64, 0), seed=index)
        fakes.write_raster(root / IMAGES / f"{sample_id}.tif", image, crs=crs, transform=place)
    assert ids(root, "train") == ["2", "7", "8"]
    assert counts(root, "train") == (1, 0, 0)


def test_images_in_different_systems_cannot_be_compared_and_are_counted(root):
    image = fakes.photograph(fakes.gable(64, 0), seed=0)
    place = Affine(0.1, 0, 7e5, 0, -0.1, 5.3e6)
    fakes.write_raster(root / IMAGES / "3.tif", image, crs="EPSG:25832", transform=place)
    assert ids(root, "train") == ["2", "3", "7", "8"]
    assert counts(root, "train") == (0, 0, 1)


def without_georeference(root):
    """All images as PNG, which have none."""
    for index, sample_id in enumerate(("2", "3", "7", "8", "9", "10", "11", "12")):
        image = fakes.photograph(fakes.gable(64, 0), seed=index)
        fakes.write_raster(root / "images_roof_centered_png" / f"{sample_id}.png", image)
    shutil.rmtree(root / IMAGES)
    return root / "images_roof_centered_png"


def test_without_georeference_copies_are_found_and_the_rest_is_counted(root):
    folder = without_georeference(root)
    assert counts(root, "train") == (0, 0, 4)
    shutil.copy(folder / "9.png", folder / "3.png")
    shutil.copy(folder / "11.png", folder / "8.png")
    shutil.copy(folder / "2.png", folder / "7.png")  # in one split
    assert ids(root, "train") == ["2", "7"]
    dataset = RidDataset(root, "train")
    assert counts(root, "train") == (0, 2, 2)
    assert dataset.split_report.describe() == (
        "RID train: 4 samples listed, 0 dropped for ground shared with val or test, "
        "2 as copies of theirs; 2 have no georeference to check"
    )
    assert ids(root, "val") == ["9", "10"]


def test_files_of_one_size_are_no_copies_unless_their_bytes_are(root):
    folder = without_georeference(root)
    content = (folder / "9.png").read_bytes()
    # The last bytes of a PNG are a checksum of nothing.
    (folder / "3.png").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "3" in ids(root, "train")


def test_a_sample_in_two_lists_stays_in_the_one_that_goes_first(root):
    fakes.write_rid_list(root, "val_filenames_1_rev.txt", ["9", "10", "11", "3"])
    assert ids(root, "train") == ["2", "7", "8"]
    assert ids(root, "val") == ["9", "10", "3"]
    assert ids(root, "test") == ["11", "12"]
    assert counts(root, "train") == (0, 1, 0)
    assert counts(root, "val") == (0, 1, 0)


def test_bad_files_are_kept_for_reading_to_find_out(root):
    # Two empty files are alike, yet no copies of one image.
    for sample_id in ("3", "9", "12"):
        (root / IMAGES / f"{sample_id}.tif").write_bytes(b"")
    assert ids(root, "train") == ["2", "3", "7", "8"]
    assert ids(root, "val") == ["9", "10"]
    assert counts(root, "train") == (0, 0, 1)


def test_headers_are_read_once_for_all_splits_unless_their_files_change(root, monkeypatch):
    num_read = Counter()

    def count(path, *arguments):
        num_read[path.stem] += 1
        return read_header(path, *arguments)

    monkeypatch.setattr("app.data.rid.split.read_header", count)
    ids(root, "train")
    assert ids(root, "val") == ["9", "10"]
    assert len(num_read) == 8
    assert set(num_read.values()) == {1}
    put(root, "9", 0)
    put(root, "11", 0, seed=1)
    assert ids(root, "val") == ["10"]
    assert num_read["9"] == num_read["11"] == 2


def test_a_nonsense_georeference_is_none(root):
    image = fakes.photograph(fakes.gable(64, 0), seed=0)
    nan = float("nan")
    place = Affine(nan, 0, nan, 0, nan, nan)
    fakes.write_raster(root / IMAGES / "3.tif", image, crs="EPSG:4326", transform=place)
    assert ids(root, "train") == ["2", "3", "7", "8"]
    assert counts(root, "train") == (0, 0, 1)


@pytest.mark.parametrize("split", ["train", "val"])
def test_nothing_left_names_the_way_out(root, split):
    for sample_id in ("2", "3", "7", "8", "9", "10", "11", "12"):
        put(root, sample_id, 0)
    with pytest.raises(DataError) as error:
        RidDataset(root, split)
    message = str(error.value)
    assert message.startswith(f"RID: no sample of split {split}, fold 1, is left of ")
    assert str(root / f"filenames_train_val_test_split/{split}_filenames_1_rev.txt") in message
    assert "rid_split=release" in message
    assert len(RidDataset(root, split, rid_split="release")) > 0


def test_missing_and_dropped_samples_are_counted_apart(root):
    put(root, "9", 0)
    put(root, "3", 30)
    (root / IMAGES / "8.tif").unlink()
    dataset = RidDataset(root, "train")
    assert dataset.sample_ids == ["2", "7"]
    assert dataset.split_report.num_listed == 4
    assert dataset.split_report.num_dropped_overlap == 1
    assert [bad.sample_id for bad in dataset.missing] == ["8"]
    assert dataset.num_files == 3


def test_describe():
    report = SplitReport("train", "disjoint", 1374, num_dropped_overlap=300)
    assert report.describe() == (
        "RID train: 1374 samples listed, 300 dropped for ground shared with val or test, "
        "0 as copies of theirs"
    )
    report = SplitReport("val", "release", 352)
    assert report.describe() == (
        "RID val: 352 samples listed, none dropped for ground shared with test (rid_split=release)"
    )
    assert SplitReport("test", "disjoint", 154).describe() == (
        "RID test: 154 samples listed, none dropped"
    )


def test_many_images_are_compared_in_steps(root):
    """More than one step of the comparison, which must find the overlap in the last."""
    names = [str(100 + index) for index in range(1100)]
    image = np.zeros((3, 4, 4), np.uint8)
    for index, name in enumerate(names):
        fakes.write_rid_image(root, name, image, fakes.rid_transform(-90_000 + 10 * index))
        shutil.copy(
            root / "masks_segments_reviewed/2.png", root / f"masks_segments_reviewed/{name}.png"
        )
    fakes.write_rid_list(root, "train_filenames_1_rev.txt", names)
    fakes.write_rid_image(root, "9", image, fakes.rid_transform(-90_000 + 10 * 1098 + 1, 1))
    assert ids(root, "train") == [name for name in names if name != "1198"]


@pytest.mark.skipif(not REAL_RID.is_dir(), reason="the RID sample is not beside the repository")
@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5])
def test_real_rid_sample_is_kept_whole_in_every_fold(fold):
    # Three pairs of its images overlap, each within one split of every fold.
    for split, expected in (("train", 12), ("val", 3), ("test", 3)):
        dataset = RidDataset(REAL_RID, split, fold)
        assert len(dataset) == expected
        assert dataset.split_report.num_unchecked == 0


@pytest.mark.skipif(not REAL_RID.is_dir(), reason="the RID sample is not beside the repository")
def test_real_georeferences_of_one_street_are_parted(root):
    # The images 811 and 880 share 292 x 327 pixels; 61 lies elsewhere.
    for sample_id, real_id in (("2", "61"), ("3", "811"), ("9", "880")):
        with rasterio.open(REAL_RID / IMAGES / f"{real_id}.tif") as file:
            transform = file.transform
        fakes.write_rid_image(root, sample_id, np.zeros((3, 512, 512), np.uint8), transform)
    assert ids(root, "train") == ["2", "7", "8"]
