"""Real roofs whose planes are known, as a network without a fault would see them."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pyogrio
import rasterio
import shapely
from rasterio import Affine, features

from app.base.azimuth import degrees_to_class
from app.base.tasks import BACKGROUND_CLASS, FLAT_CLASS
from app.data.own.places import grid_north_deg
from app.roofs.evidence import RoofEvidence
from bench.support.environment import SHARED_DATA
from bench.support.roofs.score import Known, TruePlane

INVERCARGILL: Final = SHARED_DATA / "own_invercargill"
LIDAR: Final = SHARED_DATA / "ign_lidarhd_50m"
_GSD_M: Final = 0.1
_MARGIN_M: Final = 2.0
_NEAR_M: Final = 1.5
_MAX_OFF_M: Final = 0.3
_LAMBERT: Final = "EPSG:2154"
# Planes of fewer returns are parts of several annexes that happen to lie in one.
_MIN_POINTS: Final = 1000
_MIN_PITCH_DEG: Final = 5.0
_MEDIAN_PX: Final = 5


def read_invercargill(split: str, limit: int | None = None) -> Iterator[Known]:
    """Roofs of a split, their planes drawn as classes: nothing else is known of them.

    Args:
        split: "train", "val" or "test".
        limit: The first so many.
    """
    rows = (line.split(",") for line in (INVERCARGILL / "splits.csv").read_text().split()[1:])
    photos = [photo for photo, of_split in rows if of_split == split][:limit]
    meta, _, shapes, columns = pyogrio.raw.read(INVERCARGILL / "roofs.gpkg", layer="planes")
    crs = meta["crs"]
    values = dict(zip(meta["fields"], columns, strict=True))
    polygons = shapely.from_wkb(shapes)
    names = values["photo"].astype(str)
    for photo in photos:
        own = np.flatnonzero(names == photo)
        own = own[np.argsort(-shapely.area(polygons[own]), kind="stable")]
        azimuth = values["azimuth_degrees"][own].astype(float)
        yield _draw(photo, polygons[own], azimuth, crs)


def _draw(
    photo: str, polygons: npt.NDArray[np.object_], azimuth: npt.NDArray[np.float64], crs: str
) -> Known:
    west, south, east, north = shapely.total_bounds(polygons)
    corner = west - _MARGIN_M, north + _MARGIN_M
    transform = Affine(_GSD_M, 0, corner[0], 0, -_GSD_M, corner[1])
    size = [math.ceil((length + 2 * _MARGIN_M) / _GSD_M) for length in (north - south, east - west)]
    # Azimuths are those of the compass; the photo's up is the grid's.
    up_deg = grid_north_deg(crs, (west, south, east, north))
    known = np.isfinite(azimuth)
    labels = np.full(len(azimuth), FLAT_CLASS)
    labels[known] = degrees_to_class(azimuth[known] - up_deg)
    # Parts of a pixel count by its centre, and dormers lie on top.
    classes = features.rasterize(
        zip(polygons, labels.tolist(), strict=True),
        out_shape=size,
        fill=BACKGROUND_CLASS,
        transform=transform,
        dtype=np.uint8,
    )
    truth = [
        TruePlane(polygon, degrees) for polygon, degrees in zip(polygons, azimuth, strict=True)
    ]
    evidence = RoofEvidence(photo, classes, _GSD_M, transform=transform, crs=crs)
    return Known(evidence, truth)


class LidarPlane(NamedTuple):
    """A plane that was fitted to LiDAR returns.

    Attributes:
        centre: Column and row of its middle.
        azimuth_degrees: From true north.
        pitch_degrees: Its tilt.
    """

    centre: tuple[float, float]
    azimuth_degrees: float
    pitch_degrees: float


class Lidar(NamedTuple):
    """A row of houses, its heights and its planes.

    Attributes:
        evidence: Its heights, and the classes of its planes.
        planes: Those of 1000 returns and more that are not flat.
        transform: From columns and rows to x and y.
    """

    evidence: RoofEvidence
    planes: list[LidarPlane]
    transform: Affine


def read_lidar(folder: Path = LIDAR) -> Lidar:
    """The sample of LiDAR heights; its classes say which of its planes each pixel lies on."""
    with rasterio.open(folder / "ndsm.tif") as source:
        height_m = source.read(1).astype(np.float32)
        height_m[height_m == source.nodata] = np.nan
        transform, bounds = source.transform, source.bounds
    with rasterio.open(folder / "building.tif") as source:
        height_m[source.read(1) != 1] = np.nan
    up_deg = grid_north_deg(_LAMBERT, tuple(bounds))
    listed = json.loads((folder / "planes.json").read_text())["planes"]
    nearest = _find_nearest(height_m, listed, transform.a)
    labels = [
        FLAT_CLASS
        if plane["slope_deg"] < _MIN_PITCH_DEG
        else int(degrees_to_class(plane["azimuth_grid_deg"]))
        for plane in listed
    ]
    evidence = RoofEvidence(
        photo="lidar",
        classes=np.array([*labels, BACKGROUND_CLASS], np.uint8)[nearest],
        gsd_m=transform.a,
        height_m=height_m,
        transform=transform,
        crs=_LAMBERT,
    )
    planes = [
        LidarPlane(
            tuple(plane["centroid_px"]),
            (plane["azimuth_grid_deg"] + up_deg) % 360,
            plane["slope_deg"],
        )
        for plane in listed
        if plane["n_points"] >= _MIN_POINTS and plane["slope_deg"] >= _MIN_PITCH_DEG
    ]
    return Lidar(evidence, planes, transform)


def _find_nearest(
    height_m: npt.NDArray[np.float32], listed: list[dict[str, Any]], gsd_m: float
) -> npt.NDArray[np.uint8]:
    """(H, W) which plane each height is nearest to; their number where none is near."""
    row, column = np.indices(height_m.shape) + 0.5
    off = []
    for plane in listed:
        azimuth = math.radians(plane["azimuth_grid_deg"])
        x, y = (
            (part - centre) * gsd_m
            for part, centre in zip((column, row), plane["centroid_px"], strict=True)
        )
        fall_m = math.tan(math.radians(plane["slope_deg"])) * (
            x * math.sin(azimuth) - y * math.cos(azimuth)
        )
        # Heights of the planes are above the sea, those of the raster above ground.
        level_m = height_m + fall_m
        near = (np.hypot(x, y) <= _NEAR_M) & np.isfinite(level_m)
        off.append(np.abs(level_m - np.median(level_m[near])) if near.any() else np.inf * level_m)
    off_m = np.nan_to_num(np.stack(off), nan=np.inf)
    nearest = off_m.argmin(axis=0).astype(np.uint8)
    nearest[off_m.min(axis=0) > _MAX_OFF_M] = len(listed)
    return np.asarray(cv2.medianBlur(nearest, _MEDIAN_PX), np.uint8)
