import os
import threading
import warnings

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.windows import Window

from app.base.logs import ignore_expected_warnings
from app.data.files.rasters import FileProblem, OpenRasters, check_inside, read_header, read_raster
from tests.support.fakes import RID_TRANSFORM, write_raster

REMEDY = "copy it again"


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 255, (3, 20, 30)).astype(np.uint8)


def test_a_header_says_what_the_file_holds(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels, crs="EPSG:4326", transform=RID_TRANSFORM)
    header = read_header(path, tmp_path, REMEDY)
    assert (header.num_bands, header.dtype, header.crs) == (3, "uint8", "EPSG:4326")
    assert (header.height_px, header.width_px, header.size) == (20, 30, "30 x 20")
    assert header.is_rgb
    assert header.bands == "3 bands of uint8"
    west, north = RID_TRANSFORM @ (0, 0)
    east, south = RID_TRANSFORM @ (30, 20)
    assert header.bounds == pytest.approx((west, south, east, north), abs=1e-12)
    assert header.gsd_m == pytest.approx(0.09915, rel=1e-4)


def test_without_georeference_there_is_no_place_and_no_scale(tmp_path, pixels):
    header = read_header(write_raster(tmp_path / "a.png", pixels), tmp_path, REMEDY)
    assert (header.gsd_m, header.bounds, header.crs) == (None, None, None)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (Affine(0.1, 0, 500, 0, -0.1, 900), (500, 898, 503, 900)),
        (Affine(0.1, 0, 500, 0, 0.1, 900), (500, 900, 503, 902)),
        # Turned by a quarter: rows run east.
        (Affine(0, 0.1, 500, 0.1, 0, 900), (500, 900, 502, 903)),
        # By 45 degrees: 30 and 20 pixels, each 0.1 m in x and in y.
        (Affine(0.1, 0.1, 500, 0.1, -0.1, 900), (500, 898, 505, 903)),
    ],
)
def test_bounds_cover_all_of_a_turned_file(tmp_path, pixels, transform, expected):
    path = write_raster(tmp_path / "a.tif", pixels, crs="EPSG:25832", transform=transform)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = read_header(path, tmp_path, REMEDY)
    assert header.bounds == pytest.approx(expected)


def test_pixels_whole_in_a_window_and_by_band(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels)
    np.testing.assert_array_equal(read_raster(path, tmp_path, REMEDY)[1], pixels)
    window = Window(5, 3, 10, 8)
    read = OpenRasters(tmp_path, REMEDY).read(path, window, [3, 1], path.stat().st_size)[1]
    np.testing.assert_array_equal(read, pixels[[2, 0], 3:11, 5:15])


def test_files_beside_a_raster_have_no_say(tmp_path, pixels):
    path = write_raster(tmp_path / "a.tif", pixels)
    write_raster(tmp_path / "a.tif.msk", pixels[:1])
    write_raster(tmp_path / "a.tif.ovr", pixels[:, :10, :15])
    (tmp_path / "a.tfw").write_text("100\n0\n0\n-100\n7\n8\n")
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:25832</SRS><GeoTransform>0,9,0,0,0,-9</GeoTransform></PAMDataset>"
    )
    header, read = read_raster(path, tmp_path, REMEDY)
    assert header.crs is None
    np.testing.assert_array_equal(read, pixels)


