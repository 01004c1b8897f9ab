"""What the benchmark of loading reads and computes; the measuring itself is not tested."""

from pathlib import Path

import numpy as np
import pytest

from app.base.dataset_names import DatasetName
from app.data.airs.dataset import AirsDataset
from app.synthetic.sample import FEW
from app.synthetic.staging import SplitParameters
from app.synthetic.write_airs import write_airs
from app.synthetic.write_rid import write_rid
from bench.loading import Comparison, lowest_ratio
from bench.support.loading import tiles, worker
from bench.support.loading.measured_parts import Parts
from bench.support.loading.parts import REST, TIMED, PartTimer, find_place
from bench.support.loading.sample_parts import PartedSamples


@pytest.fixture
def small_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setattr(tiles, "TILE_PX", 1024)
    monkeypatch.setattr(tiles, "_SCENE_PX", 512)
    return tiles.write_tiles(tmp_path / "tiles")


def test_ratios_are_of_medians_and_the_worst_kind_counts() -> None:
    tiled = Comparison("tiled", {"ours": [1.0, 2.0, 9.0], "torchgeo": [8.0, 10.0, 50.0]})
    striped = Comparison("striped", {"ours": [2.0], "torchgeo": [6.0]})
    assert tiled.ratio("torchgeo") == 5
    assert lowest_ratio([tiled, striped], "torchgeo") == 3


def test_all_kinds_of_tiles_hold_the_same(small_tiles: dict[str, Path], tmp_path: Path) -> None:
    assert set(small_tiles) == {"striped", "tiled", "striped_lzw"}
    samples = [AirsDataset(root, "train", tmp_path)[0] for root in small_tiles.values()]
    for sample in samples[1:]:
        assert (sample["image"] == samples[0]["image"]).all()
        assert (sample["segments"] == samples[0]["segments"]).all()
    assert set(np.unique(samples[0]["segments"])) == {17, 18}


@pytest.mark.parametrize("way", ["ours", "ours_sample", "whole_tile"])
def test_every_way_reads_a_window_of_that_size(small_tiles: dict[str, Path], way: str) -> None:
    samples = worker.WAYS[way](small_tiles["tiled"])
    for _ in range(2):
        image, label = next(samples)
        assert image.shape == (512, 512, 3)
        assert label.shape == (512, 512)
        assert np.asarray(image).std() > 10


def test_linked_tiles_are_tiles_of_one_dataset(
    small_tiles: dict[str, Path], tmp_path: Path
) -> None:
    root = tiles.link_together(small_tiles, ("striped", "tiled"), tmp_path / "both")
    assert len(AirsDataset(root, "train", tmp_path).tiles) == 2


def test_training_samples_of_rid_and_the_start(tmp_path: Path) -> None:
    write_rid(tmp_path / "rid", SplitParameters(5, 2, 1, seed=0, size_px=64))
    write_airs(tmp_path / "airs", SplitParameters(2, 1, 0, seed=0, size_px=64))
    image, segments = next(worker.rid(tmp_path / "rid"))
    assert image.shape == (3, 512, 512)
    assert segments.shape == (512, 512)
    next(worker.start(tmp_path))
    assert (tmp_path / "scratch-0/airs_index_train.json").exists()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("rid", {"read photo", "read label", "derive lines"}),
        ("own", {"read photo", "read heights", "draw shapes"}),
        ("airs", {"read photo", "read label", "derive lines"}),
        ("roofline", {"read photo", "read heights", "derive lines", "lay out"}),
    ],
)
def test_every_part_of_a_sample_is_timed(
    tmp_path: Path, name: DatasetName, parts: set[str]
) -> None:
    FEW[name](tmp_path / name)
    samples = PartedSamples(name, tmp_path / name, 256, tmp_path / "scratch")
    part_s = samples.read(12)
    common = {"other reading", "warp", "widen lines", "trim", "light", "collate", "hand over", REST}
    assert common | parts <= set(part_s)
    assert min(part_s.values()) >= 0
    assert samples.read(4).keys() >= common


def test_every_part_of_what_is_cut_for_a_gpu_is_timed(tmp_path: Path) -> None:
    FEW["rid"](tmp_path / "rid")
    samples = PartedSamples("rid", tmp_path / "rid", 256, tmp_path / "scratch", "cuda")
    found = {"read photo", "derive lines", "cut", "draw light", "other reading", "collate", REST}
    assert found <= set(samples.read(12))
    assert not {"warp", "light", "trim"} & set(samples.read(4))


def test_time_of_an_inner_part_is_not_that_of_the_outer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0, 3.5, 4.5, 10.0])
    monkeypatch.setattr("bench.support.loading.parts.time.thread_time", lambda: next(clock))
    timer = PartTimer()
    with timer.part("outer"):
        timer.around(lambda: None, "inner")()
        timer.around(lambda: None, "inner")()
    assert timer.take() == {"inner": 2.0 + 1.0, "outer": 10.0 - 3.0}
    assert timer.take() == {}


def test_timed_functions_are_the_products() -> None:
    for timed in TIMED:
        assert callable(getattr(find_place(timed.place), timed.name)), timed


def test_the_total_of_parts_is_the_median_turn() -> None:
    parts = Parts("rid 512")
    for turn in ({"warp": 2.0}, {"warp": 1.0, "noise": 3.0}, {"warp": 6.0}):
        parts.add(turn, 2, ["warp", "noise"])
    assert parts.again_ms == {"warp": [1000.0, 500.0, 3000.0], "noise": [0.0, 1500.0, 0.0]}
    assert parts.total_ms == 2000.0
