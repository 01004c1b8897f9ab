"""Buildings as planes: a wing's roof is their minimum, a building's the maximum over its wings.

Positions are (east, south) in metres from the upper left corner of the image, so rows run south.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]  # (2,): east, south

MainKind = Literal["gable", "hip", "pyramid", "half_hip", "shed", "flat"]
_KIND_SHARES: dict[MainKind, float] = {
    "gable": 0.45, "hip": 0.17, "pyramid": 0.05, "half_hip": 0.12, "shed": 0.06, "flat": 0.15,
}  # fmt: skip

_SIDE_WING_SHARE = 0.4
_DORMER_SHARE = 0.5
_GARAGE_SHARE = 0.25
_MIN_DORMER_PITCH_DEG = 30.0  # below it a dormer's own ridge would top the main ridge


@dataclass(frozen=True)
class Plane:
    """A roof plane: height = height_at_origin_m + east_slope * east + south_slope * south.

    Attributes:
        height_at_origin_m: Height above ground at the image's upper left corner, metres.
        east_slope: Metres up per metre towards east.
        south_slope: Metres up per metre towards south.
    """

    height_at_origin_m: float
    east_slope: float
    south_slope: float

    @property
    def is_flat(self) -> bool:
        """Whether it runs down in no direction."""
        return self.east_slope == 0.0 and self.south_slope == 0.0

    @property
    def azimuth_deg(self) -> float:
        """The compass direction in which it runs down, degrees clockwise from north."""
        return float(np.degrees(np.arctan2(-self.east_slope, self.south_slope)) % 360.0)

    @property
    def pitch_deg(self) -> float:
        """Its tilt against the horizontal, degrees."""
        return float(np.degrees(np.arctan(np.hypot(self.east_slope, self.south_slope))))

    @property
    def key(self) -> tuple[float, float, float]:
        """The same for coplanar planes, whatever the rounding of their numbers."""
        east, south = round(self.east_slope, 5), round(self.south_slope, 5)
        return round(self.height_at_origin_m, 5), east, south

    def height_m(self, points_m: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(N,) heights above ground at (N, 2) points, east and south in metres."""
        slopes = np.array([self.east_slope, self.south_slope])
        return np.asarray(self.height_at_origin_m + points_m @ slopes, np.float64)


