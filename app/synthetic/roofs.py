"""The roofs of a scene on the pixel grid: which plane is seen at each pixel, and how high."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.synthetic.geometry import Plane, Rectangle, Vector, Wing, draw_building

FloatImage = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Window = tuple[slice, slice]

NO_FACET = -1
ROAD_WIDTH_M = 5.6
_MAX_BUILDINGS = 200
_GAP_M = 0.9  # between two buildings
MIN_OVERLAP_RISE_M = 1e-4  # above the rounding of equal heights, where two wings touch


@dataclass(frozen=True)
class Grid:
    """Pixel centres in metres.

    Attributes:
        size_px: Rows and columns.
        gsd_m: Metres per pixel.
        east_m: (1, size_px) float32.
        south_m: (size_px, 1) float32.
    """

    size_px: int
    gsd_m: float
    east_m: FloatImage
    south_m: FloatImage

    @classmethod
    def square(cls, size_px: int, gsd_m: float) -> "Grid":
        """A square grid with its origin at the upper left corner of the upper left pixel."""
        centres_m = ((np.arange(size_px) + 0.5) * gsd_m).astype(np.float32)
        return cls(size_px, gsd_m, centres_m[None, :], centres_m[:, None])

    @property
    def extent_m(self) -> float:
        """Length of one side."""
        return self.size_px * self.gsd_m

    def window(self, east_m: float, south_m: float, radius_m: float) -> Window:
        """The part of the grid within radius_m of a point in both directions; may be empty."""
        rows, columns = (
            slice(
                int(np.clip((centre_m - radius_m) / self.gsd_m, 0, self.size_px)),
                int(np.clip((centre_m + radius_m) / self.gsd_m + 1, 0, self.size_px)),
            )
            for centre_m in (south_m, east_m)
        )
        return rows, columns

    def offsets_m(
        self, window: Window, east_m: float, south_m: float
    ) -> tuple[FloatImage, FloatImage]:
        """East (1, w) and south (h, 1) of a window's pixels, from a point."""
        rows, columns = window
        return (
            self.east_m[:, columns] - np.float32(east_m),
            self.south_m[rows] - np.float32(south_m),
        )

    def rectangle(self, footprint: Rectangle) -> tuple[Window, Mask]:
        """The window around a rectangle and which of its pixels are inside."""
        east_m, south_m = footprint.centre_m
        half_length_m, half_width_m = footprint.length_m / 2, footprint.width_m / 2
        window = self.window(east_m, south_m, float(np.hypot(half_length_m, half_width_m)))
        x, y = self.offsets_m(window, east_m, south_m)
        (along_x, along_y), (across_x, across_y) = (
            footprint.along.astype(np.float32),
            footprint.across.astype(np.float32),
        )
        inside = np.abs(x * along_x + y * along_y) <= half_length_m
        inside &= np.abs(x * across_x + y * across_y) <= half_width_m
        return window, inside


@dataclass(frozen=True)
class Street:
    """A straight street; houses, cars and terraces are aligned to it.

    Attributes:
        point_m: (2,) east and south of a point in its middle.
        along: (2,) unit vector.
    """

    point_m: Vector
    along: Vector

    @property
    def heading_rad(self) -> float:
        """Its direction, clockwise from east in the image."""
        return float(np.arctan2(self.along[1], self.along[0]))

    def distance_m(self, grid: Grid) -> FloatImage:
        """(H, W) float32, distance of each pixel from its middle."""
        x = grid.east_m - np.float32(self.point_m[0])
        y = grid.south_m - np.float32(self.point_m[1])
        return np.abs(y * np.float32(self.along[0]) - x * np.float32(self.along[1]))


def draw_street(rng: np.random.Generator, grid: Grid) -> Street:
    """A street of any direction that leaves the middle of the scene to a house."""
    heading_rad = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(heading_rad), np.sin(heading_rad)])
    aside_m = rng.uniform(0.2, 0.5) * grid.extent_m * np.array([-along[1], along[0]])
    return Street(np.full(2, grid.extent_m / 2) + aside_m, along)


@dataclass(frozen=True)
class Facet:
    """One roof plane of one building.

    Attributes:
        plane: Its heights.
        building: The building's number in building_map.
        window: Rows and columns that hold its building.
        is_dormer: Whether it belongs to a dormer.
    """

    plane: Plane
    building: int
    window: Window
    is_dormer: bool


