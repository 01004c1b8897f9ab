from pathlib import Path

import numpy as np
import pytest
import rasterio

from app.base.errors import ConfigError
from app.data.airs.dataset import AirsDataset
from app.synthetic import write_airs as module
from app.synthetic.scene import make_scene
from app.synthetic.staging import SplitParameters
from app.synthetic.write_airs import write_airs
from tests.support.rasters import assert_apart
from tests.support.samples import check_sample
from tests.support.synthetic import files_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "airs"
    write_airs(root, SplitParameters(num_train=3, num_val=2, num_test=1, seed=5, size_px=256))
    return root


def image_paths(root: Path) -> list[Path]:
    return sorted(root.glob("*/image/*.tif"))


def test_folders_names_and_lists(root: Path) -> None:
    assert {path.name for path in root.iterdir()} == {
        "train", "val", "test", "train.txt", "val.txt", "sample.json"
    }  # fmt: skip
    for split, num_tiles in (("train", 3), ("val", 2), ("test", 1)):
        names = sorted(path.stem for path in (root / split / "image").iterdir())
        assert len(names) == num_tiles
        labels = {path.name for path in (root / split / "label").iterdir()}
        assert labels == {f"{name}{end}.tif" for name in names for end in ("", "_vis")}
        if split != "test":
            ending = ".tif" if split == "train" else ""
            assert (root / f"{split}.txt").read_text() == "".join(
                f"{name}{ending}\n" for name in names
            )
    assert {path.stem for path in image_paths(root)} == {f"christchurch_{n}" for n in range(6)}


def test_files_are_as_in_the_mirror(root: Path) -> None:
    for image_path in image_paths(root):
        label_path = image_path.parents[1] / "label" / image_path.name
        preview_path = label_path.with_stem(f"{label_path.stem}_vis")
        with (
            rasterio.open(image_path) as image,
            rasterio.open(label_path) as label,
            rasterio.open(preview_path) as preview,
        ):
            assert (image.count, label.count, preview.count) == (3, 1, 3)
            assert image.dtypes == ("uint8",) * 3
            assert image.profile["compress"] == "jpeg"
            for file in (image, label, preview):
                assert file.crs.to_epsg() == 2193
                assert file.res == (0.075, 0.075)
                assert file.shape == (256, 256)
                assert file.transform == image.transform
            roof = label.read(1)
            assert set(np.unique(roof)) == {0, 1}
            np.testing.assert_array_equal(preview.read(), np.stack([roof * 255] * 3))


def test_the_reader_finds_what_was_drawn(root: Path, tmp_path: Path) -> None:
    dataset = AirsDataset(root, "all", tmp_path)
    assert len(dataset) == 6
    assert dataset.missing == []
    sample = dataset[0]
    check_sample(sample)
    number = int(dataset.sample_ids[0].split("@")[0].removeprefix("christchurch_"))
    scene = make_scene((5, number, 0), 256, 0.075)
    np.testing.assert_array_equal(sample["segments"] == 18, scene.segments != 17)
    difference = sample["image"].numpy().transpose(1, 2, 0).astype(float) - scene.image
    assert np.abs(difference).mean() < 12  # what JPEG takes away
    assert sample["gsd_m"] == pytest.approx(0.075, rel=1e-3)  # the map is not the ground


def test_no_two_tiles_share_ground(root: Path) -> None:
    assert_apart(image_paths(root))


def test_large_tiles_are_laid_out_of_several_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_SCENE_PX", 64)
    write_airs(
        tmp_path / "airs", SplitParameters(1, 0, 0, seed=1, size_px=130)
    )  # three of 44 px in a row
    (path,) = image_paths(tmp_path / "airs")
    with rasterio.open(path.parents[1] / "label" / path.name) as file:
        roof = file.read(1)
    number = int(path.stem.removeprefix("christchurch_"))
    for index, (row, column) in enumerate(np.ndindex(3, 3)):
        expected = make_scene((1, number, index), 44, 0.075).segments != 17
        part = roof[44 * row : 44 * (row + 1), 44 * column : 44 * (column + 1)]
        np.testing.assert_array_equal(part, expected[: part.shape[0], : part.shape[1]])


def test_the_same_seed_writes_the_same_bytes(root: Path, tmp_path: Path) -> None:
    write_airs(
        tmp_path / "again", SplitParameters(num_train=3, num_val=2, num_test=1, seed=5, size_px=256)
    )
    assert files_of(tmp_path / "again") == files_of(root)
    write_airs(
        tmp_path / "other", SplitParameters(num_train=3, num_val=2, num_test=1, seed=6, size_px=256)
    )
    assert files_of(tmp_path / "other") != files_of(root)


def test_a_dataset_of_the_same_parameters_is_kept_and_another_is_an_error(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_airs(root, SplitParameters(num_train=3, num_val=2, num_test=1, seed=5, size_px=256))
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    with pytest.raises(ConfigError, match="num_val is 2, expected 3"):
        write_airs(root, SplitParameters(num_train=3, num_val=3, num_test=1, seed=5, size_px=256))


def test_numbers_too_low_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"num_train is 0.*size_px is 8, expected at least 32"):
        write_airs(tmp_path / "airs", SplitParameters(0, 0, 0, seed=0, size_px=8))
    assert not (tmp_path / "airs").exists()
