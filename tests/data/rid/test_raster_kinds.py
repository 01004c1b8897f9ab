"""RID's photos and masks as people store them: each gives the same sample, or none."""

import shutil

import numpy as np
import pytest
import rasterio
import torch
from rasterio import Affine
from rasterio.enums import ColorInterp
from rasterio.warp import transform as to_system

from app.base.errors import SampleError
from app.base.tasks import IGNORE_INDEX
from app.data.rid.dataset import RidDataset
from app.data.transforms import EvalTransform
from tests.support import fakes
from tests.support.paths import REAL_RID
from tests.support.rasters import rewrite, south_up, write_colours
from tests.support.samples import check_sample

PLANES = ("image", "segments", "lines", "superstructures")
COLLAR_PX = 20


@pytest.fixture
def houses(tmp_path):
    """A RID tree of 128 px, so that lines have lengths that count."""
    fakes.write_fake_rid(tmp_path, size_px=128)
    return tmp_path


def first(root, **options):
    return RidDataset(root, "train", **options)[0]


def assert_equal(sample, expected):
    for plane in PLANES:
        assert torch.equal(sample[plane], expected[plane]), plane
    assert sample["gsd_m"] == pytest.approx(expected["gsd_m"], rel=1e-3)


def with_collar(path):
    """The photo's first columns are transparent, and black."""
    with rasterio.open(path) as file:
        height, width = file.shape
    alpha = np.full((1, height, width), 255, np.uint8)
    alpha[:, :, :COLLAR_PX] = 0
    rewrite(path, lambda bands: np.concatenate((bands, alpha)), photometric="RGB", alpha="YES")


def test_what_is_transparent_is_unknown_in_every_target(tmp_path):
    fakes.write_fake_rid(tmp_path, size_px=128, superstructures=True)
    # Across the collar's edge there is a roof, and a plane that ends there.
    roof = fakes.gable(128, azimuth_deg=0)
    roof[40:90, : COLLAR_PX + 30] = 8
    fakes.write_rid_mask(tmp_path, "2", roof)
    before = first(tmp_path, superstructures=True)
    with_collar(fakes.image_path(tmp_path, "2"))
    sample = first(tmp_path, superstructures=True)
    check_sample(sample)
    for plane in ("segments", "lines", "superstructures"):
        assert (sample[plane][..., :COLLAR_PX] == IGNORE_INDEX).all(), plane
    assert torch.isnan(sample["depth"]).all()
    assert (sample["image"][..., :COLLAR_PX] == 0).all()
    for plane in ("image", "segments", "superstructures"):
        assert torch.equal(sample[plane][..., COLLAR_PX:], before[plane][..., COLLAR_PX:])
    # Half a metre from there lines are as before; nearer, none is known.
    near = COLLAR_PX + 6
    assert torch.equal(sample["lines"][..., near:], before["lines"][..., near:])
    assert (sample["lines"][..., :near] == IGNORE_INDEX).all()
    assert (before["lines"][0, :, :near] == 1).any()
    # Nor is a line's width drawn into it.
    drawn = EvalTransform(0.1)(sample)
    assert (drawn["lines"][..., :COLLAR_PX] == IGNORE_INDEX).all()


def test_what_a_mask_declares_as_empty_is_unknown_and_the_photo_is_seen(houses):
    before = first(houses)
    mask = fakes.gable(128, 0)
    mask[:, :COLLAR_PX] = 255
    fakes.write_raster(fakes.mask_path(houses, "2"), mask[None], nodata=255)
    sample = first(houses)
    check_sample(sample)
    assert torch.equal(sample["image"], before["image"])
    assert (sample["segments"][:, :COLLAR_PX] == IGNORE_INDEX).all()
    assert (sample["segments"][:, COLLAR_PX:] != IGNORE_INDEX).all()
    assert (sample["lines"][..., : COLLAR_PX + 4] == IGNORE_INDEX).all()


def test_photos_and_masks_stored_from_south_to_north_are_turned(houses):
    before = first(houses)
    with rasterio.open(fakes.image_path(houses, "2")) as file:
        transform = south_up(file.transform, 128)
    rewrite(fakes.image_path(houses, "2"), lambda bands: bands[:, ::-1], transform=transform)
    rewrite(fakes.mask_path(houses, "2"), lambda bands: bands[:, ::-1])
    assert_equal(first(houses), before)
    assert (before["lines"][1] == 1).sum() > 50  # a ridge, and no valley
    assert (before["lines"][3] == 1).sum() == 0


def test_photos_turned_by_a_quarter_are_turned_back(houses):
    before = first(houses)
    with rasterio.open(fakes.image_path(houses, "2")) as file:
        transform = file.transform @ Affine(0, -1, 128, 1, 0, 0)
    rewrite(
        fakes.image_path(houses, "2"), lambda bands: np.rot90(bands, 1, (1, 2)), transform=transform
    )
    rewrite(fakes.mask_path(houses, "2"), lambda bands: np.rot90(bands, 1, (1, 2)))
    assert_equal(first(houses), before)


def test_a_mask_of_another_place_is_refused(houses):
    shutil.rmtree(houses / fakes.IMAGES)
    place = {"crs": "EPSG:25832", "transform": Affine(0.1, 0, 7e5, 0, -0.1, 5.3e6)}
    for sample_id in ("2", "3"):
        fakes.write_raster(
            fakes.image_path(houses, sample_id), fakes.photograph(fakes.gable(128, 0), 0), **place
        )
    (houses / fakes.MASKS / "2.pgw").write_text("0.1\n0\n0\n-0.1\n700000.05\n5299999.95\n")
    (houses / fakes.MASKS / "3.pgw").write_text("0.1\n0\n0\n-0.1\n700015.05\n5299999.95\n")
    dataset = RidDataset(houses, "train")
    check_sample(dataset[0])
    with pytest.raises(SampleError, match=r"3\.png: got a label whose .*150 pixels off") as error:
        dataset[1]
    assert error.value.path == fakes.mask_path(houses, "3")


