"""Where a raster lies: its size on the ground, which way is north, and whether a label fits.

What a file says itself comes first, then GDAL's `.aux.xml` beside it, then a world file.
"""

import functools
import math
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import from_gcps

from app.data.files.ground import (
    MAX_CONVERGENCE_DEG,
    METRES,
    Axes,
    GroundError,
    System,
    Vector,
    find_system,
    find_transformer,
)
from app.data.files.opening import texts_beside
from app.data.files.problems import FileProblem
from app.data.files.turns import AS_STORED, Turn

# Outside of this a georeference is wrong, and with it every length in metres.
MIN_GSD_M: Final = 0.01
MAX_GSD_M: Final = 1.0
# Squares of ground are squares of an image, to this ratio of its axes.
_MAX_ASPECT: Final = 1.1
# A direction off by this much is off by less than labels are drawn.
_MAX_TURN_DEG: Final = 1.0
# Lengths are taken over so many pixels: one alone is lost in the digits of its coordinates.
_REACH_PX: Final = 500
_MAX_GCP_RESIDUAL_PX: Final = 1.0
MAX_PLACES_KEPT: Final = 8192
_DEGREES: Final = "EPSG:4326"
_NO_CRS: Final = "no coordinate reference system"


class Georeference(NamedTuple):
    """Where a raster lies.

    Attributes:
        crs: Coordinate reference system as text; None where the file names none.
        transform: From (column, row) to x and y, for rows and columns that are north up.
        turn: From rows and columns as stored to these.
        gsd_m: Metres per pixel on the ground, the mean of both axes at the centre.
        bounds: West, south, east, north of everything it shows, in units of the system.
        assumed: What had to be taken for granted to know the scale; empty if nothing.
    """

    crs: str | None
    transform: Affine
    turn: Turn
    gsd_m: float
    bounds: tuple[float, float, float, float]
    assumed: str = ""

    @property
    def place(self) -> str:
        """Its upper left corner, for messages."""
        return f"upper left at {_point(self.transform @ (0, 0))} in {self.crs or _NO_CRS}"


class _Found(NamedTuple):
    """What files say of a place."""

    transform: Affine
    crs: CRS | None


def read_georeference(
    source: rasterio.DatasetReader, path: Path, root: Path, remedy: str
) -> Georeference | None:
    """Where an open raster lies; None if nothing says so.

    Raises:
        FileProblem: If what is said is impossible: pixels that are no squares, a turn that no
            swap of rows and columns undoes, an unknown reference system.
    """
    found = _find(source, path, root, remedy)
    if found is None:
        return None
    name = None if found.crs is None else str(found.crs)
    try:
        return _locate(found.transform, name, source.width, source.height)
    except _ImpossibleError as error:
        cure = error.cure.format(name=path.name) or remedy
        raise FileProblem(path, error.got, error.expected, cure) from error


class _ImpossibleError(Exception):
    """Why a place is none: what of a FileProblem does not depend on the file."""

    def __init__(self, got: str, expected: str, cure: str = "") -> None:
        super().__init__(got)
        self.got, self.expected, self.cure = got, expected, cure


# A label lies where its photo does, and every epoch reads the same photos.
@functools.lru_cache(maxsize=MAX_PLACES_KEPT)
def _locate(transform: Affine, crs: str | None, width: int, height: int) -> Georeference:
    """The place of a raster of that size, as stored.

    Raises:
        _ImpossibleError: If it is none.
    """
    if not all(map(math.isfinite, transform[:6])):
        raise _ImpossibleError("a georeference that is no number", "finite ones")
    try:
        system, assumed = _system_of(crs, transform, width, height)
        axes, is_near = _axes_at_centre(system, transform, width, height)
    except GroundError as error:
        cure = "name the right one: `gdal_edit.py -a_srs EPSG:CODE {name}`"
        raise _ImpossibleError(str(error), "one that lies on the ground", cure) from error
    if not is_near:
        assumed = f"a place far from all that {crs} is made for, taken at its nominal scale"
    column, row = axes.of_step(transform.a, transform.d), axes.of_step(transform.b, transform.e)
    column_m, row_m = math.hypot(*column), math.hypot(*row)
    if not 0 < max(column_m, row_m) <= _MAX_ASPECT * min(column_m, row_m):
        got = f"a georeference of {column_m:.6g} x {row_m:.6g} m per pixel"
        cure = "`gdalwarp -r cubic -t_srs EPSG:CODE {name} square.tif`, CODE of a system in metres"
        raise _ImpossibleError(got, "pixels as wide as high, to a tenth", cure)
    _check_turn(transform, axes)
    turn = _turn(column, row)
    upright = transform
    if turn != AS_STORED:
        upright = transform @ turn.to_stored(*turn.size(height, width))
    bounds = _bounds(transform, width, height)
    return Georeference(crs, upright, turn, (column_m + row_m) / 2, bounds, assumed)