@dataclass(frozen=True)
class Roofs:
    """All roofs of a scene.

    Attributes:
        grid: The pixels.
        facets: Every plane; coplanar planes of one building are one facet.
        facet_map: (H, W) int16, index into facets, -1 where no roof is.
        building_map: (H, W) uint8, 0 where no roof is, then 1, 2, ...
        height_m: (H, W) float32, 0 where no roof is.
        buildings: The wings of every building, also of what lies beyond the grid.
    """

    grid: Grid
    facets: list[Facet]
    facet_map: npt.NDArray[np.int16]
    building_map: npt.NDArray[np.uint8]
    height_m: FloatImage
    buildings: list[tuple[Wing, ...]]

    @classmethod
    def none(cls, grid: Grid) -> "Roofs":
        """Bare ground, for add_building to build on."""
        shape = (grid.size_px, grid.size_px)
        return cls(
            grid,
            [],
            np.full(shape, NO_FACET, np.int16),
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.float32),
            [],
        )

    @property
    def mask(self) -> Mask:
        """(H, W), where a roof is."""
        return self.building_map > 0

    @property
    def pixels(self) -> npt.NDArray[np.intp]:
        """Flat indices of the mask: several times faster than a mask on arrays of colours."""
        return np.flatnonzero(self.building_map)

    @property
    def num_buildings(self) -> int:
        """How many buildings have at least one pixel."""
        return int(self.building_map.max())

    def slopes(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """East and south slope of each facet, (num_facets + 1,) each.

        The last entry is level ground, which is where facet_map's -1 points.
        """
        planes = [facet.plane for facet in self.facets]
        east = [plane.east_slope for plane in planes] + [0.0]
        south = [plane.south_slope for plane in planes] + [0.0]
        return np.array(east, np.float32), np.array(south, np.float32)


def place_buildings(rng: np.random.Generator, grid: Grid, street: Street) -> Roofs:
    """A village part: one building near the centre, others beside it, most along the street.

    Args:
        rng: Source of every choice.
        grid: The pixels.
        street: What the others keep off.

    Returns:
        At least one building; none overlaps another.
    """
    roofs = Roofs.none(grid)
    # 3 to 10 buildings on the 51 m square that a RID image shows.
    density = rng.uniform(3.0, 11.0) / 51.2**2
    num_buildings = int(np.clip(density * grid.extent_m**2, 1, _MAX_BUILDINGS))
    is_road = street.distance_m(grid) < ROAD_WIDTH_M / 2
    for attempt in range(5 * num_buildings):
        near, far = (0.4, 0.6) if attempt == 0 else (0.02, 0.98)
        centre_m = rng.uniform(near, far, 2) * grid.extent_m
        heading_rad = rng.uniform(0.0, 2 * np.pi)
        if rng.random() < 0.85:
            heading_rad = street.heading_rad + rng.integers(4) * np.pi / 2 + rng.normal(0.0, 0.04)
        wings = draw_building(rng, centre_m, heading_rad)
        if attempt == 0 or _is_free(roofs, wings, is_road):
            add_building(roofs, wings)
        if roofs.num_buildings == num_buildings:
            break
    return roofs


def _is_free(roofs: Roofs, wings: tuple[Wing, ...], is_road: Mask) -> bool:
    """Whether neither road nor building is closer than the gap to any of the wings."""
    for wing in wings:
        footprint = wing.footprint
        wider = Rectangle(
            footprint.centre_m,
            footprint.along,
            footprint.length_m + 2 * _GAP_M,
            footprint.width_m + 2 * _GAP_M,
        )
        window, inside = roofs.grid.rectangle(wider)
        if ((is_road[window] | (roofs.building_map[window] > 0)) & inside).any():
            return False
    return True


def add_building(roofs: Roofs, wings: tuple[Wing, ...]) -> None:
    """Write a building into the maps; where wings overlap, the higher one is seen."""
    parts = [roofs.grid.rectangle(wing.footprint) for wing in wings]
    windows = [window for window, inside in parts if inside.any()]
    if not windows:
        return
    whole = (
        slice(min(w[0].start for w in windows), max(w[0].stop for w in windows)),
        slice(min(w[1].start for w in windows), max(w[1].stop for w in windows)),
    )
    building = roofs.num_buildings + 1
    roofs.buildings.append(wings)
    facet_of_plane: dict[tuple[float, ...], int] = {}
    for wing, (window, inside) in zip(wings, parts, strict=True):
        facet_ids = []
        for plane in wing.planes:
            # Coplanar planes of two wings must be one facet: which of them is higher is rounding.
            if plane.key not in facet_of_plane:
                facet_of_plane[plane.key] = len(roofs.facets)
                roofs.facets.append(Facet(plane, building, whole, wing.is_dormer))
            facet_ids.append(facet_of_plane[plane.key])
        height_m, lowest = _lowest_plane(roofs.grid, window, wing)
        seen = inside & (height_m > roofs.height_m[window] + MIN_OVERLAP_RISE_M)
        roofs.height_m[window][seen] = height_m[seen]
        roofs.facet_map[window][seen] = np.array(facet_ids, np.int16)[lowest[seen]]
        roofs.building_map[window][seen] = building


def _lowest_plane(
    grid: Grid, window: Window, wing: Wing
) -> tuple[FloatImage, npt.NDArray[np.uint8]]:
    """Height of the wing's roof and the index of its plane, for every pixel of the window.

    Heights are reckoned from the wing's own centre, so that float32 keeps micrometres.
    """
    east_m, south_m = wing.footprint.centre_m
    x, y = grid.offsets_m(window, east_m, south_m)
    height_m = np.full((y.shape[0], x.shape[1]), np.inf, np.float32)
    lowest = np.zeros(height_m.shape, np.uint8)
    for index, plane in enumerate(wing.planes):
        centre_height_m = (
            plane.height_at_origin_m + plane.east_slope * east_m + plane.south_slope * south_m
        )
        plane_m = x * np.float32(plane.east_slope) + (
            y * np.float32(plane.south_slope) + np.float32(centre_height_m)
        )
        lower = plane_m < height_m
        lowest[lower] = index
        np.minimum(height_m, plane_m, out=height_m)
    return height_m, lowest
