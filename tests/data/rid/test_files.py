import os
import shutil
import unicodedata

import pytest

from app.base.errors import DataError
from app.data.rid.dataset import RidDataset
from tests.support.fakes import (
    IMAGES,
    LISTS,
    MASKS,
    image_path,
    mask_path,
    write_fake_rid,
    write_rid_list,
)
from tests.support.samples import check_sample


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


@pytest.mark.parametrize("listed", ["0002.png", "02", "2.png"])
@pytest.mark.parametrize("image_name", ["2.tif", "002.tif"])
def test_leading_zeros_do_not_part_a_sample(root, listed, image_name):
    image_path(root, "2").rename(root / IMAGES / image_name)
    mask_path(root, "2").rename(root / MASKS / "00002.png")
    write_rid_list(root, "train_filenames_1_rev.txt", [listed.removesuffix(".png"), "3", "0003"])
    dataset = RidDataset(root, "train")
    assert dataset.sample_ids == ["2", "3"]
    check_sample(dataset[0])


@pytest.mark.parametrize("ending", ["", ".png", ".tif"])
def test_names_keep_their_dots(root, ending):
    names = {"2": "48.1371_11.5754", "3": "48.1371_11.5761", "7": "48.1382_11.5754"}
    for old, new in names.items():
        image_path(root, old).rename(root / IMAGES / f"{new}.tif")
        mask_path(root, old).rename(root / MASKS / f"{new}.png")
    lines = "".join(f"masks/{name}{ending}\n" for name in names.values())
    (root / LISTS / "train_filenames_1_rev.txt").write_text(lines)
    dataset = RidDataset(root, "train")
    assert dataset.sample_ids == list(names.values())
    assert dataset.missing == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_umlaut_is_the_same_as_one_letter_and_as_two(root, form):
    image_path(root, "2").rename(image_path(root, unicodedata.normalize("NFD", "D\u00e4cher")))
    mask_path(root, "2").rename(mask_path(root, "D\u00e4cher"))
    write_rid_list(root, "train_filenames_1_rev.txt", [unicodedata.normalize(form, "D\u00e4cher")])
    dataset = RidDataset(root, "train")
    assert dataset.sample_ids == ["D\u00e4cher"]
    check_sample(dataset[0])


def test_two_files_that_differ_in_leading_zeros_only_are_an_error(root):
    shutil.copy(mask_path(root, "2"), root / MASKS / "02.png")
    with pytest.raises(DataError, match=r"two files for sample 2 in .*got 02\.png and 2\.png"):
        RidDataset(root, "train")


def test_zero_and_names_that_are_no_numbers_stay_what_they_are(root):
    for old, new in (("2", "000"), ("3", "0x3"), ("7", "west 07")):
        image_path(root, old).rename(image_path(root, new))
        mask_path(root, old).rename(mask_path(root, new))
    write_rid_list(root, "train_filenames_1_rev.txt", ["00", "0x3", "west 07"])
    assert RidDataset(root, "train").sample_ids == ["0", "0x3", "west 07"]


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.tif", b"1\n2.tif", b"1\x1b[2J.tif", b"._3.tif", b".3.tif"]
)
def test_odd_names_beside_the_samples_do_no_harm(root, name):
    shutil.copy(image_path(root, "2"), os.fsencode(root / IMAGES) + b"/" + name)
    assert len(RidDataset(root, "all")) == 8


def test_odd_names_come_out_as_one_line_that_can_be_encoded(root):
    shutil.rmtree(root / IMAGES)
    os.mkdir(os.fsencode(root) + b"/images\n\xff")  # noqa: PTH102 - bytes
    with pytest.raises(DataError) as error:
        RidDataset(root, "train")
    message = str(error.value)
    assert "found filenames_train_val_test_split; images\\n\\udcff; masks" in message
    assert message.encode().count(b"\n") == 0


def test_a_missing_file_with_a_monstrous_name_is_told_in_short(root):
    names = ["2", "1\x1b[31m1", "4" * 2**20]
    write_rid_list(root, "train_filenames_1_rev.txt", names)
    dataset = RidDataset(root, "train")
    assert dataset.sample_ids == ["2"]
    assert dataset.num_files == 3
    for bad in dataset.missing:
        assert bad.reason.isprintable()
        assert len(bad.reason) < 500
    assert {bad.sample_id for bad in dataset.missing} == {"1\\x1b[31m1", "4" * 100 + "..."}


@pytest.mark.parametrize("name", [IMAGES, MASKS])
def test_a_folder_that_is_a_link_to_elsewhere_is_an_error(root, tmp_path_factory, name):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / name
    shutil.move(root / name, elsewhere)
    (root / name).symlink_to(elsewhere)
    with pytest.raises(DataError, match=rf"{name} is a link that leads out of \S+; copy"):
        RidDataset(root, "train")


def test_a_folder_may_be_a_link_inside_of_the_dataset(root):
    (root / MASKS).rename(root / "masks_v2")
    (root / MASKS).symlink_to("masks_v2")
    check_sample(RidDataset(root, "train")[0])


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "loop"])
def test_a_list_that_is_no_file_of_the_dataset_is_an_error(root, tmp_path_factory, kind):
    path = root / LISTS / "train_filenames_1_rev.txt"
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        secret = tmp_path_factory.mktemp("elsewhere") / "secret"
        secret.write_bytes(content)
        path.symlink_to(secret)
    else:
        path.symlink_to(path)
    with pytest.raises(DataError, match=r"train_filenames_1_rev.txt: got .*expected a file"):
        RidDataset(root, "train")


def test_without_the_other_lists_there_is_nothing_to_keep_away_from(root):
    for name in ("val", "test"):
        (root / LISTS / f"{name}_filenames_1_rev.txt").unlink()
    assert RidDataset(root, "train").sample_ids == ["2", "3", "7", "8"]


def test_every_variant_of_mask_folders(root):
    write_fake_rid(root / "again", superstructures=True)
    again = root / "again"
    (again / "masks_superstructures_reviewed").rename(again / "masks_superstructures")
    (again / MASKS).rename(again / "masks_segments")
    dataset = RidDataset(again, "train", superstructures=True)
    assert [path.parent.name for path in dataset.paths(0)] == [
        IMAGES,
        "masks_segments",
        "masks_superstructures",
    ]


def test_an_empty_folder_of_superstructures_is_an_error_and_not_a_dataset_without(root):
    (root / "masks_superstructures_reviewed").mkdir()
    assert len(RidDataset(root, "train")) == 4
    with pytest.raises(DataError, match="no folder masks_superstructures_reviewed or masks_super"):
        RidDataset(root, "train", superstructures=True)