def test_a_file_that_only_points_to_another_is_not_followed(tmp_path, pixels):
    write_raster(tmp_path / "secret.tif", pixels)
    virtual = (
        '<VRTDataset rasterXSize="30" rasterYSize="20"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{tmp_path}/secret.tif</SourceFilename><SourceBand>1"
        "</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for name in ("a.tif", "a.png"):
        (tmp_path / name).write_text(virtual)
        with pytest.raises(FileProblem, match=rf"{name}: got an unreadable file"):
            read_raster(tmp_path / name, tmp_path, REMEDY)


@pytest.mark.parametrize(
    ("size", "count", "got"),
    [
        ((60_000, 60_000), 1, "60000 x 60000 pixels, expected at most 4096 x 4096"),
        ((4097, 4096), 1, "4097 x 4096 pixels, expected at most 4096 x 4096"),
        ((4096, 4096), 500, "500 bands of float64, expected at most 4 bands"),
    ],
)
def test_whole_files_are_bounded_and_their_headers_are_not(tmp_path, size, count, got):
    path = tmp_path / "a.tif"
    options = {"width": size[0], "height": size[1], "count": count, "dtype": "float64"}
    with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, bigtiff="yes", **options):
        pass
    assert read_header(path, tmp_path, REMEDY).num_bands == count
    with pytest.raises(FileProblem, match=got):
        read_raster(path, tmp_path, REMEDY)
    window = Window(0, 0, 4, 4)
    read = OpenRasters(tmp_path, REMEDY).read(path, window, [1], path.stat().st_size)[1]
    assert read.shape == (1, 4, 4)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"\x89PNG\r\n\x1a\n", b"<html>404</html>"])
@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_what_is_no_raster_is_named_in_one_line(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(
        FileProblem, match=r"got an unreadable file .*truncated\?; copy it"
    ) as error:
        read_header(path, tmp_path, REMEDY)
    assert error.value.path == path
    sample_error = error.value.to_sample_error("RID", "a")
    assert str(sample_error).startswith(f"RID: {path}: got ")
    assert str(sample_error).isprintable()
    assert (sample_error.sample_id, sample_error.path) == ("a", path)


def test_only_files_in_the_folder_are_inside(tmp_path):
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "file").touch()
    (tmp_path / "secret").touch()
    (tmp_path / "rooted").mkdir()
    (tmp_path / "rooted" / "file").touch()
    (root / "good link").symlink_to("deep/file")
    (root / "bad link").symlink_to("../secret")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    (tmp_path / "to root").symlink_to(root)
    check_inside(root / "deep" / "file", root, REMEDY)
    check_inside(root / "good link", root, REMEDY)
    check_inside(tmp_path / "to root" / "deep" / "file", tmp_path / "to root", REMEDY)
    for name, got in (
        ("bad link", "a link that leads out"),
        ("../secret", "a link that leads out"),
        # Begins like the root's name.
        ("../rooted/file", "a link that leads out"),
        ("dangling", r"no such file \(No such file"),
        ("loop", "no such file"),
        ("deep", "a folder"),
        ("pipe", "neither file nor folder"),
    ):
        with pytest.raises(FileProblem, match=got):
            check_inside(root / name, root, REMEDY)


def test_names_that_are_no_utf8_are_a_problem_and_no_crash(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.tif")
    write_raster(tmp_path / "a.tif", np.zeros((3, 4, 4), np.uint8)).rename(path)
    with pytest.raises(FileProblem) as error:
        read_raster(path, tmp_path, REMEDY)
    message = str(error.value.to_sample_error("RID", "x"))
    assert r"\udcff.tif: got a name that is not UTF-8" in message
    assert message.endswith("; rename the folder")


@pytest.mark.parametrize(
    ("transform", "got"),
    [
        (Affine(0.1, 0, 500, 0, -0.2, 900), "0.1 x 0.2 m"),
        (Affine(0.1, 0, 500, 0, 0, 900), "0.1 x 0 m"),
    ],
)
def test_pixels_that_are_no_squares_are_a_problem(tmp_path, pixels, transform, got):
    path = write_raster(tmp_path / "a.tif", pixels, crs="EPSG:25832", transform=transform)
    with pytest.raises(FileProblem, match=rf"a\.tif: got a georeference of {got} per pixel, exp"):
        read_header(path, tmp_path, REMEDY)


def test_threads_may_read_at_once_without_a_warning(tmp_path, pixels):
    paths = [write_raster(tmp_path / f"{index}.tif", pixels) for index in range(4)]
    failures = []

    def read(path):
        for _ in range(25):
            if not np.array_equal(read_raster(path, tmp_path, REMEDY)[1], pixels):
                failures.append(path)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ignore_expected_warnings()
        threads = [threading.Thread(target=read, args=(path,)) for path in paths]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert [str(warning.message) for warning in caught if "georef" in str(warning.message)] == []
