"""How far found roofs are from true ones."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from app.roofs.evidence import RoofEvidence
from app.roofs.model import Plane, Roofs
from bench.support.roofs.scenes import Village

_MIN_IOU: Final = 0.5
# Shorter lines of a kind are a few pixels, which say nothing of 5 %.
_MIN_LENGTH_M: Final = 2.0


class TruePlane(NamedTuple):
    """A plane as it is.

    Attributes:
        polygon: In the reference system of what was found.
        azimuth_degrees: NaN where it is flat.
        pitch_degrees: NaN where nobody knows.
    """

    polygon: shapely.Polygon
    azimuth_degrees: float
    pitch_degrees: float = math.nan


class Known(NamedTuple):
    """A photo's planes.

    Attributes:
        evidence: What a network would say.
        planes: As they are.
    """

    evidence: RoofEvidence
    planes: list[TruePlane]


class PlaneErrors(NamedTuple):
    """What became of true planes, N of them.

    Attributes:
        azimuth_deg: (N,) absolute errors; NaN where there is no answer, or nothing to answer.
        pitch_deg: (N,) the same of pitches.
        standard_errors: (N,) errors of azimuths in their stated standard deviations.
        is_pitched: (N,).
        is_found: (N,) whether a plane covers it, at an intersection over union of 0.5.
    """

    azimuth_deg: npt.NDArray[np.float64]
    pitch_deg: npt.NDArray[np.float64]
    standard_errors: npt.NDArray[np.float64]
    is_pitched: npt.NDArray[np.bool_]
    is_found: npt.NDArray[np.bool_]

    @classmethod
    def all_of(cls, parts: Sequence["PlaneErrors"]) -> "PlaneErrors":
        """Those of many photos."""
        return cls(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def summary(self) -> dict[str, float]:
        """Medians and shares, of pitched planes."""
        errors = self.azimuth_deg[self.is_pitched]
        answered = errors[np.isfinite(errors)]
        pitches = self.pitch_deg[np.isfinite(self.pitch_deg)]
        standard = self.standard_errors[np.isfinite(self.standard_errors)]
        return {
            "planes": float(self.is_pitched.sum()),
            "found_percent": 100 * float(self.is_found.mean()),
            "answered_percent": 100 * len(answered) / max(len(errors), 1),
            "azimuth_median_deg": float(np.median(answered)) if len(answered) else math.nan,
            "azimuth_within_22_percent": 100 * float((answered <= 22.5).mean()),
            "pitch_median_deg": float(np.median(pitches)) if len(pitches) else math.nan,
            "interval_90_percent": 100 * float((standard <= 1.645).mean()),
        }


def compare_planes(found: Sequence[Plane], truth: Sequence[TruePlane]) -> PlaneErrors:
    """What became of each true plane: it is matched to the plane that covers it best."""
    size = len(truth)
    azimuth, pitch, standard = (np.full(size, np.nan) for _ in range(3))
    is_found = np.zeros(size, np.bool_)
    polygons = np.array([plane.polygon for plane in found], np.object_)
    shapes = np.array([plane.polygon for plane in truth], np.object_)
    if len(found):
        one, other = shapely.STRtree(polygons).query(shapes, predicate="intersects")
        common = shapely.area(shapely.intersection(shapes[one], polygons[other]))
        iou = common / (shapely.area(shapes)[one] + shapely.area(polygons)[other] - common)
        for number, match in zip(one[iou >= _MIN_IOU], other[iou >= _MIN_IOU], strict=True):
            plane, true = found[match], truth[number]
            is_found[number] = True
            if plane.azimuth_degrees is not None and plane.azimuth_sd_degrees is not None:
                off = abs((plane.azimuth_degrees - true.azimuth_degrees + 180) % 360 - 180)
                azimuth[number] = off
                standard[number] = off / plane.azimuth_sd_degrees
            if plane.pitch_degrees is not None:
                pitch[number] = abs(plane.pitch_degrees - true.pitch_degrees)
    is_pitched = np.array([math.isfinite(plane.azimuth_degrees) for plane in truth], np.bool_)
    return PlaneErrors(azimuth, pitch, standard, is_pitched, is_found)


class BuildingErrors(NamedTuple):
    """What became of a true building.

    Attributes:
        is_valid: Whether its planes are a coverage.
        area: Error of its area in plan, as a share of that of its pixels.
        lengths: By kind of line, true and found metres.
    """

    is_valid: bool
    area: float
    lengths: dict[str, tuple[float, float]]


def compare_buildings(roofs: Roofs, village: Village) -> list[BuildingErrors]:
    """What became of each true building; those of a village stand apart."""
    planes, lines = defaultdict(list), defaultdict(list)
    for plane in roofs.planes:
        planes[plane.building_id].append(plane)
    for line in roofs.lines:
        lines[line.building_id].append(line)
    grounds = [
        village.to_crs(shapely.union_all([facet.polygon for facet in building.facets]))
        for building in village.buildings
    ]
    tree = shapely.STRtree(grounds)
    found_of: dict[int, list[int]] = defaultdict(list)
    for building in roofs.buildings:
        found_of[int(tree.nearest(building.polygon))].append(building.building_id)
    pixels = np.bincount(village.roofs.building_map.ravel())
    errors = []
    for number, building in enumerate(village.buildings):
        own = [plane for found in found_of[number] for plane in planes[found]]
        polygons = np.array([plane.polygon for plane in own], np.object_)
        area_m2 = math.fsum(plane.ground_area_m2 for plane in own)
        # As its pixels have it: a roof along their rows may be drawn half a pixel too narrow.
        true_m2 = float(pixels[number + 1]) * village.roofs.grid.gsd_m**2
        lengths: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for line in building.lines:
            lengths[line.kind][0] += line.length_m
        for found in found_of[number]:
            for line in lines[found]:
                lengths[line.kind][1] += line.length_m
        errors.append(
            BuildingErrors(
                bool(len(own)) and bool(shapely.coverage_is_valid(polygons)),
                abs(area_m2 / true_m2 - 1),
                {kind: (true, found) for kind, (true, found) in lengths.items()},
            )
        )
    return errors


def length_shares(errors: Iterable[BuildingErrors]) -> dict[str, tuple[int, float, float]]:
    """By kind: buildings with 2 m of it, the share within 5 %, and the error of the total."""
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for error in errors:
        for kind, pair in error.lengths.items():
            pairs[kind].append(pair)
    shares = {}
    for kind, lengths in pairs.items():
        true, found = np.array(lengths).T
        long = true >= _MIN_LENGTH_M
        within = np.abs(found - true)[long] <= 0.05 * true[long]
        shares[kind] = (int(long.sum()), float(within.mean()), float(found.sum() / true.sum() - 1))
    return shares


def true_planes(village: Village, north_deg: float) -> list[TruePlane]:
    """The facets of a village, in the reference system of its evidence.

    Args:
        village: The scene.
        north_deg: Degrees by which its up is turned clockwise from true north.
    """
    planes = []
    for building in village.buildings:
        for facet in building.facets:
            steepness = math.hypot(facet.plane.east_slope, facet.plane.south_slope)
            azimuth = math.nan if facet.plane.is_flat else facet.plane.azimuth_deg + north_deg
            pitch = math.degrees(math.atan(steepness))
            planes.append(TruePlane(village.to_crs(facet.polygon), azimuth, pitch))
    return planes
