import math

import numpy as np
import pytest
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.warp import transform as to_system

from app.data.files.header import fit_label, read_header
from app.data.files.problems import FileProblem
from app.data.files.turns import AS_STORED, Turn
from tests.support.fakes import RID_TRANSFORM, write_raster
from tests.support.rasters import south_up, turned

REMEDY = "copy it again"
PIXELS = np.random.default_rng(0).integers(0, 255, (3, 20, 30)).astype(np.uint8)
UTM = {"crs": "EPSG:25832", "transform": Affine(0.1, 0, 7e5, 0, -0.1, 5.3e6)}
LOCAL = 'LOCAL_CS["Local Coordinates (m)",LOCAL_DATUM["Local Datum",0],UNIT["metre",1]]'
LOCAL_FEET = 'LOCAL_CS["Site",LOCAL_DATUM["Site",0],UNIT["US survey foot",0.304800609601219]]'


def header_of(folder, name="a.tif", pixels=PIXELS, **options):
    return read_header(write_raster(folder / name, pixels, **options), folder, REMEDY)


def place_at(crs, latitude_deg, longitude_deg, gsd):
    (x,), (y,) = to_system("EPSG:4326", crs, [longitude_deg], [latitude_deg])
    return {"crs": crs, "transform": Affine(gsd, 0, x, 0, -gsd, y)}


def web_mercator_m(latitude_deg):
    """Metres on the ground of a metre of Web Mercator, which maps the ellipsoid as a sphere."""
    latitude = math.radians(latitude_deg)
    e2 = 0.00669438
    bend = 1 - e2 * math.sin(latitude) ** 2
    return math.cos(latitude) * (bend**-0.5 + (1 - e2) * bend**-1.5) / 2


@pytest.mark.parametrize(
    ("options", "gsd_m"),
    [
        # At 48.4 degrees north a degree is 74,047 m of longitude and 111,198 m of latitude:
        # 1.341104e-6 * 74,047 = 0.09930 and 8.903e-7 * 111,198 = 0.09900 m.
        ({"crs": "EPSG:4326", "transform": RID_TRANSFORM}, 0.09915),
        (place_at("EPSG:3857", 48.4, 12, 0.1), 0.1 * web_mercator_m(48.4)),
        (place_at("EPSG:3857", -60, 25, 0.2), 0.2 * web_mercator_m(-60)),
        # On the central meridian of UTM, metres are 0.04 % too short; at 180 km from it, right.
        (place_at("EPSG:25832", 48, 9, 0.1), 0.1 / 0.9996),
        ({"crs": "EPSG:25832", "transform": Affine(0.1, 0, 680_000, 0, -0.1, 5.3e6)}, 0.1),
        # US survey feet, in New York and on a site.
        ({"crs": "EPSG:2263", "transform": Affine(0.5, 0, 1e6, 0, -0.5, 2e5)}, 0.1524),
        ({"crs": CRS.from_wkt(LOCAL_FEET), "transform": Affine(0.5, 0, 9, 0, -0.5, 5)}, 0.1524),
        ({"crs": CRS.from_wkt(LOCAL), "transform": Affine(0.1, 0, 9, 0, -0.1, 5)}, 0.1),
        # Grads, and with heights.
        ({"crs": "EPSG:4807", "transform": Affine(1.5e-6, 0, 2, 0, -1e-6, 54)}, 0.09983),
        ({"crs": "EPSG:5555", "transform": Affine(0.1, 0, 680_000, 0, -0.1, 5.3e6)}, 0.1),
    ],
)
def test_the_size_of_a_pixel_on_the_ground_in_any_reference_system(tmp_path, options, gsd_m):
    header = header_of(tmp_path, **options)
    assert header.gsd_m == pytest.approx(gsd_m, rel=1e-4)
    assert header.assumed_scale(0.075) == ""
    assert header.georeference.turn == AS_STORED


