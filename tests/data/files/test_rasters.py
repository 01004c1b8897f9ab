import re

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from app.data.files.header import read_header
from app.data.files.problems import FileProblem
from app.data.files.rasters import OpenRasters, StoredRaster, read_label, read_photo
from app.data.files.turns import AS_STORED, Turn
from tests.support.fakes import write_raster
from tests.support.rasters import south_up, turned, write_colours, write_mask

REMEDY = "copy it again"
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(1, 255, (3, 20, 30)).astype(np.uint8)
CLASSES = RNG.integers(0, 18, (1, 20, 30)).astype(np.uint8)
UTM = {"crs": "EPSG:25832", "transform": Affine(0.1, 0, 7e5, 0, -0.1, 5.3e6)}
RED, GREEN, BLUE = ColorInterp.red, ColorInterp.green, ColorInterp.blue


@pytest.fixture
def photo(tmp_path):
    """Reads a photo whole, and in two windows, which must give the same."""

    def read(path):
        header, whole = read_photo(path, tmp_path, REMEDY, 0.1)
        turn = header.georeference.turn if header.georeference else AS_STORED
        stored = StoredRaster(path, header.height_px, header.width_px, turn, path.stat().st_size)
        rasters = OpenRasters(tmp_path, REMEDY)
        for window in (Window(2, 1, 12, 7), Window(0, 0, header.width_px, header.height_px)):
            rows, columns = window.toslices()
            image, seen = rasters.read_photo(stored, window)
            np.testing.assert_array_equal(image, whole.image[:, rows, columns])
            expected = np.True_ if whole.seen is None else whole.seen[rows, columns]
            np.testing.assert_array_equal(np.True_ if seen is None else seen, expected)
        return whole

    return read


@pytest.fixture
def label(tmp_path):
    """Reads a label whole."""

    def read(path, classes=range(18), photo_options=UTM):
        photo_path = tmp_path / "photo.tif"
        if not photo_path.exists():
            write_raster(photo_path, PIXELS, **photo_options)
        header = read_header(photo_path, tmp_path, REMEDY)
        return read_label(path, tmp_path, REMEDY, header, classes)

    return read


# --- Bands by what they are declared to be ---


def test_red_green_and_blue_are_where_the_file_says(tmp_path, photo):
    path = tmp_path / "a.tif"
    infrared = PIXELS[:1] // 2
    np.testing.assert_array_equal(photo(write_raster(path, PIXELS)).image, PIXELS)
    for bands, colours in (
        (PIXELS[::-1], [BLUE, GREEN, RED]),
        (np.concatenate((infrared, PIXELS)), [ColorInterp.nir, RED, GREEN, BLUE]),
        (np.concatenate((infrared, PIXELS[::-1])), [ColorInterp.undefined, BLUE, GREEN, RED]),
        (np.concatenate((PIXELS, infrared)), [RED, GREEN, BLUE, ColorInterp.undefined]),
        (
            np.concatenate((PIXELS, infrared, infrared)),
            [RED, GREEN, BLUE, ColorInterp.nir, ColorInterp.rededge],
        ),
    ):
        read = photo(write_colours(path, bands, colours))
        np.testing.assert_array_equal(read.image, PIXELS)
        assert read.seen is None


