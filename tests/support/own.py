"""Folders of own roofs: photos with shapes in any format and reference system, and RID as one."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import Transformer
from rasterio import Affine

from app.base.errors import DataError
from app.data.own.dataset import OwnDataset
from tests.support.fakes import write_raster
from tests.support.paths import REAL_RID

Shape = Any  # of shapely

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".fgb": "FlatGeobuf", ".shp": "ESRI Shapefile"}


UTM = "EPSG:25832"
# Around Munich, where the grid's north is 1.9 degrees clockwise of true north.
EAST, NORTH = 690_000.0, 5_334_000.0
SIDE_PX, GSD_M, STEP_M = 240, 0.1, 60.0


def place_of(number: int) -> tuple[float, float]:
    """East and north of the middle of the photo of that number; photos stand 36 m apart."""
    return EAST + STEP_M * (number % 10), NORTH - STEP_M * (number // 10)


def hip_roof(
    east: float, north: float, turn_deg: float, size_m: tuple[float, float] = (12.0, 8.0)
) -> tuple[list[Shape], list[float]]:
    """Four planes of equal slope, and the grid bearings in which they run down."""
    long, wide = size_m[0] / 2, size_m[1] / 2
    top = long - wide
    planes = [
        [(-long, wide), (long, wide), (top, 0), (-top, 0)],
        [(long, wide), (long, -wide), (top, 0)],
        [(long, -wide), (-long, -wide), (-top, 0), (top, 0)],
        [(-long, -wide), (-long, wide), (-top, 0)],
    ]
    turn = np.radians(turn_deg)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shapes = [shapely.Polygon(np.array(plane) @ matrix + (east, north)) for plane in planes]
    return shapes, [(90.0 * side + turn_deg) % 360 for side in range(4)]


def hip_roofs(
    num_roofs: int, size_m: tuple[float, float] = (12.0, 8.0)
) -> tuple[list[Shape], list[float]]:
    """The planes of the roofs of a village, and their bearings: four of each photo's roof."""
    planes, bearings = [], []
    for number in range(num_roofs):
        shapes, of_planes = hip_roof(*place_of(number), 25.0 * number, size_m)
        planes += shapes
        bearings += of_planes
    return planes, bearings


def message_of(root: Path) -> str:
    """What is said of a folder that cannot be trained on, in one line."""
    with pytest.raises(DataError) as error:
        OwnDataset(root, "train")
    assert "\n" not in str(error.value)
    return str(error.value)


def write_photo(path: Path, east: float, north: float, side_px: int = SIDE_PX) -> Path:
    """A photo around a place; its grey values tell rows and columns."""
    rows, columns = np.indices((side_px, side_px))
    bands = np.stack((rows % 251, columns % 251, (rows + columns) % 251)).astype(np.uint8)
    half = side_px * GSD_M / 2
    transform = Affine(GSD_M, 0, east - half, 0, -GSD_M, north + half)
    return write_raster(path, bands, crs=UTM, transform=transform)


def write_village(
    root: Path,
    num_photos: int = 6,
    to_stored: Callable[[float], float] = lambda bearing: bearing,
    with_areas: bool = True,
) -> Path:
    """Photos that stand apart, with a hip roof on each, as one GeoPackage.

    Args:
        root: Folder to write.
        num_photos: Photos and roofs.
        to_stored: From bearings on the grid to what the file holds.
        with_areas: Whether all of each photo is said to be labelled.
    """
    shapes, bearings = hip_roofs(num_photos)
    areas = []
    for number in range(num_photos):
        east, north = place_of(number)
        write_photo(root / f"photos/{number}.tif", east, north)
        half = SIDE_PX * GSD_M / 2
        areas.append(shapely.box(east - half, north - half, east + half, north + half))
    write_layer(root / "roofs.gpkg", shapes, azimuth=[to_stored(each) for each in bearings])
    if with_areas:
        write_layer(root / "roofs.gpkg", areas, layer="areas", append=True)
    return root


def write_layer(
    path: Path,
    shapes: Sequence[Shape | None],
    crs: str = UTM,
    layer: str = "planes",
    append: bool = False,
    **fields: Sequence[Any],
) -> Path:
    """A layer of shapes with fields."""
    types = {shape.geom_type for shape in shapes if shape is not None}
    wkb = np.array([None if shape is None else shape.wkb for shape in shapes], object)
    pyogrio.raw.write(
        path,
        wkb,
        [np.array(values) for values in fields.values()],
        list(fields),
        layer=layer,
        driver=DRIVERS[path.suffix],
        geometry_type=types.pop() if len(types) == 1 else "Unknown",
        crs=crs,
        append=append,
        promote_to_multi=False,
    )
    return path


def moved(shapes: Sequence[Shape], source: str, target: str) -> list[Shape]:
    """Shapes in another reference system."""
    transformer = Transformer.from_crs(source, target, always_xy=True)

    def move(points: np.ndarray) -> np.ndarray:
        return np.stack(transformer.transform(*points.T), axis=1)

    return [shapely.transform(shape, move) for shape in shapes]


def write_rid_as_own(
    root: Path,
    suffix: str = ".geojson",
    crs: str = "EPSG:4326",
    to_stored: Callable[[float], float] = lambda compass: compass - 180,
) -> dict[str, Path]:
    """The real RID images with their own table of planes as shapes.

    Args:
        root: Folder to write.
        suffix: Format of the shapes.
        crs: Their reference system.
        to_stored: From compass degrees to what the file holds; RID's own table has 0 = south.

    Returns:
        RID's masks, by photo.
    """
    (root / "photos").mkdir(parents=True)
    planes, azimuths, flats, areas, masks = [], [], [], [], {}
    known: set[int] = set()
    for path in sorted((REAL_RID / "vector").glob("*.json")):
        table = json.loads(path.read_text())
        west, south, east, north = table["bounds_lonlat"]
        scale = np.array([(east - west) / table["width"], (south - north) / table["height"]])
        image = REAL_RID / f"images_roof_centered_geotiff/{path.stem}.tif"
        shutil.copy(image, root / "photos")
        masks[path.stem] = REAL_RID / f"masks_segments_reviewed/{path.stem}.png"
        areas.append(shapely.box(west, south, east, north))
        for segment in table["segments"]:
            if segment["id"] in known:
                continue
            known.add(segment["id"])
            corners = np.array(segment["polygon_px"]) * scale + (west, north)
            planes.append(shapely.Polygon(corners))
            compass = segment["azimuth_deg"]
            azimuths.append(np.nan if compass is None else to_stored(compass))
            flats.append(compass is None)
    planes, areas = moved(planes, "EPSG:4326", crs), moved(areas, "EPSG:4326", crs)
    write_layer(root / f"planes{suffix}", planes, crs, azimuth=azimuths, flat=flats)
    write_layer(root / f"areas{suffix}", areas, crs, layer="areas", photo=list(masks))
    return masks
