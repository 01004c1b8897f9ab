"""From rasters without a fault to roofs: what is right about them in metres and degrees."""

import dataclasses
import math

import numpy as np
import pytest
import shapely
from pyproj import Geod
from rasterio import Affine

from app.data.files.problems import FileProblem
from app.data.own.places import grid_north_deg
from app.roofs.evidence import RoofEvidence, StoredLayer
from app.roofs.find import find_roofs
from app.roofs.model import Roofs
from bench.support.roofs.scenes import CORNER, CRS, Village, draw_village
from bench.support.roofs.score import (
    compare_buildings,
    compare_planes,
    length_shares,
    true_planes,
)
from tests.support.fakes import write_raster
from tests.support.roofs import GROUND, SOME_ROOF, classes_of, evidence_of, gable_planes, in_utm


@pytest.fixture(scope="module")
def village() -> Village:
    return draw_village(seed=1, num_buildings=12, size_px=800)


@pytest.fixture(scope="module")
def roofs(village: Village) -> Roofs:
    return find_roofs(village.evidence())


def kinds_of(roofs: Roofs) -> list[str]:
    return sorted(line.kind for line in roofs.lines)


def test_true_rasters_give_true_roofs(village: Village, roofs: Roofs) -> None:
    up_deg = grid_north_deg(CRS, (CORNER[0], CORNER[1] - 80, CORNER[0] + 80, CORNER[1]))
    summary = compare_planes(roofs.planes, true_planes(village, up_deg)).summary()
    assert summary["found_percent"] >= 90
    assert summary["azimuth_median_deg"] <= 1.5
    assert summary["pitch_median_deg"] <= 1.0
    assert summary["azimuth_within_22_percent"] >= 95
    buildings = compare_buildings(roofs, village)
    assert all(error.is_valid for error in buildings)
    assert np.median([error.area for error in buildings]) <= 0.005
    for kind, (_, _, error_of_all) in length_shares(buildings).items():
        assert abs(error_of_all) <= 0.05, kind


def test_planes_lines_and_buildings_know_one_another(roofs: Roofs) -> None:
    planes = {plane.plane_id: plane for plane in roofs.planes}
    assert list(planes) == list(range(1, len(planes) + 1))
    assert [line.line_id for line in roofs.lines] == list(range(1, len(roofs.lines) + 1))
    assert shapely.coverage_is_valid(np.array([plane.polygon for plane in roofs.planes]))
    for line in roofs.lines:
        assert line.left_plane_id is not None
        sides = [planes[i] for i in (line.left_plane_id, line.right_plane_id) if i is not None]
        assert {side.building_id for side in sides} == {line.building_id}
        # Lines are the planes' edges, and lie on the stated side.
        for side in sides:
            assert side.polygon.exterior.union(side.polygon.boundary).distance(line.line) < 1e-6
        assert line.length_m >= line.ground_length_m - 1e-9
        start, end = (np.array(line.line.coords[i]) for i in (0, -1))
        step = (end - start) / max(math.dist(start, end), 1e-9)
        beside = shapely.Point((start + end) / 2 + 0.05 * np.array([-step[1], step[0]]))
        if len(line.line.coords) == 2:
            assert sides[0].polygon.distance(beside) < 1e-6
    for building in roofs.buildings:
        own = [plane for plane in roofs.planes if plane.building_id == building.building_id]
        assert building.ground_area_m2 == pytest.approx(sum(plane.ground_area_m2 for plane in own))
        assert building.polygon.area == pytest.approx(sum(plane.polygon.area for plane in own))


@pytest.mark.parametrize("turn_deg", [0.0, 20.0, 63.0])
def test_a_gable_by_its_classes_alone(turn_deg: float) -> None:
    planes, azimuths = gable_planes(turn_deg)
    roofs = find_roofs(evidence_of(classes_of(planes, azimuths)))
    assert len(roofs.planes) == 2
    for plane in roofs.planes:
        off = [abs((plane.azimuth_degrees - azimuth + 180) % 360 - 180) for azimuth in azimuths]
        assert min(off) < 1.0
        assert plane.azimuth_sd_degrees < 4.0
        assert plane.pitch_degrees is None
        assert plane.area_m2 is None
        assert plane.ground_area_m2 == pytest.approx(48.0, rel=0.005)
        assert plane.confidence > 0.9
    assert kinds_of(roofs) == ["eave"] * 2 + ["rake"] * 4 + ["ridge"]
    ridge = next(line for line in roofs.lines if line.kind == "ridge")
    assert ridge.length_m == pytest.approx(12.0, rel=0.01)
    assert len(roofs.buildings) == 1


