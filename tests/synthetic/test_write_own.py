"""Synthetic villages in the layout of people's own roofs, as the reader of that layout sees it."""

import csv
import re

import cv2
import numpy as np
import pyogrio
import pytest
import rasterio

from app.base.errors import ConfigError
from app.base.tasks import LINE_KINDS
from app.data.own.dataset import OwnDataset
from app.data.sample import drawn
from app.synthetic import staging
from app.synthetic.scene import make_scene
from app.synthetic.staging import SplitParameters
from app.synthetic.write_own import GSD_M, write_own
from tests.support.synthetic import files_of

SIZE_PX, SEED = 320, 3
PARAMETERS = SplitParameters(5, 2, 1, seed=SEED, size_px=SIZE_PX)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("villages") / "own"
    write_own(root, PARAMETERS)
    return root


@pytest.fixture(scope="module")
def dataset(root):
    return OwnDataset(root, "all")


def scene_of(name):
    return make_scene((SEED, int(name.rpartition("-")[2])), SIZE_PX, GSD_M)


def test_files_and_fields(root):
    names = [f"village-{number}" for number in range(8)]
    assert sorted(path.name for path in root.iterdir()) == [
        "heights", "photos", "roofs.gpkg", "sample.json", "splits.csv",
    ]  # fmt: skip
    for folder in ("photos", "heights"):
        assert sorted(path.name for path in (root / folder).iterdir()) == [
            f"{name}.tif" for name in names
        ]
    rows = list(csv.reader((root / "splits.csv").open()))
    assert rows[0] == ["photo", "split"]
    assert [row[0] for row in rows[1:]] == [f"{name}.tif" for name in names]
    splits = [row[1] for row in rows[1:]]
    assert [splits.count(split) for split in ("train", "val", "test")] == [5, 2, 1]
    fields = {
        layer: list(pyogrio.read_info(root / "roofs.gpkg", layer=layer)["fields"])
        for layer, _ in pyogrio.list_layers(root / "roofs.gpkg")
    }
    assert fields == {
        "planes": ["azimuth_degrees", "pitch_degrees", "flat"],
        "lines": ["kind"],
        "areas": ["photo"],
    }
    with rasterio.open(root / "photos/village-0.tif") as photo:
        assert (photo.count, photo.dtypes[0], photo.crs.to_epsg()) == (3, "uint8", 25832)


def test_values_of_fields(root):
    _, _, _, (azimuth_deg, pitch_deg, flat) = pyogrio.raw.read(root / "roofs.gpkg", layer="planes")
    flat = flat.astype(bool)
    assert 0 < flat.sum() < len(flat) / 2
    np.testing.assert_array_equal(np.isnan(azimuth_deg), flat)
    np.testing.assert_array_equal(pitch_deg == 0, flat)
    assert ((pitch_deg[~flat] > 7) & (pitch_deg[~flat] < 55)).all()
    kinds = pyogrio.raw.read(root / "roofs.gpkg", layer="lines")[3][0]
    assert set(kinds) == {"eave", "rake", "ridge", "hip", "valley"}


def test_the_reader_sets_nothing_aside_and_finds_the_convention(dataset):
    assert len(dataset) == 8
    assert not dataset.catalogue.bad_features
    assert not dataset.missing
    assert not dataset.splits.close
    assert not any(len(numbers) for _, numbers in dataset.catalogue.outside)
    (convention,) = dataset.catalogue.conventions
    assert (convention.name, convention.north) == ("compass", "true")
    agreeing = re.search(r"of (\d+)% of (\d+) planes", convention.why)
    assert agreeing is not None
    assert int(agreeing[1]) >= 95
    # 2.2 degrees between the map's north and true north, as around RID's village.
    assert [photo.place.north_deg for photo in dataset.catalogue.photos] == pytest.approx(
        [2.22] * 8, abs=0.02
    )


def test_labels_are_those_of_the_scene(dataset):
    found, expected = [], []
    for number in range(len(dataset)):
        sample, scene = drawn(dataset[number]), scene_of(dataset.sample_ids[number])
        np.testing.assert_array_equal(sample["image"], scene.image.transpose(2, 0, 1))
        np.testing.assert_allclose(sample["depth"], scene.height_m, atol=1e-4)
        segments = sample["segments"].numpy()
        brush = np.ones((3, 3), np.uint8)
        is_inner = cv2.dilate(scene.segments, brush) == cv2.erode(scene.segments, brush)
        assert (segments == scene.segments)[is_inner].mean() > 0.9999
        # Lines of the file are centres, one pixel thick; those of a scene are 3 px wide.
        found.append(widen(sample["lines"].numpy() == 1))
        expected.append(scene.lines > 0)
    for kind, name in enumerate(LINE_KINDS):
        got = np.stack([lines[kind] for lines in found])
        true = np.stack([lines[kind] for lines in expected])
        assert widen(true)[got].mean() > 0.97, name
        assert widen(got)[true].mean() > 0.97, name


def widen(lines):
    """By a pixel to every side."""
    brush = np.ones((3, 3), np.uint8)
    return np.stack([cv2.dilate(line.astype(np.uint8), brush) for line in lines]) > 0


def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes(tmp_path, monkeypatch):
    parameters = SplitParameters(2, 1, 1, seed=1, size_px=64)
    write_own(tmp_path / "one", parameters)
    monkeypatch.setattr(staging, "_MIN_JOBS_FOR_POOL", 4)
    write_own(tmp_path / "many", parameters)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "many")
    with pytest.raises(ConfigError, match="one was written with other parameters: seed is 1"):
        write_own(tmp_path / "one", SplitParameters(2, 1, 1, seed=2, size_px=64))
