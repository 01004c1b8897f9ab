"""Folders of own roofs as people have them: formats, photos, heights, scales."""

import pickle
import shutil

import numpy as np
import pytest
import rasterio
import shapely
import torch
from rasterio import Affine

from app.base.errors import SampleError
from app.data.datasets import TrainBatches, open_datasets
from app.data.geometry import resample_whole
from app.data.own.dataset import OwnDataset
from app.data.sample import drawn
from app.settings.texts import parse_hyperparameters
from tests.support.fakes import write_raster
from tests.support.own import (
    EAST,
    GSD_M,
    NORTH,
    SIDE_PX,
    UTM,
    hip_roofs,
    moved,
    place_of,
    write_layer,
    write_photo,
    write_village,
)
from tests.support.paths import SHARED_DATA
from tests.support.samples import check_sample


def samples_of(root):
    dataset = OwnDataset(root, "all")
    return {dataset.sample_ids[i]: drawn(dataset[i]) for i in range(len(dataset))}


@pytest.fixture(scope="module")
def village(tmp_path_factory):
    return write_village(tmp_path_factory.mktemp("village"))


@pytest.fixture(scope="module")
def expected(village):
    return samples_of(village)


def assert_same(got, expected, max_px=2):
    assert got.keys() == expected.keys()
    for name, sample in got.items():
        check_sample(sample)
        for task in ("segments", "lines"):
            assert (sample[task] != expected[name][task]).sum() <= max_px * 20, (name, task)
        assert (sample["segments"] != expected[name]["segments"]).sum() <= max_px


@pytest.mark.parametrize(
    ("suffix", "crs"),
    [
        (".geojson", "EPSG:4326"),
        (".fgb", "EPSG:3857"),
        (".shp", "EPSG:25833"),
        (".gpkg", "EPSG:3035"),
    ],
)
def test_every_format_and_reference_system_gives_the_same_labels(
    tmp_path, village, expected, suffix, crs
):
    shutil.copytree(village / "photos", tmp_path / "photos")
    planes, bearings = hip_roofs(6)
    half = SIDE_PX * GSD_M / 2
    areas = [
        shapely.box(x - half, y - half, x + half, y + half) for x, y in map(place_of, range(6))
    ]
    true_deg = np.add(bearings, 1.9022)
    write_layer(tmp_path / f"planes{suffix}", moved(planes, UTM, crs), crs, azimuth=true_deg)
    write_layer(tmp_path / f"areas{suffix}", moved(areas, UTM, crs), crs, layer="areas")
    got = samples_of(tmp_path)
    got.pop("0")  # the hips of a roof that stands square run through middles of pixels
    for name, sample in got.items():
        # A border of an area falls on the photo's own, to less than a pixel.
        inner = (slice(2, -2), slice(2, -2))
        differs = (sample["segments"] != expected[name]["segments"])[inner]
        assert differs.sum() <= 5


def test_planes_and_lines_may_stand_in_one_layer(tmp_path, village):
    shutil.copytree(village / "photos", tmp_path / "photos")
    planes, bearings = hip_roofs(6)
    ridge = shapely.LineString([(EAST - 2, NORTH), (EAST + 2, NORTH)])
    write_layer(
        tmp_path / "roofs.geojson",
        moved([*planes, ridge], UTM, "EPSG:4326"),
        "EPSG:4326",
        azimuth=[*np.add(bearings, 1.9022), np.nan],
        kind=[*[""] * len(planes), "ridge"],
    )
    dataset = OwnDataset(tmp_path, "all")
    assert [layer.num_features for layer in dataset.catalogue.layers] == [24, 1]
    assert not dataset.catalogue.bad_features


def as_jpeg(path):
    with rasterio.open(path) as file:
        bands, transform = file.read(), file.transform
    jpeg = path.with_suffix(".jpg")
    with rasterio.open(
        jpeg, "w", driver="JPEG", count=3, height=240, width=240, dtype="uint8", QUALITY=95
    ) as file:
        file.write(bands)
    path.unlink()
    jpeg.with_suffix(".jpg.aux.xml").unlink(missing_ok=True)
    world = (transform.a, 0, 0, transform.e, transform.c + 0.05, transform.f - 0.05)
    jpeg.with_suffix(".jgw").write_text("\n".join(map(str, world)))