@pytest.mark.parametrize(
    ("options", "bands", "got", "remedy"),
    [
        (
            {"photometric": "MINISBLACK"},
            PIXELS,
            "3 bands of uint8 (gray, undefined, undefined)",
            "`gdal_translate -colorinterp red,green,blue a.tif rgb.tif`",
        ),
        (
            {"photometric": "MINISBLACK", "alpha": "NO"},
            np.concatenate((PIXELS, PIXELS[:1])),
            "4 bands of uint8 (gray, undefined, undefined, undefined)",
            "`gdal_translate -b 1 -b 2 -b 3 -colorinterp red,green,blue a.tif rgb.tif`",
        ),
        ({}, PIXELS[:1], "1 band of uint8 (gray)", REMEDY),
        (
            {"photometric": "CMYK"},
            np.concatenate((PIXELS, PIXELS[:1])),
            "4 bands of uint8 in CMYK (red, green, blue, alpha)",
            "`gdal_translate -b 1 -b 2 -b 3 a.tif rgb.tif`",
        ),
        ({"photometric": "MINISWHITE"}, PIXELS[:1], "1 band of uint8 in MINISWHITE", ""),
        ({"nbits": 4}, PIXELS // 16, "3 bands of uint8 (red, green, blue) with 4 bits", "-ot Byte"),
        ({}, PIXELS.astype(np.uint16), "3 bands of uint16", "`gdal_translate -ot Byte -scale"),
    ],
)
def test_a_photo_without_red_green_and_blue_is_refused(tmp_path, options, bands, got, remedy):
    path = write_raster(tmp_path / "a.tif", bands, **options)
    with pytest.raises(FileProblem, match=re.escape(f"a.tif: got {got}")) as error:
        read_photo(path, tmp_path, REMEDY, 0.1)
    assert "expected 3 bands (R, G, B) of uint8" in str(error.value)
    assert remedy in str(error.value)


def test_colours_stored_as_jpeg_does_are_colours(tmp_path, photo):
    smooth = np.full((3, 64, 64), 90, np.uint8)
    smooth[0] = 200
    path = write_raster(tmp_path / "a.tif", smooth, photometric="YCBCR", compress="JPEG")
    np.testing.assert_allclose(photo(path).image.astype(int), smooth, atol=2)


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_a_photo_of_a_colour_table_has_its_colours(tmp_path, photo, name):
    table = {0: (10, 20, 30, 255), 1: (200, 100, 50, 255), 2: (9, 9, 9, 0)}
    indices = np.zeros((1, 20, 30), np.uint8)
    indices[:, 5:], indices[:, :, 20:] = 1, 2
    path = write_colour_table(tmp_path / name, indices, table)
    read = photo(path)
    assert read.image[:, 0, 0].tolist() == [10, 20, 30]
    assert read.image[:, 9, 9].tolist() == [200, 100, 50]
    # A TIFF's table has no alpha.
    if name == "a.png":
        np.testing.assert_array_equal(read.seen, indices[0] != 2)


def write_colour_table(path, indices, table, **options):
    driver = "PNG" if path.suffix == ".png" else "GTiff"
    size = {"count": 1, "height": indices.shape[1], "width": indices.shape[2], "dtype": "uint8"}
    with rasterio.open(path, "w", driver=driver, **size, **options) as file:
        file.write_colormap(1, table)
        file.write(indices)
    return path


# --- What is seen ---


def collar():
    """(20, 30), the left third is not shown."""
    shown = np.ones((20, 30), np.bool_)
    shown[:, :10] = False
    return shown


def write_alpha(path):
    alpha = np.where(collar(), 255, 0).astype(np.uint8)
    # Less than half opaque is not seen, half is.
    alpha[0, :10], alpha[1, :10] = 127, 128
    write_raster(path, np.concatenate((PIXELS, alpha[None])), photometric="RGB", alpha="YES")
    return alpha >= 128


def write_nodata(path):
    bands = PIXELS.copy()
    bands[:, ~collar()] = 0
    bands[0, 5, 5] = 7  # one band that is not 0 is a colour
    write_raster(path, bands, nodata=0, **({} if path.suffix == ".png" else UTM))
    shown = collar()
    shown[5, 5] = True
    return shown


def write_inside(path):
    write_raster(path, PIXELS, photometric="RGB")
    write_mask(path, collar(), inside=True)
    return collar()


def write_beside(path):
    write_raster(path, PIXELS, photometric="RGB")
    write_mask(path, collar(), inside=False)
    assert path.with_name("a.tif.msk").is_file()
    return collar()


@pytest.mark.parametrize("write", [write_alpha, write_nodata, write_inside, write_beside])
def test_what_a_photo_declares_as_empty_is_not_seen(tmp_path, photo, write):
    path = tmp_path / "a.tif"
    shown = write(path)
    read = photo(path)
    np.testing.assert_array_equal(read.seen, shown)
    np.testing.assert_array_equal(read.image[:, 15:, 12:], PIXELS[:, 15:, 12:])


@pytest.mark.parametrize("write", [write_alpha, write_nodata])
def test_what_a_png_declares_as_empty_is_not_seen(tmp_path, photo, write):
    path = tmp_path / "a.png"
    if write is write_nodata:
        shown = write(path)
    else:
        alpha = np.where(collar(), 255, 0).astype(np.uint8)[None]
        write_raster(path, np.concatenate((PIXELS, alpha)))
        shown = collar()
    np.testing.assert_array_equal(photo(path).seen, shown)


def test_a_photo_all_of_which_is_seen_says_so(tmp_path, photo):
    opaque = np.full((1, 20, 30), 255, np.uint8)
    bands = np.concatenate((PIXELS, opaque))
    assert (
        photo(write_raster(tmp_path / "a.tif", bands, photometric="RGB", alpha="YES")).seen is None
    )


@pytest.mark.parametrize(
    ("alpha", "got"),
    [
        (np.zeros((1, 20, 30), np.uint8), "nothing but what is declared as empty"),
        (np.ones((1, 20, 30), np.uint8), "alpha between 1 and 1, most of it neither 0 nor 255"),
        (PIXELS[:1], "most of it neither 0 nor 255"),
    ],
)
def test_alpha_that_is_none_is_refused(tmp_path, alpha, got):
    bands = np.concatenate((PIXELS, alpha))
    path = write_raster(tmp_path / "a.tif", bands, photometric="RGB", alpha="YES")
    with pytest.raises(FileProblem, match=got):
        read_photo(path, tmp_path, REMEDY, 0.1)


def test_a_mask_beside_of_another_size_is_a_problem(tmp_path):
    path = write_raster(tmp_path / "a.tif", PIXELS)
    write_raster(tmp_path / "a.tif.msk", PIXELS[:1, :10])
    with pytest.raises(
        FileProblem, match=r"a\.tif\.msk: got a mask of 30 x 10 pixels, expected 30"
    ):
        read_photo(path, tmp_path, REMEDY, 0.1)


def test_smaller_copies_beside_a_raster_have_no_say(tmp_path, photo):
    path = write_raster(tmp_path / "a.tif", PIXELS)
    write_raster(tmp_path / "a.tif.ovr", PIXELS[:, :10, :15])
    np.testing.assert_array_equal(photo(path).image, PIXELS)


# --- North up ---


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_photos_stored_any_way_round_are_north_up(tmp_path, photo, quarters):
    square = PIXELS[:, :, :20]
    alpha = np.full((1, 20, 20), 255, np.uint8)
    alpha[:, :4, :7] = 0
    stored = np.rot90(np.concatenate((square, alpha)), quarters, (1, 2))
    place = {**UTM, "transform": turned(UTM["transform"], quarters, 20)}
    path = write_raster(tmp_path / "a.tif", stored, photometric="RGB", alpha="YES", **place)
    read = photo(path)
    np.testing.assert_array_equal(read.image, square)
    np.testing.assert_array_equal(read.seen, alpha[0] > 0)


@pytest.mark.parametrize("swap", [False, True])
def test_a_photo_that_is_no_square_is_turned_as_well(tmp_path, photo, swap):
    stored, transform = PIXELS[:, ::-1], south_up(UTM["transform"], 20)
    if swap:
        stored, transform = stored.swapaxes(1, 2), transform @ Affine(0, 1, 0, 1, 0, 0)
    path = write_raster(
        tmp_path / "a.tif", np.ascontiguousarray(stored), **{**UTM, "transform": transform}
    )
    np.testing.assert_array_equal(photo(path).image, PIXELS)


def test_a_label_is_laid_on_its_photo(tmp_path, label):
    upside_down = {**UTM, "transform": south_up(UTM["transform"], 20)}
    path = write_raster(tmp_path / "a.tif", CLASSES[:, ::-1], **upside_down)
    np.testing.assert_array_equal(label(path).values, CLASSES[0])
    plain = write_raster(tmp_path / "b.png", CLASSES)
    np.testing.assert_array_equal(label(plain).values, CLASSES[0])
    (tmp_path / "photo.tif").unlink()
    # Without a place of its own it has the rows of its photo, which are turned now.
    np.testing.assert_array_equal(label(plain, photo_options=upside_down).values, CLASSES[0, ::-1])


# --- What the numbers of labels mean ---


def test_labels_are_their_numbers(tmp_path, label):
    table = {value: (200 - value, value, 7 * value, 255) for value in range(18)}
    for path in (
        write_raster(tmp_path / "a.tif", CLASSES),
        write_raster(tmp_path / "b.tif", np.repeat(CLASSES, 3, axis=0)),
        write_colour_table(tmp_path / "c.png", CLASSES, table),
        write_colour_table(tmp_path / "d.tif", CLASSES, table),
    ):
        read = label(path)
        np.testing.assert_array_equal(read.values, CLASSES[0])
        assert read.seen is None


def test_one_bit_is_enough_for_two_classes_and_for_no_more(tmp_path, label):
    bits = (CLASSES > 8).astype(np.uint8)
    path = write_raster(tmp_path / "a.tif", bits, nbits=1)
    np.testing.assert_array_equal(label(path, classes={0, 1}).values, bits[0])
    with pytest.raises(FileProblem, match="got 1 bits a pixel, which cannot hold class 17"):
        label(path)


def test_a_label_in_which_0_is_white_is_refused(tmp_path, label):
    for options in ({}, {"nbits": 1, "compress": "CCITTFAX4"}):
        bits = (CLASSES > 8).astype(np.uint8)
        path = write_raster(tmp_path / "a.tif", bits, photometric="MINISWHITE", **options)
        with pytest.raises(FileProblem, match=r"1 band of uint8 in MINISWHITE.*MINISBLACK a\.tif"):
            label(path, classes={0, 1})


def test_a_label_of_colours_is_refused_with_what_was_found(tmp_path, label):
    colours = np.full((3, 20, 30), 255, np.uint8)  # a street
    colours[:2, 5:9, 3:20] = 0  # a building of ISPRS
    colours[0, 12:] = 0  # grass
    path = write_raster(tmp_path / "a.tif", colours)
    with pytest.raises(FileProblem, match="got 3 bands that differ, as colours do: ") as error:
        label(path)
    for found in ("(255, 255, 255) 48.7%", "(0, 255, 255) 40.0%", "(0, 0, 255) 11.3%"):
        assert found in str(error.value)
    assert "gdal_calc.py -A a.tif --A_band=1 -B a.tif --B_band=2 -C a.tif " in str(error.value)
    assert "--calc='(A==0)*(B==0)*(C==255)'" in str(error.value)


@pytest.mark.parametrize("inside", [True, False, None])
def test_what_a_label_declares_as_empty_is_not_seen(tmp_path, label, inside):
    path = tmp_path / "a.tif"
    values = np.where(collar(), CLASSES, 255).astype(np.uint8)
    write_raster(path, values, **({"nodata": 255} if inside is None else {}))
    if inside is not None:
        write_mask(path, collar(), inside=inside)
    read = label(path)
    np.testing.assert_array_equal(read.seen, collar())
    np.testing.assert_array_equal(read.values[:, 10:], CLASSES[0, :, 10:])


def test_alpha_of_a_label_hides_it(tmp_path, label):
    alpha = np.where(collar(), 255, 0).astype(np.uint8)[None]
    path = write_raster(tmp_path / "a.png", np.concatenate((CLASSES, alpha)))
    np.testing.assert_array_equal(label(path).seen, collar())


def test_a_class_cannot_stand_for_nothing(tmp_path, label):
    path = write_raster(tmp_path / "a.tif", CLASSES, nodata=0)
    with pytest.raises(
        FileProblem, match=r"got 0 declared as nodata, which is a class.*unsetnodata"
    ):
        label(path)


# --- Limits ---


@pytest.mark.parametrize(
    ("size", "got"),
    [
        ((60_000, 60_000), "60000 x 60000 pixels, expected at most 4096 x 4096"),
        ((4097, 4096), "4097 x 4096 pixels, expected at most 4096 x 4096"),
    ],
)
def test_whole_files_are_bounded_and_their_headers_are_not(tmp_path, size, got):
    path = tmp_path / "a.tif"
    options = {"width": size[0], "height": size[1], "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, bigtiff="yes", **options):
        pass
    assert read_header(path, tmp_path, REMEDY).num_bands == 3
    with pytest.raises(FileProblem, match=got):
        read_photo(path, tmp_path, REMEDY, 0.1)
    stored = StoredRaster(path, size[1], size[0], AS_STORED, path.stat().st_size)
    window = OpenRasters(tmp_path, REMEDY).read_photo(stored, Window(0, 0, 4, 4))
    assert window.values.shape == (3, 4, 4)


def test_a_file_that_only_points_to_another_is_not_followed(tmp_path):
    write_raster(tmp_path / "secret.tif", PIXELS)
    virtual = (
        '<VRTDataset rasterXSize="30" rasterYSize="20"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{tmp_path}/secret.tif</SourceFilename><SourceBand>1"
        "</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for name in ("a.tif", "a.png"):
        (tmp_path / name).write_text(virtual)
        with pytest.raises(FileProblem, match=rf"{name}: got an unreadable file"):
            read_photo(tmp_path / name, tmp_path, REMEDY, 0.1)


def test_a_file_exchanged_for_one_of_another_size_is_a_problem(tmp_path):
    path = write_raster(tmp_path / "a.tif", PIXELS)
    stored = StoredRaster(path, 20, 31, Turn(), path.stat().st_size)
    with pytest.raises(FileProblem, match="got 30 x 20 pixels, expected 31 x 20, as when the job"):
        OpenRasters(tmp_path, REMEDY).read_photo(stored, Window(0, 0, 4, 4))
