"""Photos no larger than a sample are read from their files once a job, larger ones each time."""

import numpy as np
import pytest
import rasterio
import torch

from app.data.datasets import open_reader
from app.data.line_bits import unpack_lines
from app.data.own.dataset import OwnDataset
from app.data.sample import PLANES
from app.settings.texts import parse_hyperparameters
from tests.support.fakes import write_raster
from tests.support.own import EAST, NORTH, write_photo, write_village

DRAWS = 3


@pytest.fixture
def village(tmp_path):
    """One photo has heights, one shows nothing in its western half."""
    root = tmp_path / "own"
    write_village(root, num_photos=6)
    names = sorted(path.stem for path in (root / "photos").iterdir())
    (root / "splits.csv").write_text("photo,split\n" + "".join(f"{n},train\n" for n in names))
    with rasterio.open(root / f"photos/{names[0]}.tif") as photo:
        place = {"crs": photo.crs, "transform": photo.transform}
        heights = np.random.default_rng(0).uniform(0, 9, (1, *photo.shape)).astype(np.float32)
    write_raster(root / f"heights/{names[0]}.tif", heights, **place)
    with rasterio.open(root / f"photos/{names[1]}.tif", "r+") as photo:
        mask = np.full(photo.shape, 255, np.uint8)
        mask[:, : photo.width // 2] = 0
        photo.write_mask(mask)
    return root


def draws(reader, num_photos=None):
    """Some windows of every photo, or of the first ones; smaller than a photo."""
    rng = np.random.default_rng(5)
    photos = range(len(reader) if num_photos is None else num_photos)
    return [reader.draw(i, 9.0, rng) for i in photos for _ in range(DRAWS)]


def assert_same(got, expected):
    assert len(got) == len(expected) > 0
    for one, other in zip(got, expected, strict=True):
        assert [one[key] for key in ("sample_id", "gsd_m", "dataset")] == [
            other[key] for key in ("sample_id", "gsd_m", "dataset")
        ]
        for name in PLANES:
            first, second = (torch.nan_to_num(each[name], -9.0) for each in (one, other))
            assert torch.equal(first, second), (name, one["sample_id"])
        if "line_bits" in one:  # what a GPU's samples are made of
            bits = torch.from_numpy(unpack_lines(one["line_bits"].numpy()))
            assert torch.equal(bits, one["lines"]), one["sample_id"]


def test_what_is_kept_is_what_the_files_hold(village, tmp_path):
    write_photo(village / "photos/large.tif", EAST, NORTH, 1200)
    with (village / "splits.csv").open("a") as file:
        file.write("large,train\n")
    expected = draws(OwnDataset(village, "train"))
    hyperparameters = parse_hyperparameters({"datasets": "own"})
    reader = open_reader("own", village, "train", hyperparameters, tmp_path / "scratch")
    for _ in range(2):  # from the files, then as kept
        assert_same(draws(reader), expected)
    assert any((sample["segments"] == 255).any() for sample in expected)
    assert any(sample["depth"].isfinite().any() for sample in expected)
    num_large = len([name for name in reader.sample_ids if name.startswith("large@")])
    kept = list((tmp_path / "scratch").glob("samples-*/*/*.sample"))
    assert num_large > 1
    assert len(kept) == len(reader) - num_large
    for path in (village / "photos").glob("?.tif"):
        path.unlink()
    num_draws = DRAWS * (len(reader) - num_large)
    order = [i for i, name in enumerate(reader.sample_ids) if "@" not in name]
    assert order == list(range(len(order)))  # drawn first, from the same numbers
    assert_same(draws(reader, len(order)), expected[:num_draws])
