import os
import threading
import warnings

import numpy as np
import pytest
from rasterio import Affine

from app.base.logs import ignore_expected_warnings
from app.data.files.header import open_raster, read_header
from app.data.files.problems import FileProblem, check_inside
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
    assert header.bands == "3 bands of uint8 (red, green, blue)"
    west, north = RID_TRANSFORM @ (0, 0)
    east, south = RID_TRANSFORM @ (30, 20)
    assert header.bounds == pytest.approx((west, south, east, north), abs=1e-12)
    assert header.gsd_m == pytest.approx(0.09915, rel=1e-4)


def test_without_georeference_there_is_no_place_and_no_scale(tmp_path, pixels):
    header = read_header(write_raster(tmp_path / "a.png", pixels), tmp_path, REMEDY)
    assert (header.gsd_m, header.bounds, header.crs) == (None, None, None)
    assert header.assumed_scale(0.2) == "no georeference, taken as 0.2 m per pixel"


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (Affine(0.1, 0, 500, 0, -0.1, 900), (500, 898, 503, 900)),
        (Affine(0.1, 0, 500, 0, 0.1, 900), (500, 900, 503, 902)),
        # Turned by a quarter: rows run east.
        (Affine(0, 0.1, 500, 0.1, 0, 900), (500, 900, 502, 903)),
    ],
)
def test_bounds_cover_all_of_a_turned_file(tmp_path, pixels, transform, expected):
    path = write_raster(tmp_path / "a.tif", pixels, crs="EPSG:25832", transform=transform)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = read_header(path, tmp_path, REMEDY)
    assert header.bounds == pytest.approx(expected)


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
        read_header(path, tmp_path, REMEDY)
    message = str(error.value.to_sample_error("RID", "x"))
    assert r"\udcff.tif: got a name that is not UTF-8" in message
    assert message.endswith("; rename the folder")


def test_threads_may_read_at_once_without_a_warning(tmp_path, pixels):
    paths = [write_raster(tmp_path / f"{index}.tif", pixels) for index in range(4)]
    failures = []

    def read(path):
        for _ in range(25):
            with open_raster(path, tmp_path, REMEDY) as (_, source):
                if not np.array_equal(source.read(), pixels):
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
