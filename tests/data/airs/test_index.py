import json
import logging
import os

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from app.data.airs import index as airs_index
from app.data.airs.index import TileFacts, index_tiles
from app.data.airs.layout import find_tiles
from app.data.sample import BadFile
from tests.support.fakes_airs import GROUND_GSD_M, houses, write_mirror, write_tile


@pytest.fixture
def index_path(tmp_path):
    return tmp_path / "scratch/new/index.json"


@pytest.fixture
def read_names(monkeypatch):
    """The names of the tiles that are looked at, in a list that grows."""
    names = []
    read_facts = airs_index._read_facts

    def read(tile, folder):
        names.append(tile.name)
        return read_facts(tile, folder)

    monkeypatch.setattr(airs_index, "_read_facts", read)
    return names


def index_train(root, index_path):
    tiles = find_tiles(root, "train")
    return index_tiles(tiles.files, tiles.folder, index_path)


def index_one(tmp_path, roof, **options):
    """Facts of a tile of that roof, written with these options."""
    write_tile(tmp_path / "train", "a", roof, **options)
    (facts,) = index_train(tmp_path, tmp_path / "scratch/index.json")
    assert isinstance(facts, TileFacts), facts
    return facts


def test_facts_are_those_of_the_files(root, index_path):
    facts = index_train(root, index_path)[1]
    assert (facts.height_px, facts.width_px) == (160, 160)
    assert facts.gsd_m == pytest.approx(GROUND_GSD_M)
    assert facts.roof_value == 1
    image_path = root / "train/image/christchurch_2.tif"
    label_path = root / "train/label/christchurch_2.tif"
    assert facts.image_size_bytes == image_path.stat().st_size
    assert facts.label_size_bytes == label_path.stat().st_size
    assert facts.num_cells == (1, 1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compress": "lzw"},
        {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"},
    ],
)
def test_shares_of_roof_by_cell(tmp_path, options):
    share = np.array([[0.0, 0.25, 1.0], [0.5, 0.06, 0.9]])
    roof = np.zeros((2 * 700, 3 * 700), np.uint8)
    for row, column in np.ndindex(share.shape):
        height = round(700 * share[row, column])
        roof[700 * row : 700 * row + height, 700 * column : 700 * (column + 1)] = 1
    options |= {"crs": "EPSG:2193", "transform": rasterio.Affine(0.075, 0, 0, 0, -0.075, 0)}
    facts = index_one(tmp_path, roof, options=options)
    # In 1/32 of the rows a border is known to 1.5 px in 22.
    np.testing.assert_allclose(facts.roof_share, share, atol=0.07)
    assert facts.roof_share[0][0] == 0
    assert facts.roof_share[0][2] == 1


@pytest.mark.parametrize(("roof_value", "expected"), [(1, 1), (255, 255)])
def test_the_value_of_roofs(tmp_path, roof_value, expected):
    assert index_one(tmp_path, houses(160), roof_value=roof_value).roof_value == expected


def test_without_roofs_their_value_is_not_known(tmp_path):
    facts = index_one(tmp_path, houses(160) * 0)
    assert facts.roof_value == 0
    assert facts.roof_share == [[0.0]]


@pytest.mark.parametrize("resampling", [Resampling.nearest, Resampling.average])
def test_overviews_do_not_change_the_values(tmp_path, resampling):
    """Averages on the outline, such as 127, are no label values."""
    # Houses of 7.5 m: at no regular distance, which every 32nd pixel could miss.
    blocks = np.random.default_rng(0).random((20, 20)) < 0.4
    roof = np.kron(blocks, np.ones((100, 100))).astype(np.uint8)
    _, label_path = write_tile(tmp_path / "train", "a", roof, roof_value=255)
    with rasterio.open(label_path, "r+") as file:
        file.build_overviews([2, 4, 8, 16, 32], resampling)
    (facts,) = index_train(tmp_path, tmp_path / "scratch/index.json")
    assert facts.roof_value == 255
    assert np.mean(facts.roof_share) == pytest.approx(np.mean(roof), abs=0.02)