def test_azimuths_are_of_true_north_and_metres_of_the_ground() -> None:
    planes, azimuths = gable_planes(30.0)
    plain = evidence_of(classes_of(planes, azimuths))
    utm = in_utm(plain)
    found = find_roofs(dataclasses.replace(plain, **utm))
    up_deg = grid_north_deg(utm["crs"], (690_000, 5_333_970, 690_030, 5_334_000))
    assert up_deg == pytest.approx(1.9, abs=0.2)
    expected = sorted((azimuth + up_deg) % 360 for azimuth in azimuths)
    assert sorted(plane.azimuth_degrees for plane in found.planes) == pytest.approx(expected, abs=1)

    # In Web Mercator a metre on the ground is 1.5 units at 48 degrees north.
    scale = 1 / math.cos(math.radians(48.0))
    mercator = Affine(0.1 * scale, 0, 1_300_000, 0, -0.1 * scale, 6_106_854)
    found = find_roofs(dataclasses.replace(plain, transform=mercator, crs="EPSG:3857"))
    assert sorted(plane.azimuth_degrees for plane in found.planes) == pytest.approx(azimuths, abs=1)
    assert [plane.ground_area_m2 for plane in found.planes] == pytest.approx([48, 48], rel=0.015)

    # And in degrees, where a column is not as wide as a row is high.
    row = 0.1 / 111_190
    degrees = Affine(row * scale, 0, 11.5, 0, -row, 48.0)
    found = find_roofs(dataclasses.replace(plain, transform=degrees, crs="EPSG:4326"))
    geod = Geod(ellps="WGS84")
    for plane in found.planes:
        area_m2 = abs(geod.geometry_area_perimeter(plane.polygon)[0])
        assert plane.ground_area_m2 == pytest.approx(area_m2, rel=1e-4)
    for line in found.lines:
        length_m = geod.geometry_length(line.line)
        assert line.ground_length_m == pytest.approx(length_m, rel=1e-4)


def test_a_line_parts_two_planes_of_one_class_and_settles_some_roof() -> None:
    planes, _ = gable_planes(0.0)
    classes = classes_of(planes, [0.0, 0.0])
    lines = np.zeros((4, *classes.shape), np.uint8)
    lines[0, 149:152, 90:210] = 180  # one roof begins where another ends, as on a factory
    found = find_roofs(evidence_of(classes, lines=lines))
    assert [round(plane.azimuth_degrees) % 360 for plane in found.planes] == [0, 0]
    assert len(find_roofs(evidence_of(classes)).planes) == 1

    # A network that knows only roof or not, and sees a ridge.
    roof = np.where(classes == GROUND, np.uint8(1), np.uint8(0))
    ridge = np.zeros_like(lines)
    ridge[1] = lines[0]
    for known in (
        evidence_of(roof, num_bins=1, lines=ridge),
        evidence_of(np.where(classes == GROUND, GROUND, SOME_ROOF).astype(np.uint8), lines=ridge),
    ):
        found = find_roofs(known)
        azimuths = sorted(plane.azimuth_degrees for plane in found.planes)
        assert azimuths == pytest.approx([0, 180], abs=1) or azimuths == pytest.approx(
            [180, 360], abs=1
        )
        assert "ridge" in kinds_of(found)


def test_what_ends_with_the_photo_or_with_what_is_known_is_no_line() -> None:
    planes, azimuths = gable_planes(0.0)
    classes = classes_of(planes, azimuths)
    at_border = classes[:, 150:].copy()  # the middle of the roof is the photo's border
    assert kinds_of(find_roofs(evidence_of(at_border))) == ["eave"] * 2 + ["rake"] * 2 + ["ridge"]
    unknown = classes.copy()
    unknown[:, :150] = 255
    assert kinds_of(find_roofs(evidence_of(unknown))) == ["eave"] * 2 + ["rake"] * 2 + ["ridge"]