def test_a_mask_of_three_bands_that_are_equal_is_one(houses):
    before = first(houses)
    rewrite(fakes.mask_path(houses, "2"), lambda bands: np.repeat(bands, 3, axis=0))
    assert_equal(first(houses), before)


def test_a_local_system_is_no_damage(houses):
    local = 'LOCAL_CS["Local Coordinates (m)",LOCAL_DATUM["Local Datum",0],UNIT["metre",1]]'
    crs = rasterio.crs.CRS.from_wkt(local)
    path = fakes.image_path(houses, "2")
    rewrite(path, crs=crs, transform=Affine(0.2, 0, 100, 0, -0.2, 50))
    dataset = RidDataset(houses, "train")
    assert dataset[dataset.sample_ids.index("2")]["gsd_m"] == 0.2


@pytest.mark.parametrize("is_named", [True, False])
def test_what_is_assumed_of_scales_is_told(houses, is_named):
    if not is_named:
        rewrite(fakes.image_path(houses, "3"), crs=None, transform=Affine(0.2, 0, 9, 0, -0.2, 9))
        fakes.write_raster(fakes.image_path(houses, "7"), fakes.photograph(fakes.gable(128, 0), 0))
    assumed = RidDataset(houses, "train").assumed_scale
    if is_named:
        assert assumed == ""
    else:
        assert "no coordinate reference system, taken as metres (1 of 4 looked at)" in assumed
        assert "no georeference, taken as 0.1 m per pixel (1 of 4 looked at)" in assumed


# --- Real photos, re-stored: the same pixels, in the places that the other system gives them ---


def as_stored(bands, place):
    return bands, place, {}


def upside_down(bands, place):
    transform = south_up(place["transform"], bands.shape[1])
    return bands[:, ::-1], {**place, "transform": transform}, {}


def relabelled(crs):
    """The transform of another system in which a pixel has the size on the ground that it had.

    Pixels are not resampled, as that would change them: only their place is written anew.
    """

    def store(bands, place):
        height, width = bands.shape[1:]
        x, y = place["transform"] @ (width / 2, height / 2)
        reach = place["transform"].a * 250, place["transform"].e * 250
        xs, ys = to_system(
            place["crs"],
            crs,
            [x, x - reach[0], x + reach[0], x, x],
            [y, y, y, y - reach[1], y + reach[1]],
        )
        step = (np.hypot(xs[2] - xs[1], ys[2] - ys[1]) + np.hypot(xs[4] - xs[3], ys[4] - ys[3])) / 4
        gsd = step / 250
        north_west = Affine(gsd, 0, xs[0] - gsd * width / 2, 0, -gsd, ys[0] + gsd * height / 2)
        return bands, {"crs": crs, "transform": north_west}, {}

    return store


def as_png(bands, place):
    return bands, place, {"suffix": ".png"}


def as_bgr(bands, place):
    colours = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    return bands[::-1], place, {"colours": colours}


def as_rgba(bands, place):
    opaque = np.full_like(bands[:1], 255)
    return np.concatenate((bands, opaque)), place, {"photometric": "RGB", "alpha": "YES"}


@pytest.fixture(scope="module")
def real_samples():
    dataset = RidDataset(REAL_RID, "all", superstructures=True)
    return [dataset[index] for index in range(len(dataset))]


@pytest.mark.skipif(not REAL_RID.is_dir(), reason="the RID sample is not beside the repository")
@pytest.mark.parametrize(
    "store",
    [upside_down, relabelled("EPSG:3857"), relabelled("EPSG:25832"), as_png, as_bgr, as_rgba],
    ids=["south up", "Web Mercator", "UTM", "PNG with a world file", "BGR", "RGBA"],
)
def test_real_photos_stored_another_way_give_the_same_samples(tmp_path, real_samples, store):
    root = tmp_path / "rid"
    shutil.copytree(REAL_RID, root)
    for path in sorted((root / fakes.IMAGES).glob("*.tif")):
        with rasterio.open(path) as file:
            bands, place = file.read(), {"crs": file.crs, "transform": file.transform}
        bands, place, options = store(bands, place)
        path.unlink()
        if "colours" in options:
            write_colours(path, bands, options["colours"], **place)
        elif "suffix" in options:
            png = root / "images_roof_centered_png" / f"{path.stem}.png"
            fakes.write_raster(png, bands)
            a, b, x, d, e, y = (place["transform"] @ Affine.translation(0.5, 0.5))[:6]
            png.with_suffix(".pgw").write_text("\n".join(map(repr, (a, d, b, e, x, y))))
        else:
            fakes.write_raster(path, np.ascontiguousarray(bands), **place, **options)
    if store is upside_down:
        for folder in (fakes.MASKS, "masks_superstructures_reviewed"):
            for path in (root / folder).glob("*.png"):
                rewrite(path, lambda bands: bands[:, ::-1])
    if store is as_png:
        shutil.rmtree(root / fakes.IMAGES)
    restored = RidDataset(root, "all", superstructures=True)
    assert len(restored) == len(real_samples) == 18
    for index, expected in enumerate(real_samples):
        assert_equal(restored[index], expected)
        assert restored.sample_ids[index] == expected["sample_id"]