def test_south_africas_grid_runs_west_and_south(tmp_path):
    place = {"crs": "EPSG:2048", "transform": Affine(-0.1, 0, -5000, 0, 0.1, 3.7e6)}
    header = header_of(tmp_path, **place)
    assert header.georeference.turn == AS_STORED
    assert header.gsd_m == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize(
    ("quarters", "turn"),
    [(0, Turn()), (1, Turn(True, False, True)), (2, Turn(False, True, True)),
     (3, Turn(True, True, False))],
)  # fmt: skip
@pytest.mark.parametrize("crs", ["EPSG:25832", "EPSG:4326", None])
def test_quarters_are_turned_back(tmp_path, quarters, turn, crs):
    place = UTM["transform"] if crs != "EPSG:4326" else RID_TRANSFORM
    square = PIXELS[:, :, :20]
    stored = np.rot90(square, quarters, (1, 2))
    options = {"transform": turned(place, quarters, 20)} | ({"crs": crs} if crs else {})
    georeference = header_of(tmp_path, pixels=stored, **options).georeference
    assert georeference.turn == turn
    np.testing.assert_array_equal(georeference.turn.apply(stored), square)
    assert georeference.transform.almost_equals(place, 1e-6)
    north_up = header_of(tmp_path, "b.tif", square, **{**options, "transform": place})
    assert georeference.gsd_m == pytest.approx(north_up.gsd_m, rel=1e-9)
    assert georeference.bounds == pytest.approx(north_up.bounds, abs=1e-9)


def test_rows_from_south_to_north_are_turned(tmp_path):
    transform = south_up(UTM["transform"], 20)
    header = header_of(tmp_path, **{**UTM, "transform": transform})
    assert header.georeference.turn == Turn(flip_rows=True)
    assert header.georeference.transform.almost_equals(UTM["transform"], 1e-6)


@pytest.mark.parametrize(
    ("angle_deg", "is_good"), [(0.9, True), (1.1, False), (45, False), (89.1, True)]
)
def test_what_is_turned_by_more_than_a_degree_is_refused(tmp_path, angle_deg, is_good):
    place = {**UTM, "transform": UTM["transform"] @ Affine.rotation(angle_deg)}
    if is_good:
        assert header_of(tmp_path, **place).gsd_m == pytest.approx(0.1, rel=1e-3)
        return
    with pytest.raises(
        FileProblem,
        match=rf"turned by {angle_deg} degrees, expected north up.*; `gdalwarp .*a\.tif",
    ):
        header_of(tmp_path, **place)


def test_a_grid_that_does_not_point_north_is_refused(tmp_path):
    place = {"crs": "EPSG:3413", "transform": Affine(0.1, 0, 1e6, 0, -0.1, 1e6)}
    with pytest.raises(FileProblem, match=r"grid is 45 degrees off north here.*-t_srs EPSG:CODE"):
        header_of(tmp_path, **place)


@pytest.mark.parametrize(
    ("transform", "got"),
    [
        (Affine(0.1, 0, 7e5, 0, -0.2, 5.3e6), r"0\.09999\d* x 0\.19998\d* m"),
        (Affine(0.1, 0, 7e5, 0, 0, 5.3e6), r"0\.09999\d* x 0 m"),
    ],
)
def test_pixels_that_are_no_squares_are_a_problem(tmp_path, transform, got):
    with pytest.raises(FileProblem, match=rf"a\.tif: got a georeference of {got} per pixel, exp"):
        header_of(tmp_path, crs="EPSG:25832", transform=transform)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"crs": "EPSG:4978", "transform": Affine(1, 0, 6e6, 0, -1, 9e3)}, "is no map .Geocentric"),
        (
            {"crs": "EPSG:4326", "transform": Affine(1e-6, 0, 11, 0, -1e-6, 5000)},
            "a place outside of the reference system",
        ),
    ],
)
def test_places_that_are_none_name_their_own_cause(tmp_path, options, match):
    with pytest.raises(FileProblem, match=match) as error:
        header_of(tmp_path, **options)
    assert "truncated" not in str(error.value)
    assert "gdal_edit.py -a_srs" in str(error.value)


