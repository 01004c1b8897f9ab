"""From what is known of each pixel to the roofs of a photo."""

import math
from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt
import shapely
from rasterio import Affine

from app.base.arrays import Floats, Geometries
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX
from app.roofs.blocks import find_blocks
from app.roofs.buildings import MAX_GAP_M, group_planes, main_azimuth_degrees
from app.roofs.evidence import RoofEvidence, class_table
from app.roofs.group import FoundPlane, Group, find_group
from app.roofs.model import Building, Plane, RoofLine, Roofs
from app.roofs.settings import RoofSettings
from app.roofs.straight import find_overlaps


def find_roofs(evidence: RoofEvidence, settings: RoofSettings | None = None) -> Roofs:
    """The roofs of a photo.

    Memory goes with the largest group of roofs that stand within half a metre of one another, and
    not with the photo.

    Args:
        evidence: What is known of its pixels.
        settings: What is a plane, an edge, a direction; the defaults where None.

    Raises:
        app.data.files.ground.GroundError: If the photo does not lie in its reference system.
    """
    settings = settings or RoofSettings()
    table = class_table(evidence.num_bins)
    is_roof = (table != BACKGROUND_CLASS) & (table != IGNORE_INDEX)
    blocks = list(find_blocks(evidence.classes, is_roof, evidence.gsd_m))
    found = [find_group(evidence, block, settings) for block in blocks]
    owners = np.repeat(
        np.arange(len(found)), [0 if group is None else len(group.planes) for group in found]
    )
    groups = [group for group in found if group is not None]
    if groups:
        polygons = np.concatenate([group.polygons for group in groups])
        for number in np.unique(owners[find_overlaps(polygons)]).tolist():
            # Two groups have grown into one another; as their pixels have them they do not.
            found[number] = find_group(evidence, blocks[number], settings, keep_pixels=True)
    return _number(evidence, [group for group in found if group is not None])


def _number(evidence: RoofEvidence, groups: list[Group]) -> Roofs:
    """All groups in the photo's reference system, with numbers of their own."""
    if not groups:
        return Roofs(evidence.photo, evidence.crs, evidence.gsd_m, (), (), ())
    in_pixels = np.concatenate([group.polygons for group in groups])
    building_ids = group_planes(in_pixels, MAX_GAP_M / evidence.gsd_m)
    place = _to_place(evidence.transform)
    polygons = np.asarray(shapely.transform(in_pixels, place), np.object_)
    found_planes = [plane for group in groups for plane in group.planes]
    planes = tuple(
        _plane(number, building_id, polygon, found)
        for number, (building_id, polygon, found) in enumerate(
            zip(building_ids.tolist(), polygons, found_planes, strict=True), 1
        )
    )
    lines: list[RoofLine] = []
    first = 0
    for group in groups:
        for line in group.lines:
            sides = [None if side < 0 else first + side + 1 for side in (line.left, line.right)]
            lines.append(
                RoofLine(
                    line_id=len(lines) + 1,
                    kind=line.kind,
                    line=shapely.LineString(place(group.frame.pixels(line.points))),
                    length_m=line.length_m,
                    ground_length_m=line.ground_length_m,
                    left_plane_id=sides[0],
                    right_plane_id=sides[1],
                    building_id=int(building_ids[first + line.left]),
                    confidence=line.confidence,
                    kind_confidence=line.kind_confidence,
                )
            )
        first += len(group.planes)
    cut = {
        building
        for building, plane in zip(building_ids.tolist(), found_planes, strict=True)
        if plane.is_cut
    }
    buildings = _buildings(planes, polygons, building_ids, cut)
    return Roofs(evidence.photo, evidence.crs, evidence.gsd_m, planes, tuple(lines), buildings)


def _to_place(transform: Affine | None) -> Callable[[Floats], Floats]:
    """From columns and rows to x and y, of (N, 2)."""
    if transform is None:
        return lambda points: points
    a, b, c, d, e, f = transform[:6]
    return lambda points: np.stack(
        (
            a * points[:, 0] + b * points[:, 1] + c,
            d * points[:, 0] + e * points[:, 1] + f,
        ),
        axis=1,
    )


def _plane(plane_id: int, building_id: int, polygon: shapely.Polygon, found: FoundPlane) -> Plane:
    direction, pitch = found.direction, found.pitch
    area_m2 = None
    if pitch is not None:
        area_m2 = found.ground_area_m2 * math.hypot(1.0, pitch.steepness)
    return Plane(
        plane_id=plane_id,
        building_id=building_id,
        polygon=polygon,
        azimuth_degrees=None if direction is None else math.degrees(direction.azimuth_rad) % 360,
        azimuth_sd_degrees=None if direction is None else math.degrees(direction.sd_rad),
        pitch_degrees=None if pitch is None else pitch.degrees,
        pitch_sd_degrees=None if pitch is None else pitch.sd_degrees,
        area_m2=area_m2,
        ground_area_m2=found.ground_area_m2,
        height_m=found.height_m,
        confidence=found.confidence,
    )


def _buildings(
    planes: tuple[Plane, ...],
    polygons: Geometries,
    building_ids: npt.NDArray[np.int64],
    cut: Collection[int],
) -> tuple[Building, ...]:
    order = np.argsort(building_ids, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(building_ids[order])) + 1)
    buildings = []
    for building_id, members in enumerate(parts, 1):
        own = [planes[number] for number in members.tolist()]
        buildings.append(
            Building(
                building_id=building_id,
                polygon=shapely.coverage_union_all(polygons[members]),
                ground_area_m2=math.fsum(plane.ground_area_m2 for plane in own),
                main_azimuth_degrees=main_azimuth_degrees(own),
                is_cut=building_id in cut,
            )
        )
    return tuple(buildings)
