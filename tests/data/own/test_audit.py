"""check-data on own roofs: every bad feature, splits that share ground, planes that overlap."""

import numpy as np
import pytest
import shapely

from tests.support.audit import found, make_audit, only, warnings_and_errors
from tests.support.own import EAST, NORTH, hip_roofs, write_layer, write_photo, write_village


@pytest.fixture
def audit(tmp_path):
    return make_audit(tmp_path)


def test_a_good_folder_has_no_findings_and_says_what_it_holds(tmp_path, audit):
    write_village(tmp_path / "dataset")
    report = audit("own")
    assert not warnings_and_errors(report)
    assert report.counts == {
        "photos": 6, "planes": 24, "areas": 6, "train": 4, "val": 1, "test": 1, "checked": 6
    }  # fmt: skip
    assert "roofs.gpkg: 24 planes with a direction, 0 flat, 0 some roof" in report.layout
    assert "azimuths compass, agrees with the outlines of 100% of 24 planes" in report.layout
    assert report.tally.known_shares()["segments"] == 1


def test_findings_name_features_pairs_and_photos(tmp_path, audit):
    root = write_village(tmp_path / "dataset")
    (root / "roofs.gpkg").unlink()
    planes, bearings = hip_roofs(6)
    north_plane = planes[4]
    half = shapely.transform(north_plane, lambda points: np.add(points, (0, -1.5)))
    far = shapely.box(EAST + 900, NORTH, EAST + 905, NORTH + 5)
    small = planes[8].representative_point().buffer(0.3)
    write_layer(
        root / "planes.gpkg",
        [*planes, north_plane, half, far, None, small],
        azimuth=[*bearings, 25.0, 25.0, 0.0, 0.0, 50.0],
    )
    write_photo(root / "photos/near.tif", EAST + 24.5, NORTH)
    (root / "photos/5.tif").write_bytes(b"")
    (root / "splits.csv").write_text(
        "photo,split\n0,train\n1,train\n2,val\nnear,val\n5,val\n9,val\n"
    )
    report = audit("own", max_bad_fraction=0.5)
    severity, name, what = only(report, "damaged feature")
    assert (severity, name) == ("error", "planes.gpkg")
    assert what.endswith("planes.gpkg: layer planes, feature 28: got no geometry")
    # 27, far away; and the roof of the photo that cannot be read.
    (outside,) = found(report, "outside of all photos")
    assert "5 of 29 features lie on no photo: 21, 22, 23, 24, 27" in outside[2]
    overlaps = [what.split(": ")[-1] for _, _, what in found(report, "overlapping features")]
    assert "features 5 and 25 overlap on 100% of the smaller one" in overlaps
    assert any(what.startswith("features 5 and 26 overlap on") for what in overlaps)
    dormer = [line for line in found(report, "overlapping features") if line[0] == "info"]
    assert [what.split(": ")[-1] for _, _, what in dormer] == [
        "features 9 and 29 overlap on 100% of the smaller one, as a dormer does"
    ]
    assert "photos 0 and near" in only(report, "splits overlap")[2]
    assert [what for _, _, what in found(report, "in no list")] == [
        "splits.csv does not name photo 3",
        "splits.csv does not name photo 4",
    ]
    assert only(report, "damaged file")[1] == "5.tif"
    assert only(report, "listed but absent")[1] == "9"
    assert report.unusable is None


def test_a_folder_that_cannot_be_used_says_so(tmp_path, audit):
    write_village(tmp_path / "dataset", to_stored=lambda bearing: bearing**2 % 360)
    report = audit("own")
    assert "what azimuths count from is not clear" in report.unusable
