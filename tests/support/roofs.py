"""Rasters that a network without a fault would give of roofs drawn by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from rasterio import Affine, features

from app.base.azimuth import degrees_to_class
from app.roofs.evidence import RoofEvidence

GSD_M = 0.1
GROUND, SOME_ROOF = 17, 18


def classes_of(
    planes: Sequence[Any], azimuths: Sequence[float | None], size_px: int = 300
) -> np.ndarray:
    """(H, W) uint8 of polygons in pixels; None is flat."""
    labels = [16 if azimuth is None else int(degrees_to_class(azimuth)) for azimuth in azimuths]
    return features.rasterize(
        zip(planes, labels, strict=True), out_shape=(size_px, size_px), fill=GROUND, dtype=np.uint8
    )


def gable_planes(
    turn_deg: float, size_m: tuple[float, float] = (12.0, 8.0), size_px: int = 300
) -> tuple[list[Any], list[float]]:
    """Two planes whose ridge runs from west to east before the turn, clockwise, in pixels."""
    long, wide = size_m[0] / 2 / GSD_M, size_m[1] / 2 / GSD_M
    turn = np.radians(turn_deg)
    # Clockwise with y down.
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    halves = [
        [(-long, -wide), (long, -wide), (long, 0), (-long, 0)],
        [(-long, 0), (long, 0), (long, wide), (-long, wide)],
    ]
    planes = [shapely.Polygon(np.array(half) @ matrix + size_px / 2) for half in halves]
    return planes, [turn_deg % 360, (turn_deg + 180) % 360]


def evidence_of(classes: np.ndarray, **others: Any) -> RoofEvidence:
    """Evidence of a photo at 0.1 m."""
    return RoofEvidence("photo", classes, GSD_M, **others)


def in_utm(evidence: RoofEvidence, east: float = 690_000.0) -> dict[str, Any]:
    """Where a photo may lie: UTM 32, whose north is 1.9 degrees clockwise of true north there."""
    return {
        "transform": Affine(evidence.gsd_m, 0, east, 0, -evidence.gsd_m, 5_334_000.0),
        "crs": "EPSG:25832",
    }
