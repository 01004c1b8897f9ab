import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from app.base.errors import ConfigError
from app.synthetic import staging
from app.synthetic import write_rid as module
from app.synthetic.scene import GENERATOR_VERSION, Scene, make_scene
from app.synthetic.staging import SplitParameters
from app.synthetic.write_rid import write_rid
from tests.support.paths import REAL_RID
from tests.support.rasters import assert_apart
from tests.support.synthetic import files_of

FOLDERS = {
    "filenames_train_val_test_split",
    "images_roof_centered_geotiff",
    "masks_segments_reviewed",
    "masks_superstructures_reviewed",
}
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "rid"
    write_rid(root, SplitParameters(num_train=6, num_val=2, num_test=3, seed=5, size_px=64))
    return root


def read_list(root: Path, split: str, fold: int) -> list[str]:
    raw = (root / f"filenames_train_val_test_split/{split}_filenames_{fold}_rev.txt").read_bytes()
    assert raw.endswith(b".png\r\n")
    assert raw.count(b"\n") == raw.count(b"\r\n")
    return raw.decode("ascii").split("\r\n")[:-1]


def image_paths(root: Path) -> list[Path]:
    return sorted((root / "images_roof_centered_geotiff").iterdir())


def test_folders_and_names(root: Path) -> None:
    assert {path.name for path in root.iterdir()} == {*FOLDERS, "sample.json"}
    stems = {path.stem for path in image_paths(root)}
    assert len(stems) == 11
    assert all(str(int(stem)) == stem for stem in stems)
    assert all(2 <= int(stem) <= 15 for stem in stems)
    assert {path.suffix for path in image_paths(root)} == {".tif"}
    for folder in ("masks_segments_reviewed", "masks_superstructures_reviewed"):
        assert {path.name for path in (root / folder).iterdir()} == {
            f"{stem}.png" for stem in stems
        }
    assert len(list((root / "filenames_train_val_test_split").iterdir())) == 15


def test_images_are_rgb_in_degrees_of_a_tenth_of_a_metre(root: Path) -> None:
    for path in image_paths(root):
        with rasterio.open(path) as file:
            assert (file.count, file.width, file.height) == (3, 64, 64)
            assert set(file.dtypes) == {"uint8"}
            assert file.crs.to_epsg() == 4326
            assert file.transform.b == file.transform.d == 0.0
            metres_per_degree = 111_320
            north = np.cos(np.radians(file.bounds.top))
            assert file.transform.a * metres_per_degree * north == pytest.approx(0.099, abs=5e-4)
            assert -file.transform.e * metres_per_degree == pytest.approx(0.099, abs=5e-4)


def test_images_hold_the_scene_of_their_seed_and_id(root: Path) -> None:
    path = image_paths(root)[0]
    scene = make_scene((5, int(path.stem)), 64, module._GSD_M)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), scene.image.transpose(2, 0, 1))
    for folder, mask in (
        ("masks_segments_reviewed", scene.segments),
        ("masks_superstructures_reviewed", scene.superstructures),
    ):
        with rasterio.open(root / folder / f"{path.stem}.png") as file:
            assert (file.driver, file.count, file.dtypes) == ("PNG", 1, ("uint8",))
            np.testing.assert_array_equal(file.read(1), mask)
            assert file.read(1).max() <= 17


def test_images_share_no_ground(root: Path) -> None:
    assert_apart(image_paths(root))


def test_folds_split_all_images(root: Path) -> None:
    names = {f"{path.stem}.png" for path in image_paths(root)}
    vals = []
    for fold in range(1, 6):
        train, val, test = (read_list(root, split, fold) for split in ("train", "val", "test"))
        assert (len(train), len(val), len(test)) == (6, 2, 3)
        assert {*train, *val, *test} == names
        assert all(part == sorted(part) for part in (train, val, test))
        assert test == read_list(root, "test", 1)
        vals.append(frozenset(val))
    # Eight images that are not test, two of them val in each fold: the first four differ wholly.
    assert len(frozenset.union(*vals[:4])) == 8


