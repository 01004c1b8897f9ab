"""Own photos in train, val and test: by place, or as a list says."""

import pytest

from app.base.errors import DataError
from app.data.own.catalogue import LabelSettings
from app.data.own.dataset import OwnDataset
from tests.support.own import EAST, NORTH, hip_roof, write_layer, write_photo, write_village


def test_splits_by_place_are_apart_stable_and_of_the_seed(tmp_path):
    write_village(tmp_path, num_photos=20)
    ids = {name: set(OwnDataset(tmp_path, name).sample_ids) for name in ("train", "val", "test")}
    assert {name: len(of_split) for name, of_split in ids.items()} == {
        "train": 16, "val": 2, "test": 2
    }  # fmt: skip
    assert set().union(*ids.values()) == {str(number) for number in range(20)}
    again = {name: set(OwnDataset(tmp_path, name, seed=1).sample_ids) for name in ids}
    assert again != ids


def test_photos_that_stand_close_stay_in_one_split(tmp_path):
    planes, bearings = [], []
    for number in range(12):
        # Pairs with 6 m between them, pairs 70 m apart.
        east = EAST + 100 * (number // 2) + 30 * (number % 2)
        write_photo(tmp_path / f"photos/{number}.tif", east, NORTH)
        shapes, of_planes = hip_roof(east, NORTH, 25.0 * number)
        planes += shapes
        bearings += of_planes
    write_layer(tmp_path / "planes.gpkg", planes, azimuth=bearings)
    for name in ("train", "val", "test"):
        numbers = {int(id_) for id_ in OwnDataset(tmp_path, name).sample_ids}
        assert numbers
        assert {number ^ 1 for number in numbers} == numbers


def test_a_list_of_splits_is_kept_and_closeness_said(tmp_path, caplog):
    write_village(tmp_path)
    write_photo(tmp_path / "photos/near.tif", EAST + 30, NORTH)
    (tmp_path / "splits.csv").write_text(
        "\ufeffphoto,split\r\n0.tif,train\r\n1,train\r\n2,val\r\nnear,val\r\ngone,val\r\n"
    )
    dataset = OwnDataset(tmp_path, "train")
    assert set(dataset.sample_ids) == {"0", "1"}
    val = OwnDataset(tmp_path, "val")
    assert [bad.sample_id for bad in val.missing] == ["gone"]
    dataset.tell()
    assert "splits train and val share ground or stand closer than 20 m, such as" in caplog.text
    assert "splits.csv does not name photos 3; 4; 5" in caplog.text
    (tmp_path / "splits.csv").write_text("photo,split\n0,training\n1;val\n2,val\n2,test\n")
    with pytest.raises(DataError) as error:
        OwnDataset(tmp_path, "train")
    assert "row 1: got 0,training, expected photo,train or val or test" in str(error.value)
    assert "row 4: photo 2 is in two splits" in str(error.value)


def test_too_little_ground_is_said(tmp_path):
    write_village(tmp_path, num_photos=1)
    with pytest.raises(DataError, match="too little ground to split by place"):
        OwnDataset(tmp_path, "train", LabelSettings("compass", "grid"))