def settle_gsd_m(
    path: Path, georeference: Georeference | None, assumed_gsd_m: float, remedy: str
) -> float:
    """Metres per pixel of a photo: those of its georeference, which must be possible ones.

    Args:
        path: The photo.
        georeference: Its own; None if it has none.
        assumed_gsd_m: What is taken then.
        remedy: What the user should do about a wrong one.

    Raises:
        FileProblem: If they are impossible.
    """
    if georeference is None:
        return assumed_gsd_m
    if MIN_GSD_M <= georeference.gsd_m <= MAX_GSD_M:
        return georeference.gsd_m
    if georeference.crs is None:
        remedy = f"name its reference system: `gdal_edit.py -a_srs EPSG:CODE {path.name}`"
    got = f"a georeference of {georeference.gsd_m:.6g} m per pixel"
    raise FileProblem(path, got, f"{MIN_GSD_M} to {MAX_GSD_M} m", remedy)


def offset_px(own: Georeference, photo: Georeference, size_px: tuple[int, int]) -> float:
    """How far the corner of a label that is furthest off lies from its photo's.

    Args:
        own: The label's.
        photo: The photo's.
        size_px: Height and width of both, north up.

    Returns:
        Pixels of the photo; infinity where no map leads from one to the other.
    """
    corners = _corners(*size_px)
    x, y = np.array([own.transform @ corner for corner in corners]).T
    if own.crs and photo.crs and own.crs != photo.crs:
        transformer = find_transformer(own.crs, photo.crs)
        if transformer is None:
            return math.inf
        x, y = transformer.transform(x, y)
    to_px = ~photo.transform
    found = np.array([to_px @ point for point in zip(x, y, strict=True)])
    distance: float = np.hypot(*(found - corners).T).max()
    return distance


def _find(source: rasterio.DatasetReader, path: Path, root: Path, remedy: str) -> _Found | None:
    transform, crs = source.transform, source.crs
    if not transform.is_identity:
        return _Found(transform, crs)
    points, points_crs = source.gcps
    if points:
        return _Found(_fit_points(points, path), points_crs)
    pam, world = texts_beside(path, root, remedy)
    beside = _Found(Affine.identity(), None) if pam is None else _read_pam(pam)
    if beside.transform.is_identity and world is not None:
        beside = beside._replace(transform=_read_world(world, path))
    if beside.transform.is_identity:
        return None
    return beside if crs is None else beside._replace(crs=crs)


def _fit_points(points: list[GroundControlPoint], path: Path) -> Affine:
    """The transform of control points, which must lie on a straight grid."""
    transform = from_gcps(points)
    cure = f"`gdalwarp {path.name} straight.tif` makes them one"
    expected = "points of a straight grid"
    if transform.is_degenerate:
        raise FileProblem(path, "control points in one line", expected, cure)
    to_px = ~transform
    found = np.array([to_px @ (point.x, point.y) for point in points])
    residual_px = np.abs(found - [(point.col, point.row) for point in points]).max()
    if not residual_px <= _MAX_GCP_RESIDUAL_PX:
        got = f"{len(points)} control points up to {residual_px:.3g} pixels off a straight grid"
        raise FileProblem(path, got, expected, cure)
    return transform


def _read_pam(text: str) -> _Found:
    """Georeference of GDAL's `.aux.xml`; identity and None for what it does not say."""
    nothing = _Found(Affine.identity(), None)
    try:
        tree = ElementTree.fromstring(text)
        numbers = [float(number) for number in (tree.findtext("GeoTransform") or "").split(",")]
        transform = Affine.from_gdal(*numbers)
    except (ElementTree.ParseError, ValueError, TypeError):
        return nothing
    try:
        srs = tree.findtext("SRS")
        return _Found(transform, CRS.from_user_input(srs) if srs else None)
    except CRSError:
        return _Found(transform, None)


