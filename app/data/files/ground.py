"""How long the units of a coordinate reference system are on the ground, and where they point."""

import functools
import math
from typing import Final, NamedTuple

from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError

_MAX_SYSTEMS_KEPT: Final = 64
# A map's grid may leave true north by this much: half of one of the 16 directions of roof planes.
MAX_CONVERGENCE_DEG: Final = 11.25
# Maps are used beyond what they are made for, but not so far.
_FAR_DEG: Final = 10.0
_WHOLE_EARTH: Final = (-180.0, -90.0, 180.0, 90.0)

Vector = tuple[float, float]


class GroundError(Exception):
    """A coordinate reference system, or a place in it, that has no size on the ground."""


class Axes(NamedTuple):
    """What one unit of x and one of y are on the ground.

    Attributes:
        x: Metres to the east and to the north.
        y: Metres to the east and to the north.
    """

    x: Vector
    y: Vector

    def of_step(self, dx: float, dy: float) -> Vector:
        """Metres to the east and to the north of a step in both."""
        return dx * self.x[0] + dy * self.y[0], dx * self.x[1] + dy * self.y[1]


class System(NamedTuple):
    """A coordinate reference system.

    Attributes:
        unit_m: Length of its unit where it is a plane, as a site's, and of a map far from the place
            that it is made for.
        transformer: To longitude and latitude on its own ellipsoid; None where x and y are these,
            as it costs milliseconds in every new thread.
        unit_rad: Unit of these.
        geod: The ellipsoid; None for a plane.
        area_deg: West, south, east, north of what it is made for; None where that is not known.
    """

    unit_m: float
    transformer: Transformer | None = None
    unit_rad: float = 1.0
    geod: Geod | None = None
    area_deg: tuple[float, float, float, float] | None = None

    def axes(self, x: float, y: float, reach_x: float, reach_y: float) -> tuple[Axes, bool]:
        """Both axes around a place, by geodesics.

        Args:
            x: The place.
            y: The place.
            reach_x: How far to either side lengths are taken: pixels alone are too small.
            reach_y: The same in y.

        Returns:
            The axes, and whether the place is one that the system is made for. If it is not, as of
            photos moved to (0, 0), they are those of a plane.

        Raises:
            GroundError: If the place is none of this system.
        """
        plane = Axes((self.unit_m, 0.0), (0.0, self.unit_m))
        if self.geod is None:
            return plane, True
        # Numbers, not arrays: this is done for every photo of a dataset.
        xs, ys = [x - reach_x, x + reach_x, x, x], [y, y, y - reach_y, y + reach_y]
        try:
            longitude, latitude = xs, ys
            if self.transformer is not None:
                longitude, latitude = self.transformer.transform(xs, ys)
            longitude = [value * self.unit_rad for value in longitude]
            latitude = [value * self.unit_rad for value in latitude]
            # Written so that a number that is none is refused.
            if not all(abs(value) <= math.pi / 2 for value in latitude):
                raise GroundError(f"a place outside of the reference system ({x:.10g}, {y:.10g})")
            if self._is_far(math.degrees(longitude[0]), math.degrees(latitude[0])):
                return plane, False
            units = []
            for start, reach in ((0, reach_x), (2, reach_y)):
                ends = longitude[start], latitude[start], longitude[start + 1], latitude[start + 1]
                azimuth, _, length_m = self.geod.inv(*ends, radians=True)
                unit_m = length_m / (2 * reach)
                units.append((unit_m * math.sin(azimuth), unit_m * math.cos(azimuth)))
        except ProjError as error:
            raise GroundError(f"a place that cannot be found ({error})") from error
        return Axes(*units), True

    def _is_far(self, longitude_deg: float, latitude_deg: float) -> bool:
        if self.area_deg is None:
            return False
        west, south, east, north = self.area_deg
        width_deg = ((east - west) % 360 or 360) + 2 * _FAR_DEG
        beyond = (longitude_deg - west + _FAR_DEG) % 360 > width_deg
        return beyond or not south - _FAR_DEG <= latitude_deg <= north + _FAR_DEG


# Of files that name none.
METRES: Final = System(unit_m=1.0)


@functools.lru_cache(maxsize=_MAX_SYSTEMS_KEPT)
def find_system(name: str) -> System:
    """The system of a text as GDAL writes it, or of a code.

    Raises:
        GroundError: If it is none that lies on the ground.
    """
    try:
        crs = _horizontal(CRS.from_user_input(name))
        units = [axis.unit_conversion_factor for axis in crs.axis_info] or [1.0]
        if crs.is_engineering:
            return System(unit_m=units[0])
        if crs.geodetic_crs is None or not (crs.is_projected or crs.is_geographic):
            raise GroundError(f"a coordinate reference system that is no map ({crs.type_name})")
        base, area = crs.geodetic_crs, crs.area_of_use if crs.is_projected else None
        is_plain = crs.is_geographic and not crs.is_derived
        return System(
            units[0],
            None if is_plain else Transformer.from_crs(crs, base, always_xy=True),
            base.axis_info[0].unit_conversion_factor,
            base.get_geod(),
            None if area is None or area.bounds == _WHOLE_EARTH else area.bounds,
        )
    except (CRSError, ProjError) as error:
        first_line = str(error).splitlines()[0][:200]
        raise GroundError(
            f"a coordinate reference system that is not known ({first_line})"
        ) from error


@functools.lru_cache(maxsize=_MAX_SYSTEMS_KEPT)
def find_transformer(source: str, target: str) -> Transformer | None:
    """From one system to another; None where no map leads from one to the other."""
    try:
        return Transformer.from_crs(
            _horizontal(CRS.from_user_input(source)),
            _horizontal(CRS.from_user_input(target)),
            always_xy=True,
        )
    except (CRSError, ProjError):
        return None


def _horizontal(crs: CRS) -> CRS:
    """A system without its heights, and without a shift of its own."""
    if crs.is_bound and crs.source_crs is not None:
        crs = crs.source_crs
    return crs.sub_crs_list[0] if crs.is_compound else crs