@pytest.mark.skipif(not REAL_RID.is_dir(), reason="real RID images are not at ../shared/data/rid")
def test_files_are_like_the_real_ones(root: Path) -> None:
    assert {path.name for path in REAL_RID.iterdir() if path.is_dir()} - {"vector"} == FOLDERS
    assert {path.name for path in (REAL_RID / "filenames_train_val_test_split").iterdir()} == {
        path.name for path in (root / "filenames_train_val_test_split").iterdir()
    }
    for folder in FOLDERS - {"filenames_train_val_test_split"}:
        profiles = []
        for rid in (REAL_RID, root):
            path = next((rid / folder).iterdir())
            with rasterio.open(path) as file:
                same = ("driver", "dtype", "nodata", "count", "compress", "interleave", "crs")
                profile = {key: file.profile.get(key) for key in same}
                structure = {**file.tags(ns="IMAGE_STRUCTURE")}
                profiles.append((profile, structure, file.colorinterp, path.suffix))
        assert profiles[0] == profiles[1]


def test_same_parameters_keep_the_sample(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "make_scene", lambda *_: pytest.fail("drew a scene again"))
    with caplog.at_level(logging.INFO):
        write_rid(root, SplitParameters(num_train=6, num_val=2, num_test=3, seed=5, size_px=64))
    assert "Kept the 11 synthetic scenes" in caplog.text


def test_other_parameters_are_refused(root: Path) -> None:
    with pytest.raises(
        ConfigError,
        match="rid was written with other parameters: num_val is 2, expected 4; "
        "seed is 5, expected 6; delete the folder or choose another",
    ):
        write_rid(root, SplitParameters(num_train=6, num_val=4, num_test=3, seed=6, size_px=64))


def test_scenes_of_another_generator_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = GENERATOR_VERSION + 1
    monkeypatch.setattr(staging, "GENERATOR_VERSION", newer)
    with pytest.raises(
        ConfigError, match=f"generator_version is {GENERATOR_VERSION}, expected {newer};"
    ):
        write_rid(root, SplitParameters(num_train=6, num_val=2, num_test=3, seed=5, size_px=64))


@pytest.mark.parametrize("content", [None, "[1]", "{"])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, content: str | None) -> None:
    precious = tmp_path / "rid/precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    if content is not None:
        (tmp_path / "rid/sample.json").write_text(content)
    with pytest.raises(ConfigError, match="was not written by this command; choose another folder"):
        write_rid(
            tmp_path / "rid",
            SplitParameters(num_train=1, num_val=0, num_test=0, seed=0, size_px=32),
        )
    assert precious.read_text() == "mine"


def test_impossible_numbers_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match="num_train is 0, expected at least 1; seed is -1, expected at least 0; "
        "size_px is 8, expected at least 16",
    ):
        write_rid(
            tmp_path / "rid",
            SplitParameters(num_train=0, num_val=0, num_test=0, seed=-1, size_px=8),
        )
    assert not any(tmp_path.iterdir())


def test_the_log_says_what_was_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        write_rid(
            tmp_path / "rid",
            SplitParameters(num_train=2, num_val=1, num_test=1, seed=0, size_px=32),
        )
    assert len(caplog.records) == 1
    assert "Wrote 4 synthetic scenes of 32 px (train 2, val 1, test 1) to" in caplog.text


def test_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> Iterator[Scene]:
        yield make_scene(0, 32)
        yield make_scene(1, 32)
        raise KeyboardInterrupt

    scenes = interrupted()
    with monkeypatch.context() as patch:
        patch.setattr(module, "make_scene", lambda *_: next(scenes))
        with pytest.raises(KeyboardInterrupt):
            write_rid(
                tmp_path / "rid",
                SplitParameters(num_train=4, num_val=0, num_test=0, seed=0, size_px=32),
            )
    assert not any(tmp_path.iterdir())
    write_rid(
        tmp_path / "rid", SplitParameters(num_train=4, num_val=0, num_test=0, seed=0, size_px=32)
    )
    assert len(image_paths(tmp_path / "rid")) == 4


def test_many_processes_write_the_same_bytes_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"num_train": 12, "num_val": 2, "num_test": 2}
    write_rid(tmp_path / "many", SplitParameters(**counts, seed=1, size_px=32))
    monkeypatch.setattr(staging, "_MIN_JOBS_FOR_POOL", 17)
    write_rid(tmp_path / "one", SplitParameters(**counts, seed=1, size_px=32))
    assert files_of(tmp_path / "many") == files_of(tmp_path / "one")
