"""What is true of a photo's roofs, as shapes: polygons that people drew, else those of masks."""

from typing import Final

import cv2
import numpy as np
import rasterio.features
import shapely
from rasterio import Affine
from shapely.geometry.base import BaseGeometry

from app.base.arrays import Mask8
from app.base.tasks import IGNORE_INDEX, Task
from app.data.own.clusters import find_clusters
from app.data.sample import DrawnShapes
from app.metrics.matching import Polygons
from app.metrics.roofs import TrueRoofs
from app.metrics.segments import find_centres_deg

# Planes so close are one building.
_BUILDING_GAP_M: Final = 0.3
# Straightens stairs of pixels: corners go that cut off less than the square of it.
_STAIRS_PX: Final = 1.5


def roofs_of_shapes(shapes: DrawnShapes, size: tuple[int, int], gsd_m: float) -> TrueRoofs:
    """The roofs that people drew.

    Args:
        shapes: As they drew them.
        size: Rows and columns of the photo.
        gsd_m: Metres per pixel.
    """
    planes = _uncover(shapes.planes)
    is_there = shapely.area(planes) > 0
    planes = planes[is_there]
    azimuth_deg = np.where(shapes.is_flat, np.nan, shapes.azimuth_deg)[is_there]
    is_vague = ~np.isfinite(azimuth_deg) & ~shapes.is_flat[is_there]
    return TrueRoofs(
        planes,
        azimuth_deg,
        shapes.pitch_deg[is_there],
        is_vague,
        _find_buildings(planes, gsd_m),
        _find_known(shapes, planes, size),
        half_width_deg=0.0,
    )


def roofs_of_mask(segments: Mask8, task: Task, gsd_m: float) -> TrueRoofs:
    """The roofs of a mask: a plane is a piece of one label whose pixels touch along their sides.

    Args:
        segments: (H, W) uint8, labels of the task, 255 unknown.
        task: The segments task.
        gsd_m: Metres per pixel.
    """
    is_roof = np.zeros(256, np.uint8)
    for label, classes in enumerate(task.label_sets):
        is_roof[label] = task.background_class not in classes
    pieces = rasterio.features.shapes(
        segments, cv2.LUT(segments, is_roof).view(np.bool_), 4, Affine.identity()
    )
    found = [(shapely.geometry.shape(shape), int(label)) for shape, label in pieces]
    planes = np.array([shape for shape, _ in found], np.object_)
    if len(planes):
        # A point at every pixel, so that neighbours have the same ones where a third one ends.
        planes = shapely.coverage_simplify(shapely.segmentize(planes, 1.0), _STAIRS_PX)
    labels = np.array([label for _, label in found], np.int64)
    # Roof of a network without directions tells none, as a label of several classes does.
    vague = (*task.vague_labels, *((0,) if task.azimuth_bins == 0 else ()))
    known = None
    if (segments == IGNORE_INDEX).any():
        ground = rasterio.features.shapes(
            (segments != IGNORE_INDEX).astype(np.uint8), segments != IGNORE_INDEX, 4
        )
        known = shapely.union_all([shapely.geometry.shape(shape) for shape, _ in ground])
    return TrueRoofs(
        planes,
        find_centres_deg(task).double().numpy()[labels],
        np.full(len(planes), np.nan),
        np.isin(labels, vague),
        _find_buildings(planes, gsd_m),
        known,
        half_width_deg=180.0 / max(1, task.azimuth_bins),
    )


def _uncover(planes: Polygons) -> Polygons:
    """Planes without what stands on them: of two that overlap, the later keeps its ground."""
    lower, upper = shapely.STRtree(planes).query(planes, predicate="intersects")
    uncovered = planes.copy()
    above: dict[int, list[BaseGeometry]] = {}
    for one, other in zip(lower.tolist(), upper.tolist(), strict=True):
        if one < other and not shapely.touches(planes[one], planes[other]):
            above.setdefault(one, []).append(planes[other])
    for one, others in above.items():
        uncovered[one] = shapely.difference(planes[one], shapely.union_all(others))
    return uncovered


def _find_known(
    shapes: DrawnShapes, planes: Polygons, size: tuple[int, int]
) -> BaseGeometry | None:
    """Ground of which something is known; None where that is all of the photo."""
    labelled = [] if shapes.areas is None else list(shapes.areas)
    ground = shapely.union_all(labelled)
    ground = shapely.difference(ground, shapely.union_all(list(shapes.hidden)))
    ground = shapely.union_all([ground, *planes])
    height, width = size
    return None if ground.area >= height * width * (1 - 1e-9) else ground


def _find_buildings(planes: Polygons, gsd_m: float) -> Polygons:
    """Planes that stand close, as one polygon each."""
    if not len(planes):
        return planes
    clusters = find_clusters(shapely.STRtree(planes), _BUILDING_GAP_M / gsd_m)
    return np.array(
        [shapely.union_all(planes[clusters == one]) for one in np.unique(clusters)], np.object_
    )