def test_a_second_start_looks_at_no_tile(root, index_path, read_names):
    first = index_train(root, index_path)
    assert sorted(read_names) == ["christchurch_1", "christchurch_11", "christchurch_2"]
    read_names.clear()
    assert index_train(root, index_path) == first
    assert read_names == []
    assert [path.name for path in index_path.parent.iterdir()] == ["index.json"]


@pytest.mark.parametrize("which", ["image", "label"])
@pytest.mark.parametrize("change", ["time", "size"])
def test_a_changed_file_is_looked_at_again(root, index_path, read_names, which, change):
    index_train(root, index_path)
    read_names.clear()
    path = root / f"train/{which}/christchurch_2.tif"
    if change == "time":
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    else:
        modified_ns = path.stat().st_mtime_ns
        with path.open("ab") as file:
            file.write(b"\0")
        os.utime(path, ns=(0, modified_ns))
    index_train(root, index_path)
    assert read_names == ["christchurch_2"]
    read_names.clear()
    index_train(root, index_path)
    assert read_names == []


def test_bad_tiles_are_looked_at_every_time(root, index_path, read_names):
    path = root / "train/image/christchurch_2.tif"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    bad = index_train(root, index_path)[1]
    assert isinstance(bad, BadFile)
    read_names.clear()
    assert isinstance(index_train(root, index_path)[1], BadFile)
    assert read_names == ["christchurch_2"]
    path.write_bytes(content)
    assert isinstance(index_train(root, index_path)[1], TileFacts)


def kept_with(**changes):
    """A function that changes the facts kept of every tile."""

    def change(path):
        kept = json.loads(path.read_text())
        for tile in kept["tiles"]:
            tile["facts"].update(changes)
        path.write_text(json.dumps(kept))

    return change


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text('{"format": "airs index 3", "tiles": []}'),
        lambda path: path.write_text('{"format": "airs index 2", "tiles": [{}]}'),
        lambda path: (path.unlink(), path.mkdir()),
        kept_with(height_px=0),
        kept_with(height_px="160"),
        kept_with(gsd_m=7.5),
        kept_with(roof_value=2),
        kept_with(roof_share=[]),
        kept_with(roof_share=[[0.5, 0.5]]),
        kept_with(roof_share=[[float("nan")]]),
        kept_with(roof_share=[[2.0]]),
        kept_with(surprise=1),
    ],
)
def test_a_damaged_or_foreign_index_is_made_anew(root, index_path, read_names, spoil):
    expected = index_train(root, index_path)
    read_names.clear()
    spoil(index_path)
    assert index_train(root, index_path) == expected
    assert len(read_names) == 3


def test_an_index_of_other_tiles_under_the_same_names_is_not_used(root, index_path, tmp_path):
    index_train(root, index_path)
    write_mirror(tmp_path / "other", size_px=200)
    assert {facts.height_px for facts in index_train(tmp_path / "other", index_path)} == {200}


def test_an_index_that_cannot_be_kept_costs_a_warning_only(root, tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        facts = index_train(root, tmp_path / "file/index.json")
    assert all(isinstance(fact, TileFacts) for fact in facts)
    assert "index.json cannot be written" in caplog.text


def test_names_of_any_bytes_are_indexed(tmp_path, index_path):
    write_tile(tmp_path / "airs/train", "a", houses(64), has_preview=False)
    for which in ("image", "label"):
        folder = os.fsencode(tmp_path / f"airs/train/{which}")
        os.rename(folder + b"/a.tif", folder + b"/\xff.tif")  # noqa: PTH104 - bytes
    for _ in range(2):
        (result,) = index_train(tmp_path / "airs", index_path)
        assert isinstance(result, BadFile | TileFacts)


def test_the_index_names_files_below_the_root_and_nothing_is_left_beside_it(root, index_path):
    index_train(root, index_path)
    assert json.loads(index_path.read_text())["tiles"][0]["stamps"][0][0] == (
        "train/image/christchurch_1.tif"
    )
    assert [path.name for path in index_path.parent.iterdir()] == ["index.json"]