@pytest.mark.parametrize(
    ("transform", "gsd_m", "assumed"),
    [
        (UTM["transform"], 0.1, "no coordinate reference system, taken as metres"),
        (RID_TRANSFORM, 0.09915, "no coordinate reference system, taken as degrees"),
    ],
)
def test_a_transform_without_reference_system_is_used_and_named(
    tmp_path, transform, gsd_m, assumed
):
    header = header_of(tmp_path, transform=transform)
    assert header.gsd_m == pytest.approx(gsd_m, rel=1e-4)
    assert header.assumed_scale(0.075) == assumed
    assert header.crs is None


@pytest.mark.parametrize(
    ("name", "world_name"),
    [("a.tif", "a.tfw"), ("a.tif", "a.TFW"), ("a.tif", "a.wld"), ("a.tiff", "a.tfw"),
     ("a.png", "a.pgw"), ("a.PNG", "a.PGW")],
)  # fmt: skip
def test_a_world_file_is_used_and_named(tmp_path, name, world_name):
    (tmp_path / world_name).write_text("0.25\n0\n0\n-0.25\n700000\n5300000\n")
    header = header_of(tmp_path, name)
    assert header.gsd_m == 0.25
    # It counts from the middle of the first pixel.
    assert header.bounds == (699_999.875, 5_299_995.125, 700_007.375, 5_300_000.125)
    assert header.assumed_scale(0.1) == "no coordinate reference system, taken as metres"


def test_what_a_file_says_itself_goes_before_what_lies_beside_it(tmp_path):
    (tmp_path / "a.tfw").write_text("0.25\n0\n0\n-0.25\n700000\n5300000\n")
    assert header_of(tmp_path, **UTM).gsd_m == pytest.approx(0.1, rel=1e-3)


def test_gdals_text_beside_a_png_has_its_reference_system(tmp_path):
    path = write_raster(tmp_path / "a.png", PIXELS, **UTM)
    assert (tmp_path / "a.png.aux.xml").is_file()
    header = read_header(path, tmp_path, REMEDY)
    assert header.crs == "EPSG:25832"
    assert header.georeference.transform == UTM["transform"]
    (tmp_path / "a.png.aux.xml").write_text("<PAMDataset><GeoTransform>1</GeoTransform>")
    assert read_header(path, tmp_path, REMEDY).georeference is None


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"0.25\nof what?\n", "a world file beside it that holds"), (b"0.1\n0\n", "six numbers"),
     (b"0" * 2**21, "more than 1048576 bytes")],
)  # fmt: skip
def test_a_world_file_that_is_none_is_a_problem(tmp_path, content, match):
    (tmp_path / "a.tfw").write_bytes(content)
    with pytest.raises(FileProblem, match=match):
        header_of(tmp_path)


def test_a_world_file_outside_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "outside.tfw").write_text("0.25\n0\n0\n-0.25\n700000\n5300000\n")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.tfw").symlink_to(tmp_path / "outside.tfw")
    with pytest.raises(FileProblem, match=r"a\.tfw: got a link that leads out"):
        header_of(tmp_path / "root")


def control_points(*, bend_px=0.0):
    corners = [(0, 0), (0, 30), (20, 0), (20, 30), (10, 15)]
    return [
        GroundControlPoint(row, column, 7e5 + column / 4, 5.3e6 - (row + bend_px * (row == 10)) / 4)
        for row, column in corners
    ]


def test_control_points_give_the_scale(tmp_path):
    header = header_of(tmp_path, crs="EPSG:25832", gcps=control_points())
    assert header.gsd_m == pytest.approx(0.25, rel=1e-3)
    assert (header.crs, header.assumed_scale(0.1)) == ("EPSG:25832", "")