@dataclass(frozen=True)
class Rectangle:
    """A footprint.

    Attributes:
        centre_m: (2,) east and south of its centre, metres.
        along: (2,) unit vector of its long axis, which is its ridge's direction.
        length_m: Size along that axis.
        width_m: Size across it.
    """

    centre_m: Vector
    along: Vector
    length_m: float
    width_m: float

    @property
    def across(self) -> Vector:
        """The axis turned by a quarter turn."""
        return np.array([-self.along[1], self.along[0]])

    def corners_m(self) -> npt.NDArray[np.float64]:
        """(4, 2) east and south of its corners, one after the other."""
        signs = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
        sides = np.array([self.along * self.length_m / 2, self.across * self.width_m / 2])
        return np.asarray(self.centre_m + signs @ sides, np.float64)

    def holds(self, points_m: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """(N,) whether (N, 2) points lie in it."""
        offsets = points_m - self.centre_m
        inside = np.abs(offsets @ self.along) <= self.length_m / 2
        return np.asarray(inside & (np.abs(offsets @ self.across) <= self.width_m / 2), np.bool_)

    def side_plane(self, sign: int, eave_height_m: float, tangent: float) -> Plane:
        """The plane that runs down to the long side at `sign` times `across`."""
        return self._plane_down_to(sign * self.across, self.width_m / 2, eave_height_m, tangent)

    def end_plane(self, sign: int, eave_height_m: float, tangent: float) -> Plane:
        """The plane that runs down to the short side at `sign` times `along`."""
        return self._plane_down_to(sign * self.along, self.length_m / 2, eave_height_m, tangent)

    def _plane_down_to(
        self, outward: Vector, distance_m: float, eave_height_m: float, tangent: float
    ) -> Plane:
        height_m = eave_height_m + tangent * (distance_m + float(outward @ self.centre_m))
        return Plane(height_m, float(-tangent * outward[0]), float(-tangent * outward[1]))


@dataclass(frozen=True)
class Wing:
    """A rectangle and the planes over it.

    Attributes:
        footprint: Where the wing stands.
        planes: Its roof is the lowest of them at every point.
        is_dormer: Whether it sits on another wing.
    """

    footprint: Rectangle
    planes: tuple[Plane, ...]
    is_dormer: bool = False


@dataclass(frozen=True)
class _Body:
    """What the parts of one building have in common."""

    main: Rectangle
    eave_height_m: float
    pitch_deg: float

    @property
    def tangent(self) -> float:
        return float(np.tan(np.radians(self.pitch_deg)))


def draw_building(
    rng: np.random.Generator, centre_m: Vector, heading_rad: float
) -> tuple[Wing, ...]:
    """The wings of a random building.

    Args:
        rng: Source of every choice.
        centre_m: (2,) centre of the main wing.
        heading_rad: Direction of the main ridge, clockwise from east in the image.

    Returns:
        The main wing first; then a side wing of the same pitch and eaves (L or T shape), or
        dormers, and perhaps a flat garage.
    """
    kind = rng.choice(list(_KIND_SHARES), p=list(_KIND_SHARES.values()))
    width_m = rng.uniform(6.0, 12.0)
    length_m = width_m if kind == "pyramid" else width_m * rng.uniform(1.1, 2.3)
    along = np.array([np.cos(heading_rad), np.sin(heading_rad)])
    pitch_deg = rng.uniform(8.0, 18.0) if kind == "shed" else rng.uniform(20.0, 50.0)
    main = Rectangle(centre_m, along, length_m, width_m)
    body = _Body(main, rng.uniform(2.6, 7.0), pitch_deg)

    wings = [Wing(main, _main_planes(rng, kind, body))]
    if kind in ("gable", "hip", "half_hip") and rng.random() < _SIDE_WING_SHARE:
        wings.append(_side_wing(rng, body, hip=kind == "hip" or rng.random() < 0.5))
    elif kind == "gable" and pitch_deg > _MIN_DORMER_PITCH_DEG and rng.random() < _DORMER_SHARE:
        wings.extend(_dormers(rng, body))
    if rng.random() < _GARAGE_SHARE:
        wings.append(_garage(rng, body))
    return tuple(wings)


def _main_planes(rng: np.random.Generator, kind: MainKind, body: _Body) -> tuple[Plane, ...]:
    main, eave_height_m, tangent = body.main, body.eave_height_m, body.tangent
    if kind == "flat":
        return (Plane(eave_height_m, 0.0, 0.0),)
    if kind == "shed":
        return (main.side_plane(1, eave_height_m, tangent),)
    end_eave_m, end_tangent = eave_height_m, tangent
    if kind == "half_hip":
        # The hip cuts off only the top of the gable, and is a little steeper than the sides.
        end_eave_m += rng.uniform(0.45, 0.7) * tangent * main.width_m / 2
        end_tangent *= 1.15
    ends = () if kind == "gable" else (1, -1)
    return _pitched_planes(main, eave_height_m, tangent) + tuple(
        main.end_plane(sign, end_eave_m, end_tangent) for sign in ends
    )


def _pitched_planes(
    footprint: Rectangle, eave_height_m: float, tangent: float
) -> tuple[Plane, Plane]:
    return (
        footprint.side_plane(1, eave_height_m, tangent),
        footprint.side_plane(-1, eave_height_m, tangent),
    )


def _side_wing(rng: np.random.Generator, body: _Body, *, hip: bool) -> Wing:
    main = body.main
    outward = main.across * rng.choice([-1, 1])
    width_m = main.width_m * rng.uniform(0.6, 1.0)
    length_m = main.width_m / 2 + rng.uniform(3.0, 8.0)
    shift_m = rng.choice([-1, 0, 1]) * (main.length_m - width_m) / 2
    # It starts under the main ridge, so that its inner end is always hidden.
    centre_m = main.centre_m + main.along * shift_m + outward * length_m / 2
    footprint = Rectangle(centre_m, outward, length_m, width_m)
    planes: Sequence[Plane] = _pitched_planes(footprint, body.eave_height_m, body.tangent)
    if hip:
        planes = (*planes, footprint.end_plane(1, body.eave_height_m, body.tangent))
    return Wing(footprint, tuple(planes))


def _dormers(rng: np.random.Generator, body: _Body) -> list[Wing]:
    main = body.main
    outward = main.across * rng.choice([-1, 1])
    length_m = main.width_m / 2 * rng.uniform(0.55, 0.75)
    width_m = rng.uniform(1.6, min(2.6, 0.26 * main.length_m))
    eave_height_m = body.eave_height_m + body.tangent * main.width_m / 4
    wings = []
    for share in rng.permutation([-0.3, 0.0, 0.3])[: rng.integers(1, 4)]:
        centre_m = main.centre_m + main.along * share * main.length_m + outward * length_m / 2
        footprint = Rectangle(centre_m, outward, length_m, width_m)
        planes = _pitched_planes(footprint, eave_height_m, float(np.tan(np.radians(30.0))))
        wings.append(Wing(footprint, planes, is_dormer=True))
    return wings


def _garage(rng: np.random.Generator, body: _Body) -> Wing:
    main = body.main
    length_m, width_m = rng.uniform(5.5, 7.5), rng.uniform(3.0, 5.5)
    end = rng.choice([-1, 1])
    shift_m = rng.uniform(-1.0, 1.0) * max(main.width_m - length_m, 0.0) / 2
    # A metre of it lies under the main roof: no gap between them, whatever the rounding.
    reach_m = (main.length_m + width_m) / 2 - 1.0
    centre_m = main.centre_m + main.along * end * reach_m + main.across * shift_m
    height_m = min(rng.uniform(2.3, 2.9), body.eave_height_m - 0.1)
    return Wing(Rectangle(centre_m, main.across, length_m, width_m), (Plane(height_m, 0.0, 0.0),))
