import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.windows import Window

from app.base.errors import SampleError
from app.data.airs.dataset import AirsDataset, AirsWindows
from app.data.airs.tile import Tile
from tests.support.fakes_airs import GEO_TAGS, aerial, houses, write_tile
from tests.support.samples import check_sample


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
    gsd_m = wide.tiles[0].gsd_m
    assert wide.draw(0, 51.2, rng)["image"].shape == (3, 683, 683)
    assert wide.draw(0, 683 * gsd_m, rng)["image"].shape == (3, 683, 683)
    assert wide.draw(0, 683 * gsd_m + 0.001, rng)["image"].shape == (3, 684, 684)
    assert wide.draw(0, 1600 * gsd_m, rng)["image"].shape == (3, 1400, 1600)
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
    facts = dict.fromkeys(("files", "gsd_m", "roof_value", "image", "label"))
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
    facts = dict.fromkeys(("files", "gsd_m", "roof_value", "image", "label"))
    sides = {"height_px": 1000, "width_px": 800}
    tile = Tile(**facts, **sides, block_px=(16, 800), num_rows=1, num_columns=1)
    moved = tile.fit_to_blocks(Window(123, 77, 100, 100))
    assert moved.col_off == 123
    assert abs(moved.row_off - 77) < 16
    assert (moved.row_off + 99) // 16 - moved.row_off // 16 == 6


@pytest.mark.parametrize(("max_windows", "expected"), [(2, 2), (6, 6), (100, 6), (None, 6)])
def test_validation_windows_are_cells(wide, max_windows, expected):
    windows = AirsWindows(wide, max_windows)
    assert len(windows) == len(windows.sample_ids) == expected
    whole = aerial(houses(1400, 2100))
    for index, sample_id in enumerate(windows.sample_ids):
        sample = windows[index]
        check_sample(sample)
        assert sample["sample_id"] == sample_id
        row, column = corner(sample)
        np.testing.assert_array_equal(
            sample["image"], whole[:, row : row + 700, column : column + 700]
        )
    assert len(set(windows.sample_ids)) == expected
    assert list(AirsWindows(wide, max_windows).sample_ids) == list(windows.sample_ids)
    assert (windows.name, windows.title, windows.labels) == (wide.name, wide.title, wide.labels)
    assert (windows.num_files, windows.missing) == (1, [])


@pytest.mark.parametrize(("height", "width"), [(160, 950), (1000, 1000), (1024, 1600)])
def test_validation_shows_all_of_a_tile_once_whatever_its_size(tmp_path, scratch, height, width):
    write_tile(tmp_path / "val", "a", houses(height, width), has_preview=False)
    windows = AirsWindows(AirsDataset(tmp_path, "val", scratch), None)
    times_seen = np.zeros((height, width), int)
    for sample in (windows[index] for index in range(len(windows))):
        row, column = corner(sample)
        rows, columns = sample["segments"].shape
        times_seen[row : row + rows, column : column + columns] += 1
    assert (times_seen == 1).all()


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
