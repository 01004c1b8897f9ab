"""Photos in files: read by windows at the network's distance, north up, with what they show."""

import numpy as np
import pytest
from rasterio import Affine
from rasterio.enums import ColorInterp

from app.base.window import Window
from app.data.files.problems import FileProblem
from app.inference.photo_source import open_photo
from tests.support.fakes import write_raster
from tests.support.rasters import turned, write_colours

SIDE = 80
UTM = Affine(0.1, 0, 691000, 0, -0.1, 5334000)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(1, 256, (3, SIDE, SIDE)).astype(np.uint8)


def write(path, pixels, transform=UTM, crs="EPSG:32632", **options):
    return write_raster(path, pixels, transform=transform, crs=crs, **options)


def read_whole(photo):
    return photo.read(Window(0, 0, photo.height_px, photo.width_px))


def test_a_photo_at_the_networks_distance_is_read_as_it_is(tmp_path, pixels):
    photo = open_photo(write(tmp_path / "a.tif", pixels), 0.1)
    image, seen = photo.read(Window(5, 7, 30, 20))
    np.testing.assert_array_equal(image.numpy(), pixels[:, 5:35, 7:27])
    assert seen is None
    assert photo.grid is photo.own_grid
    assert (photo.grid.transform, photo.grid.crs) == (UTM, "EPSG:32632")


@pytest.mark.parametrize(("gsd_m", "side"), [(0.2, 40), (0.05, 160), (0.13, 62)])
def test_another_distance_covers_the_same_ground(tmp_path, pixels, gsd_m, side):
    photo = open_photo(write(tmp_path / "a.tif", pixels), gsd_m)
    assert (photo.height_px, photo.width_px) == (side, side)
    assert photo.grid.gsd_m == gsd_m
    corners = [photo.grid.transform @ corner for corner in ((0, 0), (side, side))]
    np.testing.assert_allclose(corners, [UTM @ (0, 0), UTM @ (SIDE, SIDE)], atol=1e-6)
    image, _ = read_whole(photo)
    assert abs(float(image.float().mean()) - pixels.mean()) < 1


def test_a_metre_of_web_mercator_is_none_on_the_ground(tmp_path, pixels):
    # At 60 degrees north it is half of one.
    place = Affine(0.2, 0, 1113195, 0, -0.2, 8399738)
    photo = open_photo(write(tmp_path / "a.tif", pixels, place, "EPSG:3857"), 0.1)
    assert photo.own_grid.gsd_m == pytest.approx(0.1, rel=0.005)
    assert photo.height_px == SIDE


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("gsd_m", [0.1, 0.17])
def test_a_photo_that_is_stored_on_its_side_is_read_north_up(tmp_path, pixels, quarters, gsd_m):
    upright = open_photo(write(tmp_path / "a.tif", pixels), gsd_m)
    path = write(
        tmp_path / "b.tif", np.rot90(pixels, quarters, (1, 2)), turned(UTM, quarters, SIDE)
    )
    photo = open_photo(path, gsd_m)
    assert photo.grid.transform.almost_equals(upright.grid.transform, 1e-6)
    window = Window(3, 8, 20, 11)
    np.testing.assert_array_equal(photo.read(window)[0], upright.read(window)[0])


def test_a_world_file_beside_it_counts(tmp_path, pixels):
    path = write_raster(tmp_path / "a.png", pixels)
    with pytest.raises(FileProblem, match=r"no word of its scale.*give its gsd_m .*--gsd-m"):
        open_photo(path, 0.1)
    assert open_photo(path, 0.1, 0.2).height_px == 2 * SIDE
    path.with_suffix(".pgw").write_text("0.2\n0\n0\n-0.2\n691000.1\n5333999.9\n")
    photo = open_photo(path, 0.1)
    assert photo.height_px == 2 * SIDE
    assert photo.grid.crs is None
    assert "taken as metres" in photo.assumed


def _alpha(path, pixels, shown):
    bands = np.concatenate((pixels, np.where(shown, 255, 0).astype(np.uint8)[None]))
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    return write_colours(path, bands, colours, transform=UTM, crs="EPSG:32632")


def _nodata(path, pixels, shown):
    return write(path, np.where(shown, pixels, 0).astype(np.uint8), nodata=0)


@pytest.mark.parametrize("kind", [_alpha, _nodata])
@pytest.mark.parametrize("gsd_m", [0.1, 0.2])
def test_what_is_no_data_is_known_and_black(tmp_path, pixels, kind, gsd_m):
    shown = np.zeros((SIDE, SIDE), bool)
    shown[:40, 20:] = True
    photo = open_photo(kind(tmp_path / "a.tif", pixels, shown), gsd_m)
    image, seen = read_whole(photo)
    step = round(gsd_m / 0.1)
    np.testing.assert_array_equal(seen.numpy(), shown[::step, ::step])
    assert not image[:, ~seen].any()
    assert (image[:, seen] > 0).all()
    assert not photo.read(Window(30, 0, 8, 8))[1].any() if step == 2 else True


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        (np.zeros((3, 8, 8), np.uint16), r"uint16 .*expected 3 bands .*; `gdal_translate -ot Byte"),
        (np.zeros((1, 8, 8), np.uint8), r"got 1 band of uint8 \(gray\), expected 3 bands"),
    ],
)
def test_what_is_no_photo_is_one_line(tmp_path, bands, message):
    path = write(tmp_path / "a.tif", bands)
    with pytest.raises(FileProblem, match=message) as caught:
        open_photo(path, 0.1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("transform", "crs", "message"),
    [
        (UTM @ Affine.rotation(7), "EPSG:32632", r"turned by 7 degrees.*gdalwarp"),
        (UTM, 'LOCAL_CS["x",UNIT["metre",1]]', None),
        (
            Affine(9, 0, 691000, 0, -9, 5334000),
            "EPSG:32632",
            r"got a georeference of 8.99955 m per pixel, expected 0.01 to 1.0 m",
        ),
    ],
)
def test_a_place_that_is_none_is_one_line(tmp_path, pixels, transform, crs, message):
    path = write(tmp_path / "a.tif", pixels, transform, crs)
    if message is None:
        assert open_photo(path, 0.1).own_grid.gsd_m == pytest.approx(0.1)
        return
    with pytest.raises(FileProblem, match=message):
        open_photo(path, 0.1)


def test_a_truncated_photo_is_an_error_and_not_black(tmp_path, pixels):
    path = write(tmp_path / "a.tif", pixels)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 6000])
    with pytest.raises(FileProblem, match="truncated"):
        read_whole(open_photo(path, 0.1))


def test_no_such_photo(tmp_path):
    with pytest.raises(FileProblem, match=r"got no such file"):
        open_photo(tmp_path / "a.tif", 0.1)
