"""Real roofs whose planes are known, where their data lies beside the repository."""

import numpy as np
import pytest
import shapely

from app.roofs.find import find_roofs
from bench.support.roofs.real import INVERCARGILL, LIDAR, read_invercargill, read_lidar
from bench.support.roofs.score import PlaneErrors, compare_planes


@pytest.mark.skipif(not INVERCARGILL.is_dir(), reason="no roofs of Invercargill")
def test_true_planes_of_invercargill_get_their_directions() -> None:
    errors = []
    for known in read_invercargill("test", limit=15):
        roofs = find_roofs(known.evidence)
        assert shapely.coverage_is_valid(np.array([plane.polygon for plane in roofs.planes]))
        errors.append(compare_planes(roofs.planes, known.planes))
    summary = PlaneErrors.all_of(errors).summary()
    assert summary["planes"] > 80
    assert summary["answered_percent"] >= 85
    assert summary["azimuth_within_22_percent"] >= 95
    assert summary["azimuth_median_deg"] <= 3


@pytest.mark.skipif(not LIDAR.is_dir(), reason="no sample of LiDAR heights")
def test_pitch_from_heights_of_lidar() -> None:
    lidar = read_lidar()
    roofs = find_roofs(lidar.evidence)
    assert len(lidar.planes) == 2
    for true in lidar.planes:
        place = shapely.Point(lidar.transform @ true.centre)
        plane = next(plane for plane in roofs.planes if plane.polygon.contains(place))
        off = (plane.azimuth_degrees - true.azimuth_degrees + 180) % 360 - 180
        assert abs(off) <= 5
        assert abs(plane.pitch_degrees - true.pitch_degrees) <= 3
        assert plane.pitch_sd_degrees < 1.5