@pytest.mark.parametrize("gap_px", [0, 2, 3])
def test_what_the_photo_cuts_has_no_eave_there_and_is_said_to_be_cut(gap_px: int) -> None:
    planes, azimuths = gable_planes(0.0)
    eaves_at_end = classes_of(planes, azimuths)[115:].copy()  # without the lower half metre
    eaves_at_end[:gap_px] = GROUND  # a network may see nothing at the very end
    found = find_roofs(evidence_of(eaves_at_end))
    assert kinds_of(found) == ["eave"] + ["rake"] * 4 + ["ridge"]
    assert [building.is_cut for building in found.buildings] == [True]
    # The same where the photo goes on, but shows nothing.
    hidden = classes_of(planes, azimuths)
    hidden[:115] = 255
    hidden[115 : 115 + gap_px] = GROUND
    found = find_roofs(evidence_of(hidden))
    assert kinds_of(found) == ["eave"] + ["rake"] * 4 + ["ridge"]
    assert [building.is_cut for building in found.buildings] == [True]


def test_a_roof_half_a_metre_from_the_end_is_whole() -> None:
    planes, azimuths = gable_planes(0.0)
    found = find_roofs(evidence_of(classes_of(planes, azimuths)[105:]))
    assert kinds_of(found) == ["eave"] * 2 + ["rake"] * 4 + ["ridge"]
    assert [building.is_cut for building in found.buildings] == [False]


def test_the_end_of_the_photo_says_nothing_of_directions() -> None:
    # Roof of which nothing is known but its outline: 20 m wide at the photo's top, 6 m high, its
    # lower edge turned by 5.7 degrees. It falls to that edge, and not out of the photo.
    outline = shapely.Polygon([(50, 0), (250, 0), (250, 70), (50, 50)])
    roof = classes_of([outline], [0.0]) == 0
    (plane,) = find_roofs(evidence_of(np.where(roof, SOME_ROOF, GROUND).astype(np.uint8))).planes
    assert plane.azimuth_degrees == pytest.approx(180 + 5.7, abs=0.5)


def test_no_roofs_and_no_data() -> None:
    for value in (GROUND, 255):
        found = find_roofs(evidence_of(np.full((60, 50), value, np.uint8)))
        assert (found.planes, found.lines, found.buildings) == ((), (), ())


def test_coarser_classes_are_read_as_they_are() -> None:
    planes, azimuths = gable_planes(0.0)
    fine = classes_of(planes, azimuths)
    coarse = np.select([fine == 0, fine == 8], [0, 2], 5).astype(np.uint8)  # N and S of four
    found = find_roofs(evidence_of(coarse, num_bins=4))
    assert sorted(round(plane.azimuth_degrees) % 360 for plane in found.planes) == [0, 180]


def test_layers_on_disk_give_the_same_roofs(village: Village, roofs: Roofs, tmp_path) -> None:
    evidence = village.evidence()
    place = {"crs": evidence.crs, "transform": evidence.transform}
    write_raster(tmp_path / "classes.tif", evidence.classes[None], **place)
    write_raster(tmp_path / "lines.tif", evidence.lines, **place)
    write_raster(tmp_path / "height.tif", evidence.height_m[None], **place)
    stored = RoofEvidence(
        evidence.photo,
        StoredLayer(tmp_path / "classes.tif"),
        evidence.gsd_m,
        lines=StoredLayer(tmp_path / "lines.tif", (1, 2, 3, 4)),
        height_m=StoredLayer(tmp_path / "height.tif"),
        transform=evidence.transform,
        crs=evidence.crs,
    )
    assert find_roofs(stored) == roofs
    with pytest.raises(FileProblem):
        StoredLayer(tmp_path / "nothing.tif")


def test_houses_closer_than_a_hand_are_one_building() -> None:
    roof = shapely.box(50, 50, 150, 150)
    for gap_px, expected in ((2, 1), (6, 2), (40, 2)):
        other = shapely.transform(roof, lambda xy, step=100 + gap_px: xy + np.array([step, 0]))
        found = find_roofs(evidence_of(classes_of([roof, other], [None, None])))
        assert len(found.buildings) == expected, gap_px


def test_groups_that_would_overlap_stay_as_their_pixels_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planes, azimuths = gable_planes(20.0)
    classes = classes_of(planes, azimuths)
    monkeypatch.setattr(
        "app.roofs.find.find_overlaps", lambda polygons: np.ones(len(polygons), np.bool_)
    )
    found = find_roofs(evidence_of(classes))
    polygons = np.array([plane.polygon for plane in found.planes])
    assert shapely.coverage_is_valid(polygons)
    assert shapely.area(polygons).sum() == (classes != GROUND).sum()
    # Stairs of pixels: every edge runs along a row or a column.
    for polygon in polygons:
        step = np.diff(np.array(polygon.exterior.coords), axis=0)
        assert (np.abs(step).min(axis=1) < 1e-9).all()
