"""Own photos larger than a training window: read by cells, split and validated in parts."""

import numpy as np
import torch

from app.base.window import Window
from app.data.loading import EvalDataset
from app.data.own.dataset import OwnDataset
from app.data.photos import LargePhoto
from app.data.sample import drawn
from app.data.transforms import EvalTransform
from tests.support.own import EAST, NORTH, hip_roof, write_layer, write_photo


def large_photo(root, side_px=2600, num_roofs=9):
    """One photo of 260 m with roofs along its diagonal."""
    write_photo(root / "photos/big.tif", EAST, NORTH, side_px)
    planes, bearings = [], []
    for number in range(num_roofs):
        at = 25.0 * (number - num_roofs // 2)
        shapes, of_planes = hip_roof(EAST + at, NORTH + at, 20.0 * number)
        planes += shapes
        bearings += of_planes
    write_layer(root / "planes.gpkg", planes, azimuth=bearings)


def test_a_large_photo_is_read_by_cells_near_planes_and_cut_into_splits_apart(tmp_path):
    large_photo(tmp_path)
    splits = {name: OwnDataset(tmp_path, name) for name in ("train", "val", "test")}
    columns = {}
    for name, dataset in splits.items():
        rng = np.random.default_rng(0)
        seen = []
        for i in range(len(dataset)):
            sample = dataset.draw(i, 30.0, rng)
            left = int(sample["sample_id"].split(",")[1])
            seen += [left, left + sample["image"].shape[2]]
            assert (drawn(sample)["segments"] < 19).any()
        columns[name] = min(seen), max(seen)
    assert columns["train"][1] + 200 <= columns["val"][0] + 1
    assert columns["val"][1] + 200 <= columns["test"][0] + 1
    # Cells without a plane are not among the samples.
    train = splits["train"]
    assert 3 < len(train) < 5 * 4
    assert all("@" in sample_id for sample_id in train.sample_ids)


def test_a_cell_larger_than_a_window_is_validated_in_parts_with_the_same_labels(tmp_path):
    large_photo(tmp_path)
    reader = OwnDataset(tmp_path, "val")
    transform = EvalTransform(gsd_m=0.1)
    whole = transform(reader[0])
    photo, _ = EvalDataset(reader, transform, window_px=64).open_photo(0)
    assert isinstance(photo, LargePhoto)
    part = photo.read_targets(Window(3, 5, 60, 70))
    for name in ("segments", "lines"):
        assert torch.equal(part[name], whole[name][..., 3:63, 5:75]), name