def _read_world(text: str, path: Path) -> Affine:
    """The transform of a world file, which counts from the middle of the first pixel."""
    try:
        a, d, b, e, x, y = (float(number) for number in text.split()[:6])
    except ValueError as error:
        got = f"a world file beside it that holds {text[:40]!r}"
        raise FileProblem(path, got, "six numbers", "write it again, or remove it") from error
    return Affine(a, b, x, d, e, y) @ Affine.translation(-0.5, -0.5)


def _system_of(crs: str | None, transform: Affine, width: int, height: int) -> tuple[System, str]:
    """The reference system, and what had to be assumed of it."""
    if crs is not None:
        return find_system(crs), ""
    x, y = transform @ (width / 2, height / 2)
    side = max(abs(transform.a), abs(transform.b))
    # Metres would be too small for any photo, degrees are not.
    if 0 < side < MIN_GSD_M and abs(x) <= 180 and abs(y) <= 90:
        return find_system(_DEGREES), f"{_NO_CRS}, taken as degrees"
    return METRES, f"{_NO_CRS}, taken as metres"


def _axes_at_centre(
    system: System, transform: Affine, width: int, height: int
) -> tuple[Axes, bool]:
    """As System.axes, at the middle of a raster."""
    x, y = transform @ (width / 2, height / 2)
    pixel = max(map(abs, (transform.a, transform.b, transform.d, transform.e)))
    reach = pixel * min(_REACH_PX, max(width, height) / 2)
    if reach == 0:
        raise GroundError("a georeference of 0 x 0 m per pixel")
    return system.axes(x, y, reach, reach)


def _turn(column: Vector, row: Vector) -> Turn:
    """The turn after which columns run east and rows south.

    Args:
        column: Metres to the east and to the north from one column to the next.
        row: The same from one row to the next.
    """
    swap_axes = abs(column[1]) > abs(column[0])
    if swap_axes:
        column, row = row, column
    return Turn(swap_axes, flip_rows=row[1] > 0, flip_columns=column[0] < 0)


def _check_turn(transform: Affine, axes: Axes) -> None:
    """Raise _ImpossibleError where rows or columns run askew to the map's grid, or it to north."""
    x_m, y_m = math.hypot(*axes.x), math.hypot(*axes.y)
    steps = (transform.a * x_m, transform.d * y_m), (transform.b * x_m, transform.e * y_m)
    turned_deg = max(_off_axis_deg(step) for step in steps)
    cure = "`gdalwarp -r cubic {name} north_up.tif` makes it so (-r near for a label)"
    if not turned_deg <= _MAX_TURN_DEG:
        got = f"a georeference turned by {turned_deg:.3g} degrees"
        raise _ImpossibleError(got, "north up, to 1 degree, or turned by quarters", cure)
    # Of some maps x runs west and y south.
    convergence_deg = math.degrees(math.atan2(*axes.y)) % 180
    convergence_deg = min(convergence_deg, 180 - convergence_deg)
    if not convergence_deg <= MAX_CONVERGENCE_DEG:
        got = f"a reference system whose grid is {convergence_deg:.3g} degrees off north here"
        cure = cure.replace("-r cubic", "-r cubic -t_srs EPSG:CODE")
        raise _ImpossibleError(got, f"at most {MAX_CONVERGENCE_DEG} degrees", cure)


def _off_axis_deg(step: Vector) -> float:
    """Angle between a step and the nearer axis."""
    angle_deg = math.degrees(math.atan2(step[1], step[0])) % 90
    return min(angle_deg, 90 - angle_deg)


def _bounds(transform: Affine, width: int, height: int) -> tuple[float, float, float, float]:
    """West, south, east, north of everything that a file shows, however it is turned."""
    x, y = zip(*(transform @ corner for corner in _corners(height, width)), strict=True)
    return min(x), min(y), max(x), max(y)


def _corners(height: int, width: int) -> list[tuple[int, int]]:
    """Column and row of each."""
    return [(0, 0), (width, 0), (0, height), (width, height)]


def _point(xy: tuple[float, float]) -> str:
    return "({})".format(", ".join(f"{number:.10g}" for number in xy))
