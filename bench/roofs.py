"""How right roofs are that are found from rasters without a fault, and what it takes to find them.

    python -m bench.roofs [--json FILE] [--only synthetic invercargill lidar speed]

Synthetic villages give true classes, lines and heights; Invercargill's true planes are drawn as
classes alone; a LiDAR sample gives heights, and classes from these. Real data is looked for beside
the repository, and left out where there is none. For speed, a photo of 10000 x 10000 px with about
5,000 planes lies on disk as GeoTIFFs, and one core finds its roofs.
"""

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely

from app.base.logs import ignore_expected_warnings
from app.base.tasks import BACKGROUND_CLASS, SOME_ROOF
from app.data.own.places import grid_north_deg
from app.roofs.evidence import RoofEvidence
from app.roofs.find import find_roofs
from app.roofs.model import Roofs
from bench.support.environment import describe_conditions
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.roofs.large import measure_large
from bench.support.roofs.real import INVERCARGILL, LIDAR, LidarPlane, read_invercargill, read_lidar
from bench.support.roofs.scenes import CORNER, CRS, draw_village
from bench.support.roofs.score import (
    BuildingErrors,
    PlaneErrors,
    compare_buildings,
    compare_planes,
    length_shares,
    true_planes,
)

_PARTS = ("synthetic", "invercargill", "lidar", "speed")
_TARGETS = {
    "synthetic": (
        Target("valid_percent", ">=", 100),
        Target("area_within_percent", ">=", 100),
        Target("azimuth_median_deg", "<=", 1.5),
        Target("pitch_median_deg", "<=", 1),
        Target("lengths_within_percent", ">=", 95),
    ),
    "invercargill": (
        Target("nz_azimuth_within_22_percent", ">=", 95),
        Target("nz_azimuth_median_deg", "<=", 3),
        Target("nz_answered_percent", ">=", 85),
    ),
    "lidar": (
        Target("lidar_azimuth_deg", "<=", 5),
        Target("lidar_pitch_deg", "<=", 3),
    ),
    "speed": (Target("vectors_s", "<=", 40), Target("vectors_gib", "<=", 1)),
}
_NUM_VILLAGES = 8
_NUM_BUILDINGS = 25


def _measure_synthetic() -> dict[str, float]:
    up_deg = grid_north_deg(CRS, (CORNER[0], CORNER[1] - 100, CORNER[0] + 100, CORNER[1]))
    planes: dict[str, list[PlaneErrors]] = defaultdict(list)
    buildings: list[BuildingErrors] = []
    for seed in range(_NUM_VILLAGES):
        village = draw_village(seed, _NUM_BUILDINGS)
        truth = true_planes(village, up_deg)
        for name, evidence in _less_and_less(village.evidence()).items():
            roofs = find_roofs(evidence)
            planes[name].append(compare_planes(roofs.planes, truth))
            if name == "all":
                buildings += compare_buildings(roofs, village)
    summaries = {name: PlaneErrors.all_of(parts).summary() for name, parts in planes.items()}
    print_table(
        ["known", *summaries["all"]],
        [[name, *(f"{value:.2f}" for value in row.values())] for name, row in summaries.items()],
    )
    figures = summaries["all"]
    shares = length_shares(buildings)
    print_table(
        ["kind", "buildings", "within 5 %", "error of all"],
        [[k, f"{n}", f"{100 * s:.1f} %", f"{100 * e:+.2f} %"] for k, (n, s, e) in shares.items()],
    )
    num_pairs = sum(n for n, _, _ in shares.values())
    figures |= {
        "buildings": float(len(buildings)),
        "valid_percent": 100 * float(np.mean([error.is_valid for error in buildings])),
        "area_within_percent": 100 * float(np.mean([error.area <= 0.005 for error in buildings])),
        "area_median_percent": 100 * float(np.median([error.area for error in buildings])),
        "lengths_within_percent": 100 * sum(n * s for n, s, _ in shares.values()) / num_pairs,
    }
    return figures


def _less_and_less(evidence: RoofEvidence) -> dict[str, RoofEvidence]:
    """The same photo by all that is known of it, by its classes alone, and without directions."""
    is_ground = np.asarray(evidence.classes) == BACKGROUND_CLASS
    roof = np.where(is_ground, BACKGROUND_CLASS, SOME_ROOF).astype(np.uint8)
    return {
        "all": evidence,
        "classes": replace(evidence, lines=None, height_m=None),
        "roof or not, lines": replace(evidence, classes=roof, height_m=None),
    }


def _measure_invercargill() -> dict[str, float]:
    errors = [
        compare_planes(find_roofs(known.evidence).planes, known.planes)
        for known in read_invercargill("test")
    ]
    summary = PlaneErrors.all_of(errors).summary()
    return {f"nz_{key}": value for key, value in summary.items() if "pitch" not in key}


def _measure_lidar() -> dict[str, float]:
    lidar = read_lidar()
    roofs = find_roofs(lidar.evidence)
    azimuths, pitches = [], []
    for true in lidar.planes:
        azimuth, pitch = _errors_at(roofs, lidar.transform @ true.centre, true)
        azimuths.append(azimuth)
        pitches.append(pitch)
    rows = [
        [f"{t.azimuth_degrees:.1f}", f"{t.pitch_degrees:.1f}", f"{a:.1f}", f"{p:.1f}"]
        for t, a, p in zip(lidar.planes, azimuths, pitches, strict=True)
    ]
    print_table(["true azimuth", "true pitch", "azimuth off", "pitch off"], rows)
    return {"lidar_azimuth_deg": max(azimuths), "lidar_pitch_deg": max(pitches)}


def _errors_at(roofs: Roofs, place: tuple[float, float], true: LidarPlane) -> tuple[float, float]:
    """How far off azimuth and pitch are of the plane at a place; infinite where there is none."""
    point = shapely.Point(place)
    plane = min(roofs.planes, key=lambda plane: shapely.distance(plane.polygon, point))
    if plane.azimuth_degrees is None or plane.pitch_degrees is None:
        return math.inf, math.inf
    off = abs((plane.azimuth_degrees - true.azimuth_degrees + 180) % 360 - 180)
    return off, abs(plane.pitch_degrees - true.pitch_degrees)


def _measure_speed() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="roofs-") as folder:
        return measure_large(Path(folder))


_MEASURES: Mapping[str, tuple[Callable[[], dict[str, float]], Path | None]] = {
    "synthetic": (_measure_synthetic, None),
    "invercargill": (_measure_invercargill, INVERCARGILL),
    "lidar": (_measure_lidar, LIDAR),
    "speed": (_measure_speed, None),
}


def main() -> None:
    """Measure, print, write."""
    ignore_expected_warnings()
    parser = build_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS)
    options = parser.parse_args()
    print(describe_conditions())
    figures: dict[str, float] = {}
    targets: list[Target] = []
    for part in options.only:
        measure, folder = _MEASURES[part]
        if folder is not None and not folder.is_dir():
            print(f"{part}: left out, there is no {folder.name} beside the repository")
            continue
        print(f"\n{part}")
        found = measure()
        print_table(["figure", "value"], [[key, f"{value:.2f}"] for key, value in found.items()])
        figures |= found
        targets += _TARGETS[part]
    print()
    report(figures, targets, options.json)


if __name__ == "__main__":
    main()
