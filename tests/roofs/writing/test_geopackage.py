"""NAME_roofs.gpkg: layers, fields, styles, and equal bytes for equal roofs."""

import contextlib
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pytest
import shapely

from app.base.azimuth import BIN_NAMES
from app.base.tasks import find_task
from app.roofs.model import Roofs
from app.roofs.writing.geopackage import write_geopackage
from app.roofs.writing.styles import build_style, direction_expression
from tests.support.roof_outputs import (
    ORIGIN,
    SIDE_PX,
    UTM,
    make_roofs,
    no_roofs,
    with_cut_garage,
    without_heights,
)


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpkg") / "village_roofs.gpkg"
    write_geopackage(path, make_roofs(), ORIGIN)
    return path


def read(path: Path, layer: str) -> tuple[dict[str, Any], list[Any], dict[str, list[Any]]]:
    """What is stored: about the layer, its shapes, its fields."""
    meta, _, wkb, data = pyogrio.raw.read(path, layer=layer)
    fields = {str(name): values.tolist() for name, values in zip(meta["fields"], data, strict=True)}
    return meta, list(shapely.from_wkb(wkb)), fields


def stored_nulls(path: Path, layer: str, field: str) -> list[bool]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return [row[0] is None for row in database.execute(f"SELECT {field} FROM {layer}")]


def test_layers_and_fields_have_the_names_that_docs_promise(village: Path) -> None:
    assert [name for name, _ in pyogrio.list_layers(village)] == [
        "buildings",
        "planes",
        "lines",
        "layer_styles",
    ]
    assert list(read(village, "planes")[2]) == [
        "plane_id",
        "building_id",
        "azimuth_degrees",
        "azimuth_sd_degrees",
        "pitch_degrees",
        "pitch_sd_degrees",
        "area_m2",
        "ground_area_m2",
        "height_m",
        "confidence",
    ]
    assert list(read(village, "lines")[2]) == [
        "line_id",
        "kind",
        "length_m",
        "ground_length_m",
        "left_plane_id",
        "right_plane_id",
        "building_id",
        "confidence",
        "kind_confidence",
    ]


def test_shapes_and_values_come_back(village: Path) -> None:
    roofs = make_roofs()
    meta, planes, fields = read(village, "planes")
    assert meta["crs"] == UTM
    assert meta["geometry_type"] == "Polygon"
    assert [one.equals(plane.polygon) for one, plane in zip(planes, roofs.planes, strict=True)] == [
        True
    ] * 7
    assert fields["plane_id"] == [1, 2, 3, 4, 5, 6, 7]
    assert fields["area_m2"] == [45.25, 22.63, 45.25, 22.63, 34.64, 34.64, 15.0]
    assert fields["azimuth_degrees"][:6] == [0.0, 90.0, 180.0, 270.0, 0.0, 180.0]
    _, lines, fields = read(village, "lines")
    assert [one.equals(each.line) for one, each in zip(lines, roofs.lines, strict=True)] == [
        True
    ] * 20
    hips = [i for i, kind in enumerate(fields["kind"]) if kind == "hip"]
    assert [fields["length_m"][i] for i in hips] == [6.93] * 4
    assert [fields["ground_length_m"][i] for i in hips] == [5.66] * 4


def test_sums_stand_beside_each_building(village: Path) -> None:
    meta, _, fields = read(village, "buildings")
    assert meta["geometry_type"] == "MultiPolygon"
    assert fields["num_planes"] == [4, 2, 1]
    assert fields["area_m2"] == [135.76, 69.28, 15.0]
    assert fields["ground_area_m2"] == [96.0, 60.0, 15.0]
    assert fields["eave_length_m"] == [40.0, 20.0, 16.0]
    assert fields["rake_length_m"] == [0.0, 13.86, 0.0]
    assert fields["ridge_length_m"] == [4.0, 10.0, 0.0]
    assert fields["hip_length_m"] == [27.71, 0.0, 0.0]
    assert fields["valley_length_m"] == [0.0, 0.0, 0.0]


def test_says_which_building_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    write_geopackage(path, with_cut_garage(make_roofs()), ORIGIN)
    assert read(path, "buildings")[2]["cut"] == [False, False, True]


def test_what_is_not_known_is_null(tmp_path: Path, village: Path) -> None:
    assert stored_nulls(village, "planes", "azimuth_degrees") == [False] * 6 + [True]
    assert stored_nulls(village, "lines", "left_plane_id")[:5] == [True] * 4 + [False]
    path = tmp_path / "a.gpkg"
    write_geopackage(path, without_heights(make_roofs()), ORIGIN)
    for field in ("pitch_degrees", "pitch_sd_degrees", "area_m2", "height_m"):
        assert stored_nulls(path, "planes", field) == [True] * 7
    kinds = read(path, "lines")[2]["kind"]
    assert stored_nulls(path, "lines", "length_m") == [kind in ("hip", "rake") for kind in kinds]
    assert stored_nulls(path, "buildings", "hip_length_m") == [True, False, False]
    assert stored_nulls(path, "buildings", "area_m2") == [True] * 3