def test_control_points_of_no_straight_grid_are_refused(tmp_path):
    with pytest.raises(
        FileProblem, match=r"5 control points up to .* pixels off.*`gdalwarp a\.tif"
    ):
        header_of(tmp_path, crs="EPSG:25832", gcps=control_points(bend_px=8))


def test_photos_moved_away_from_their_place_have_their_nominal_scale_and_it_is_named(tmp_path):
    place = {"crs": "EPSG:2193", "transform": Affine(0.15, 0, 0, 0, -0.15, 0)}
    header = header_of(tmp_path, **place)
    assert header.gsd_m == 0.15
    assert "far from all that EPSG:2193 is made for" in header.assumed_scale(0.1)


@pytest.fixture
def pair(tmp_path):
    """Makes the turn of a label on its photo, from the options of both."""

    def fit(photo, label, label_pixels=PIXELS):
        return fit_label(
            header_of(tmp_path, "label.tif", label_pixels[:1], **label),
            header_of(tmp_path, "photo.tif", **photo),
            REMEDY,
        )

    return fit


@pytest.mark.parametrize(
    "label",
    [
        UTM,
        # Rounded by half a pixel, as point and area differ.
        {**UTM, "transform": UTM["transform"] @ Affine.translation(0.35, 0.35)},
        {**UTM, "crs": "EPSG:32632"},
        {"transform": UTM["transform"]},
        {},
    ],
)
def test_a_label_of_the_photos_place_fits(pair, label):
    assert pair(UTM, label) == AS_STORED


def test_a_label_says_itself_how_it_is_stored_or_has_its_photos_rows(pair):
    upside_down = {**UTM, "transform": south_up(UTM["transform"], 20)}
    assert pair(UTM, upside_down) == Turn(flip_rows=True)
    assert pair(upside_down, UTM) == AS_STORED
    assert pair(upside_down, {}) == Turn(flip_rows=True)
    assert pair(upside_down, upside_down) == Turn(flip_rows=True)
    quarter = {**UTM, "transform": UTM["transform"] @ Affine(0, 1, 0, 1, 0, 0)}
    assert pair(quarter, {}) == Turn(swap_axes=True)
    assert pair(quarter, UTM, PIXELS.swapaxes(1, 2)) == AS_STORED


@pytest.mark.parametrize(
    ("label", "off"),
    [
        ({**UTM, "transform": UTM["transform"] @ Affine.translation(0, 0.6)}, "0.6 pixels off"),
        ({**UTM, "transform": UTM["transform"] @ Affine.translation(200, 0)}, "200 pixels off"),
        # A little coarser: the corner far away is off.
        ({**UTM, "transform": UTM["transform"] @ Affine.scale(1.03)}, "pixels off"),
        ({**UTM, "crs": "EPSG:25833"}, "pixels off"),
        ({"crs": CRS.from_wkt(LOCAL), "transform": UTM["transform"]}, "nowhere near"),
    ],
)
def test_a_label_of_another_place_is_refused_with_both(pair, label, off):
    with pytest.raises(FileProblem, match=r"label\.tif: got a label whose upper left at") as error:
        pair(UTM, label)
    assert off in str(error.value)
    assert "photo.tif, upper left at (700000, 5300000) in EPSG:25832" in str(error.value)


def test_a_label_that_is_not_north_up_needs_a_photo_that_says_so_too(pair):
    upside_down = {**UTM, "transform": south_up(UTM["transform"], 20)}
    assert pair({}, UTM) == AS_STORED
    with pytest.raises(FileProblem, match=r"not stored north up, expected one in .*photo\.tif"):
        pair({}, upside_down)


def test_a_label_of_another_size_is_refused(pair):
    with pytest.raises(FileProblem, match="got 20 x 20 pixels, expected 30 x 20, the size of"):
        pair(UTM, {}, PIXELS[:, :, :20])
