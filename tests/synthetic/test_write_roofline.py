import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from app.base.errors import ConfigError
from app.synthetic import staging
from app.synthetic import write_roofline as module
from app.synthetic.scene import GENERATOR_VERSION, make_scene
from app.synthetic.write_roofline import BLOCK_PX, CropParameters, write_roofline
from tests.support.fakes_roofline import open_roofline
from tests.support.samples import check_sample

NUM_TILES = 20


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "roofline"
    write_roofline(root, CropParameters(num_tiles=NUM_TILES, seed=4, size_px=112))
    return root


def read(root: Path, name: str) -> np.ndarray:
    """In NumPy's usual order: (N, rows, columns[, channels])."""
    with h5py.File(root / "imdb.mat", locking=False) as file:
        return np.moveaxis(file["imdb"][name][:].T, -1, 0)


def test_the_file_is_laid_out_as_matlab_does(root: Path) -> None:
    start = (root / "imdb.mat").read_bytes()[:520]
    assert start.startswith(b"MATLAB 7.3 MAT-file, Platform: ")
    assert start[116:128] == bytes(8) + b"\x00\x02IM"
    assert start[128:512] == bytes(384)
    assert start[512:520] == b"\x89HDF\r\n\x1a\n"
    with h5py.File(root / "imdb.mat") as file:
        assert set(file) == {"#refs#", "imdb"}
        assert len(file["#refs#"]) == 0
        assert file["imdb"].attrs["MATLAB_class"] == b"struct"
        found = {name: (data.shape, str(data.dtype)) for name, data in file["imdb"].items()}
        assert {data.attrs["MATLAB_class"] for data in file["imdb"].values()} == {b"single"}
    assert found == {
        "images": ((NUM_TILES, 3, 112, 112), "float32"),
        "elements": ((NUM_TILES, 3, 112, 112), "float32"),
        "depths": ((NUM_TILES, 112, 112), "float32"),
    }
    assert json.loads((root / "sample.json").read_text()) == {
        "num_tiles": NUM_TILES,
        "seed": 4,
        "size_px": 112,
        "generator_version": GENERATOR_VERSION,
    }


def test_crops_are_parts_of_their_scene(root: Path) -> None:
    images, depths = read(root, "images"), read(root, "depths")
    assert images.min() >= 0
    assert images.max() > 200
    np.testing.assert_array_equal(images, np.rint(images))
    scene = make_scene((4, 1), 392, 0.05)
    found = [
        (row, column)
        for row in range(0, 392 - 111, 28)
        for column in range(0, 392 - 111, 28)
        if np.array_equal(scene.image[row : row + 112, column : column + 112], images[8])
    ]
    assert len(found) == 1
    row, column = found[0]
    np.testing.assert_array_equal(scene.height_m[row : row + 112, column : column + 112], depths[8])


def test_lines_are_whole_blocks_on_a_lattice_of_one_phase_per_crop(root: Path) -> None:
    elements = read(root, "elements")
    assert set(np.unique(elements)) == {0.0, 1.0}
    assert [bool(elements[..., kind].any()) for kind in range(3)] == [True] * 3
    phases = set()
    for tile in elements:
        for axis in (0, 1):
            changes = np.nonzero(np.diff(tile, axis=axis).any(axis=(1 - axis, 2)))[0] + 1
            phase = set(changes % BLOCK_PX)
            assert len(phase) <= 1
            phases |= phase
    assert len(phases) > 3


def test_lines_lie_on_those_of_the_scene(root: Path) -> None:
    dataset = open_roofline(root)
    num_near = num_drawn = 0
    for index in range(len(dataset)):
        sample = dataset[index]
        check_sample(sample)
        edge = (np.abs(np.diff(sample["depth"], axis=0)) > 0.3)[:, :-1]
        edge |= (np.abs(np.diff(sample["depth"], axis=1)) > 0.3)[:-1]
        row, column = np.nonzero(sample["lines"][0].numpy() == 1)
        edges = np.argwhere(edge)
        for point in zip(row[::5], column[::5], strict=True):
            if not BLOCK_PX <= min(point) <= max(point) < 112 - BLOCK_PX:
                continue  # its wall may stand outside of the crop
            num_drawn += 1
            num_near += bool(len(edges)) and np.hypot(*(edges - point).T).min() <= 7
    assert num_drawn > 50
    assert num_near / num_drawn > 0.95


def test_crops_are_mostly_roof(root: Path) -> None:
    assert np.mean(read(root, "depths") > 2) > 0.4


def test_same_seed_same_bytes_on_any_number_of_processes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_MIN_JOBS_FOR_POOL", 2)
    monkeypatch.setattr(staging, "_JOBS_PER_TASK", 1)
    write_roofline(tmp_path / "same", CropParameters(num_tiles=NUM_TILES, seed=4, size_px=112))
    expected = (root / "imdb.mat").read_bytes()
    assert (tmp_path / "same/imdb.mat").read_bytes() == expected
    write_roofline(tmp_path / "other", CropParameters(num_tiles=2, seed=5, size_px=112))
    assert not np.array_equal(read(tmp_path / "other", "images"), read(root, "images")[:2])


def test_same_parameters_keep_the_file_and_others_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "make_scene", lambda *_: pytest.fail("drew a scene again"))
    write_roofline(root, CropParameters(num_tiles=NUM_TILES, seed=4, size_px=112))
    with pytest.raises(ConfigError, match="num_tiles is 20, expected 21; delete the folder"):
        write_roofline(root, CropParameters(num_tiles=21, seed=4, size_px=112))


def test_impossible_numbers_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"num_tiles is 0, .*; seed is -1, .*; size_px is 16, "):
        write_roofline(tmp_path / "x", CropParameters(num_tiles=0, seed=-1, size_px=16))
    assert not any(tmp_path.iterdir())