def test_jpegs_with_world_files_lie_where_the_shapes_are(tmp_path, village, expected):
    shutil.copytree(village, tmp_path / "own")
    for path in sorted((tmp_path / "own/photos").glob("*.tif")):
        as_jpeg(path)
    assert_same(samples_of(tmp_path / "own"), expected)
    dataset = OwnDataset(tmp_path / "own", "all")
    assert "taken as EPSG:25832 (6 of 6 looked at)" in dataset.assumed_scale
    whole = (tmp_path / "own/photos/2.jpg").read_bytes()
    (tmp_path / "own/photos/2.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SampleError, match=r"2\.jpg: got an unreadable file"):
        dataset[dataset.sample_ids.index("2")]


def test_photos_of_another_reference_system_and_scale_show_the_same_roofs(tmp_path):
    """A photo in Web Mercator, where a metre of the map is 0.67 m on the ground."""
    write_village(tmp_path)
    east, north = place_of(0)
    x, y = np.array(moved([shapely.Point(east, north)], UTM, "EPSG:3857")[0].coords[0])
    pixel, half = 0.2, 100
    transform = Affine(pixel, 0, x - half * pixel, 0, -pixel, y + half * pixel)
    bands = np.zeros((3, 200, 200), np.uint8)
    write_raster(tmp_path / "photos/0.tif", bands, crs="EPSG:3857", transform=transform)
    dataset = OwnDataset(tmp_path, "all")
    sample = drawn(dataset[dataset.sample_ids.index("0")])
    assert sample["gsd_m"] == pytest.approx(0.2 * 0.668, rel=0.01)
    roof = sample["segments"].numpy() < 16
    assert roof.sum() * sample["gsd_m"] ** 2 == pytest.approx(96.0, rel=0.01)
    # Web Mercator's grid has no convergence: the plane that faces grid north in UTM faces 1.9
    # degrees east of it, which is the same class.
    assert set(np.unique(sample["segments"][roof]).tolist()) == {0, 4, 8, 12}


def test_heights_of_another_grid_are_laid_on_the_photo(tmp_path):
    write_village(tmp_path, num_photos=3)
    east, north = place_of(0)
    # A plane of heights, so that interpolation is exact: 5 m in the middle, 0.1 m per metre east.
    centre = np.array(moved([shapely.Point(east, north)], UTM, "EPSG:25833")[0].coords[0])
    rows, columns = np.indices((60, 60))
    transform = Affine(0.5, 0, centre[0] - 15, 0, -0.5, centre[1] + 15)
    heights = (5 + 0.1 * ((columns + 0.5) * 0.5 - 15)).astype(np.float32)
    heights[rows > 50] = -9999
    path = tmp_path / "heights/0.tif"
    write_raster(path, heights[None], crs="EPSG:25833", transform=transform, nodata=-9999)
    dataset = OwnDataset(tmp_path, "all")
    depth = dataset[dataset.sample_ids.index("0")]["depth"].numpy()
    assert dataset.labels["depth"] == ("height above ground",)
    assert depth[119:121, 119:121] == pytest.approx(5.0, abs=0.01)
    # The grids of zones 32 and 33 are turned by 4.5 degrees against each other.
    turn = np.radians(4.5)
    assert depth[120, 200] == pytest.approx(5 + 0.8 * np.cos(turn), abs=0.03)
    assert np.isnan(depth[235, 120])
    assert np.isnan(dataset[dataset.sample_ids.index("1")]["depth"].numpy()).all()

    centimetres = (100 * heights).astype(np.int16)[None]
    write_raster(path, centimetres, crs="EPSG:25833", transform=transform, nodata=-32768)
    with rasterio.open(path, "r+") as file:
        file.scales = (0.01,)
    depth = dataset[dataset.sample_ids.index("0")]["depth"].numpy()
    assert depth[119:121, 119:121] == pytest.approx(5.0, abs=0.01)
    with rasterio.open(path, "r+") as file:
        file.units = ("ft",)
    with pytest.raises(SampleError, match="got heights in ft, expected metres"):
        dataset[dataset.sample_ids.index("0")]

    write_raster(path, heights[None] + 510, crs="EPSG:25833", transform=transform)
    with pytest.raises(
        SampleError, match=r"0\.tif: got heights of 51[45][.0-9]* m by half, expected -0\.5"
    ):
        dataset[dataset.sample_ids.index("0")]


def test_heights_on_the_photo_s_own_grid_are_kept_to_the_number(tmp_path):
    """A few pixels to the side, and smaller than the photo."""
    write_village(tmp_path, num_photos=3)
    with rasterio.open(tmp_path / "photos/0.tif") as photo:
        crs, transform = photo.crs, photo.transform @ Affine.translation(-7, 12)
    heights = np.random.default_rng(0).uniform(0, 9, (1, 100, 90)).astype(np.float32)
    write_raster(tmp_path / "heights/0.tif", heights, crs=crs, transform=transform)
    dataset = OwnDataset(tmp_path, "all")
    depth = dataset[dataset.sample_ids.index("0")]["depth"].numpy()
    assert np.array_equal(depth[12:112, :83], heights[0, :, 7:])
    assert np.isfinite(depth).sum() == 100 * 83


def test_draws_depend_on_their_seed_alone_also_in_another_process(tmp_path):
    write_village(tmp_path)
    dataset = OwnDataset(tmp_path, "train")
    sent = pickle.loads(pickle.dumps(dataset))
    for index in range(len(dataset)):
        first, again = (
            resample_whole(each.draw(index, 15.0, np.random.default_rng(7)), 0.13)
            for each in (dataset, sent)
        )
        assert first["sample_id"] == again["sample_id"]
        for name in ("image", "segments", "lines"):
            assert torch.equal(first[name], again[name])
    orders = [dataset.pass_order(np.random.default_rng(3)).tolist() for _ in range(2)]
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == list(range(len(dataset)))


def test_a_folder_trains_with_no_other_setting(tmp_path):
    write_village(tmp_path / "own")
    hyperparameters = parse_hyperparameters({"num_workers": "0", "crop_size_px": "128"})
    datasets = open_datasets({"own": tmp_path / "own"}, hyperparameters, tmp_path)
    order = datasets.train_order(hyperparameters)
    batch = next(TrainBatches(datasets, hyperparameters, order))
    assert batch["segments"].shape == (8, 128, 128)
    assert (batch["segments"] < 16).any()
    assert {1} <= set(batch["lines"].unique().tolist())
    (val, _) = datasets.val["own"][0]
    check_sample(val)
    assert not datasets.quarantines["own"].bad_files


def test_what_is_set_aside_is_listed_in_the_metrics(tmp_path):
    write_village(tmp_path / "own")
    east, north = place_of(1)
    line = shapely.LineString([(east, north), (east + 4, north)])
    write_layer(tmp_path / "own/roofs.gpkg", [line], layer="lines", append=True, kind=["crest"])
    datasets = open_datasets({"own": tmp_path / "own"}, parse_hyperparameters({}), tmp_path)
    listed = datasets.to_json()["own"]["features_set_aside"]
    assert listed["total"] == 1
    (feature,) = listed["listed"]
    assert {name: feature[name] for name in ("layer", "feature", "photo")} == {
        "layer": "lines", "feature": 1, "photo": "1"
    }  # fmt: skip
    assert feature["path"] == f"{tmp_path}/own/roofs.gpkg"
    assert "feature 1, on photo 1: got kind crest, expected eave" in feature["reason"]


def test_photos_and_files_that_are_not_used_are_said(tmp_path, caplog):
    write_village(tmp_path)
    write_photo(tmp_path / "photos/empty.tif", EAST + 5000, NORTH)
    write_photo(tmp_path / "photos/alone.tif", EAST + 5100, NORTH)
    (tmp_path / "photos/7.jp2").write_bytes(b"")
    (tmp_path / "photos/more").mkdir()
    write_raster(tmp_path / "heights/seven.tif", np.zeros((1, 9, 9), np.float32))
    dataset = OwnDataset(tmp_path, "train")
    # They are no part of the splits by place: these hold what can be shown.
    assert {name: len(of_split) for name, of_split in dataset.splits.parts.items()} == {
        "train": 4, "val": 1, "test": 1
    }  # fmt: skip
    dataset.tell()
    assert "2 of 8 photos show no plane and no area, and are not used: alone, empty" in caplog.text
    assert (
        "heights/seven.tif, photos/7.jp2, photos/more not read: expected .tif, .jpg or .png in "
        "photos/ itself, and .tif of a photo's name in heights/; convert, rename or move them"
    ) in caplog.text


def test_planes_without_a_field_of_azimuths_are_said(tmp_path, caplog):
    write_village(tmp_path)
    (tmp_path / "roofs.gpkg").unlink()
    write_layer(tmp_path / "planes.gpkg", hip_roofs(6)[0], richtung=[1.0] * 24)
    dataset = OwnDataset(tmp_path, "train")
    dataset.tell()
    assert (
        "no plane has a direction, all are some roof: got richtung, expected a field" in caplog.text
    )
    assert set(np.unique(drawn(dataset[0])["segments"]).tolist()) == {18, 255}


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="no real roofs at ../shared/data")
@pytest.mark.parametrize("name", ["own_invercargill", "own_german_gables"])
def test_real_roofs_are_compass_directions_and_whole(tmp_path, name):
    shutil.copy(SHARED_DATA / name / "roofs.gpkg", tmp_path)
    (tmp_path / "photos").mkdir()
    for path in sorted((SHARED_DATA / name / "photos").iterdir())[:40]:
        shutil.copy(path, tmp_path / "photos")
    dataset = OwnDataset(tmp_path, "val")
    (convention,) = dataset.catalogue.conventions
    assert (convention.name, convention.north) == ("compass", "true")
    assert not dataset.catalogue.bad_features
    assert not dataset.missing
    assert not dataset.splits.close
    check_sample(drawn(dataset[0]))