def test_equal_roofs_make_equal_bytes(tmp_path: Path, village: Path) -> None:
    again = tmp_path / "again.gpkg"
    write_geopackage(again, make_roofs(), ORIGIN)
    assert again.read_bytes() == village.read_bytes()
    assert b"2026-01-02T00:00:00.000Z" in again.read_bytes()
    write_geopackage(again, without_heights(make_roofs()), ORIGIN)
    assert again.read_bytes() != village.read_bytes()


def test_qgis_finds_a_style_for_each_layer(village: Path) -> None:
    with contextlib.closing(sqlite3.connect(village)) as database:
        rows = database.execute(
            "SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
        columns = dict(
            database.execute("SELECT table_name, column_name FROM gpkg_geometry_columns")
        )
    names = ["buildings", "planes", "lines"]
    assert [row[:3] for row in rows] == [(name, columns[name], 1) for name in names]
    for name, _, _, document in rows:
        root = ElementTree.fromstring(document)
        assert root.tag == "qgis"
        symbols = {symbol.get("name") for symbol in root.iter("symbol")}
        assert {category.get("symbol") for category in root.iter("category")} <= symbols
        assert root.findtext("layerGeometryType") == ("1" if name == "lines" else "2")


def test_styles_have_the_colours_of_the_report() -> None:
    segments, lines = find_task("segments"), find_task("lines")
    expected = dict(zip(segments.class_names, segments.colours, strict=True))
    found = style_colours("planes", "color")
    assert list(found) == [*BIN_NAMES, "flat"]
    assert found == {name: ",".join(map(str, (*expected[name], 150))) for name in found}
    found = style_colours("lines", "line_color")
    assert list(found) == ["eave", "rake", "ridge", "hip", "valley"]
    for kind, colour in zip(lines.class_names, lines.colours, strict=True):
        assert found[kind] == ",".join(map(str, (*colour, 255)))


def test_ridges_are_known_from_eaves_without_their_colour() -> None:
    widths = style_colours("lines", "line_width")
    assert float(widths["ridge"]) > 1.5 * float(widths["eave"])


def style_colours(layer: Any, option: str) -> dict[str, str]:
    """The colour, or another option, on top of each category's symbol."""
    root = ElementTree.fromstring(build_style(layer))
    colours = {}
    for symbol in root.iter("symbol"):
        top = symbol.findall("layer")[-1]
        options = {one.get("name"): one.get("value") for one in top.iter("Option")}
        colours[symbol.get("name")] = str(options[option])
    return {str(one.get("value")): colours[one.get("symbol")] for one in root.iter("category")}


def test_a_direction_is_named_as_elsewhere() -> None:
    # The expression is QGIS's; what it computes is followed here by its own numbers.
    expression = direction_expression()
    assert "array('" + "','".join(BIN_NAMES) + "')" in expression
    assert 'floor(("azimuth_degrees" + 11.25) / 22.5) % 16' in expression


def test_pixels_lie_below_zero_as_qgis_lays_photos(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    roofs = make_roofs(crs=None)
    write_geopackage(path, roofs, ORIGIN)
    _, planes, _ = read(path, "planes")
    points = shapely.get_coordinates(planes)
    assert (points[:, 1] <= 0).all()
    assert (points[:, 1] >= -SIDE_PX).all()
    expected = shapely.get_coordinates([plane.polygon for plane in roofs.planes])
    np.testing.assert_allclose(points * (1, -1), expected)


def test_a_photo_without_roofs_has_empty_layers(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    write_geopackage(path, no_roofs(), ORIGIN)
    for layer in ("buildings", "planes", "lines"):
        meta, shapes, _ = read(path, layer)
        assert shapes == []
        assert meta["crs"] == UTM


@contextlib.contextmanager
def small_disk(num_bytes: int) -> Iterator[None]:
    """Files of this process end there, as where a disk is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("num_bytes", [30_000, 100_000, 150_000])
def test_a_full_disk_leaves_the_earlier_file(num_bytes: int, tmp_path: Path, village: Path) -> None:
    path = tmp_path / "village_roofs.gpkg"
    shutil.copy(village, path)
    with small_disk(num_bytes), pytest.raises(OSError, match=r"roofs\.gpkg"):
        write_geopackage(path, without_heights(make_roofs()), ORIGIN)
    assert path.read_bytes() == village.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="needs ogrinfo (Debian: gdal-bin)")
@pytest.mark.parametrize(("make", "count"), [(make_roofs, 7), (no_roofs, 0)])
def test_gdal_reads_it(make: Any, count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    roofs: Roofs = make()
    write_geopackage(path, roofs, ORIGIN)
    done = subprocess.run(
        ["ogrinfo", "-al", "-so", path], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Warning" not in done.stdout + done.stderr
    assert f"  gsd_m=0.1\n  model={ORIGIN.model}\n" in done.stdout
    assert f"Geometry: Polygon\nFeature Count: {count}\n" in done.stdout
    assert 'ID["EPSG",25832]' in done.stdout
