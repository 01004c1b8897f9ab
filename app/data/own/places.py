"""Where photos of one's own lie, and where on them shapes of other reference systems are."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import shapely
from rasterio import Affine
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from app.base.arrays import Geometries
from app.data.files.georeference import MAX_GSD_M, MIN_GSD_M
from app.data.files.ground import GroundError, find_system, find_transformer
from app.data.files.header import RasterHeader, open_raster
from app.data.files.meaning import check_seen, photo_meaning
from app.data.files.opening import find_misnamed, world_names
from app.data.files.problems import FileProblem
from app.data.files.rasters import StoredRaster
from app.data.files.threads import run_in_threads
from app.data.files.turns import AS_STORED
from app.data.own.layout import PHOTO_REMEDY, TITLE
from app.data.sample import BadFile

_NUM_HEADERS_AT_ONCE: Final = 8
_REACH_PX: Final = 500
# Of what a photo calls alpha, so much shows whether it is.
_MIDDLE_PX: Final = 256


class PhotoPlace(NamedTuple):
    """A photo, and where it lies.

    Attributes:
        name: Its name, without ending.
        raster: Its file.
        gsd_m: Metres per pixel.
        crs: Coordinate reference system as text; None where nothing says where it lies.
        transform: From (column, row), north up, to x and y; None where nothing says it.
        north_deg: Degrees by which its upward axis is turned clockwise from true north.
        assumed: What had to be taken for granted of its place; empty if nothing.
    """

    name: str
    raster: StoredRaster
    gsd_m: float
    crs: str | None = None
    transform: Affine | None = None
    north_deg: float = 0.0
    assumed: str = ""

    @property
    def size_m(self) -> tuple[float, float]:
        """Height and width."""
        return self.raster.height_px * self.gsd_m, self.raster.width_px * self.gsd_m

    def ground(self) -> BaseGeometry:
        """The polygon of what it shows, in its reference system; needs a transform."""
        assert self.transform is not None
        width, height = self.raster.width_px, self.raster.height_px
        corners = [(0, 0), (width, 0), (width, height), (0, height)]
        return shapely.Polygon([self.transform @ corner for corner in corners])


def find_places(
    photos: Mapping[str, Path],
    root: Path,
    usual_crs: str | None,
    assumed_gsd_m: Mapping[str, float],
) -> tuple[list[PhotoPlace], list[BadFile]]:
    """Where photos lie, and which cannot be used.

    Args:
        photos: By name.
        root: The dataset's folder; a symlink must not lead outside it.
        usual_crs: Reference system of photos that name none: that of the shapes.
        assumed_gsd_m: Metres per pixel of photos without georeference, by name; others cannot be
            used.
    """
    names = list(photos)

    def find(number: int) -> PhotoPlace | BadFile:
        name, path = names[number], photos[names[number]]
        try:
            header = _read_checked(path, root)
            return _place(name, header, usual_crs, assumed_gsd_m.get(name))
        except FileProblem as problem:
            return BadFile(name, path, str(problem.to_sample_error(TITLE, name)))

    found = list(run_in_threads(find, len(names), _NUM_HEADERS_AT_ONCE))
    places = [place for place in found if isinstance(place, PhotoPlace)]
    return places, [bad for bad in found if isinstance(bad, BadFile)]


def _read_checked(path: Path, root: Path) -> RasterHeader:
    """A photo's header; its bands are looked at now, not when a run has trained for hours.

    Raises:
        FileProblem: If it is no photo, or what it calls alpha is another band.
    """
    with open_raster(path, root, PHOTO_REMEDY) as (header, source):
        alpha = photo_meaning(header, source, PHOTO_REMEDY).alpha
        if alpha is not None:
            side = min(_MIDDLE_PX, source.height, source.width)
            middle = Window((source.width - side) // 2, (source.height - side) // 2, side, side)
            check_seen(path, source.read(alpha, window=middle), None, PHOTO_REMEDY)
    return header


def _place(
    name: str, header: RasterHeader, usual_crs: str | None, assumed_gsd_m: float | None
) -> PhotoPlace:
    georeference = header.georeference
    turn = AS_STORED if georeference is None else georeference.turn
    # Nobody has read it to its end: what a truncated file lacks must not be taken for black.
    raster = StoredRaster(header.path, header.height_px, header.width_px, turn, size_bytes=-1)
    if georeference is None:
        if assumed_gsd_m is None:
            raise _unplaced(header.path)
        assumed = f"no georeference, taken as {assumed_gsd_m} m per pixel"
        return PhotoPlace(name, raster, assumed_gsd_m, assumed=assumed)
    crs = georeference.crs or usual_crs
    if crs is None:
        remedy = f"name it: `gdal_edit.py -a_srs EPSG:CODE {header.path.name}`"
        raise FileProblem(header.path, "no coordinate reference system", "one", remedy)
    try:
        gsd_m, north_deg, is_near = _look_at_ground(crs, georeference.transform, raster)
    except GroundError as error:
        got = str(error)
        if not georeference.crs:
            got = f"no coordinate reference system, and in {crs}, that of the shapes, {error}"
        remedy = f"name the right one: `gdal_edit.py -a_srs EPSG:CODE {header.path.name}`"
        raise FileProblem(header.path, got, "one that lies on the ground", remedy) from error
    assumed = "" if georeference.crs else f"no coordinate reference system, taken as {crs}"
    if not is_near:
        assumed = f"a place far from all that {crs} is made for, taken at its nominal scale"
    if not MIN_GSD_M <= gsd_m <= MAX_GSD_M:
        got = f"a georeference of {gsd_m:.6g} m per pixel in {crs}"
        raise FileProblem(header.path, got, f"{MIN_GSD_M} to {MAX_GSD_M} m", PHOTO_REMEDY)
    return PhotoPlace(name, raster, gsd_m, crs, georeference.transform, north_deg, assumed)


def _unplaced(path: Path) -> FileProblem:
    remedy = "export it with one or with a world file, or label its pixels in a COCO file"
    misnamed = find_misnamed(path)
    if misnamed:
        remedy = f"if {misnamed[0]} is its world file, call it {' or '.join(world_names(path))}"
    return FileProblem(path, "a photo without georeference", "one", remedy)


def _look_at_ground(crs: str, transform: Affine, raster: StoredRaster) -> tuple[float, float, bool]:
    """Metres per pixel, where up points, and whether the place is one the system is made for.

    Raises:
        GroundError: If it does not lie on the ground.
    """
    x, y = transform @ (raster.width_px / 2, raster.height_px / 2)
    reach = abs(transform.a) * min(_REACH_PX, max(raster.width_px, raster.height_px) / 2)
    axes, is_near = find_system(crs).axes(x, y, reach, reach)
    column_m = math.hypot(*axes.of_step(transform.a, transform.d))
    east, north = axes.of_step(-transform.b, -transform.e)
    return (column_m + math.hypot(east, north)) / 2, _bearing_deg(east, north), is_near


def grid_north_deg(crs: str, box: tuple[float, float, float, float]) -> float:
    """Degrees by which y of a reference system points clockwise from true north.

    Args:
        crs: The system.
        box: West, south, east, north of a shape.

    Raises:
        GroundError: If the shape does not lie on the ground.
    """
    west, south, east, north = box
    reach = max(east - west, north - south)
    axes, _ = find_system(crs).axes((west + east) / 2, (south + north) / 2, reach, reach)
    return _bearing_deg(*axes.y)


def move(geometries: Geometries, source: str, target: str) -> Geometries:
    """Shapes in another reference system; empty where they have no place there.

    Raises:
        GroundError: If no map leads from one to the other.
    """
    if source == target:
        return geometries
    transformer = find_transformer(source, target)
    if transformer is None:
        raise GroundError(f"no map leads from {source} to {target}")
    points, shape = shapely.get_coordinates(geometries, return_index=True)
    moved = np.stack(transformer.transform(*points.T), axis=1)
    nowhere = np.unique(shape[~np.isfinite(moved).all(axis=1)])
    result = np.asarray(shapely.set_coordinates(geometries.copy(), moved), np.object_)
    result[nowhere] = shapely.Polygon()
    return result


def to_pixels(geometries: Geometries, place: PhotoPlace) -> Geometries:
    """Shapes of a photo's reference system in its columns and rows."""
    assert place.transform is not None
    a, b, c, d, e, f = (~place.transform)[:6]
    x, y = shapely.get_coordinates(geometries).T
    moved = np.stack((a * x + b * y + c, d * x + e * y + f), axis=1)
    return np.asarray(shapely.set_coordinates(geometries.copy(), moved), np.object_)


def systems_of(places: Sequence[PhotoPlace]) -> list[str]:
    """The reference systems of photos, in their order."""
    return list(dict.fromkeys(place.crs for place in places if place.crs is not None))


def _bearing_deg(east: float, north: float) -> float:
    return math.degrees(math.atan2(east, north))
