"""Line targets derived from segments: where two planes meet, their directions say what the line is.

Works on class ids alone, so both planes are taken to be equally steep. The crease of two equally
steep planes runs at a right angle to the difference of their downhill directions; a boundary that
does not run so is a step, a wall or a drawing error, and becomes unknown rather than "no line".
"""

import math
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats, Ints, Mask8
from app.base.azimuth import NUM_BINS, class_to_degrees
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF, segments_after_turns

# Planes drawn with a slit of background between them still meet.
_MAX_GAP_M: Final = 0.4
# A shorter piece of boundary has no dependable direction.
_MIN_LENGTH_M: Final = 1.5
_MAX_CORNER_PIXELS: Final = 2
# How far a boundary may leave the straight line that stands for it.
_MAX_BEND_M: Final = 0.2
# 10 degrees for the drawing, and half a bin for azimuths known by class only: a house that stands
# half a bin off turns both planes, and the predicted crease is off by as much. A step along one
# plane of a right-angled corner lies 45 degrees from the crease, 33.75 with a house so turned.
_MAX_ANGLE_DEG: Final = 10.0 + 360.0 / NUM_BINS / 2
# One bin apart may be one plane drawn in two pieces, with azimuths on both sides of a bin's edge.
_MIN_BINS_APART: Final = 2
# The crease of planes 7 bins (157.5 degrees) apart rises 0.14 m per metre on a 35 degree roof, less
# than the 0.25 that still count as a ridge; 6 bins apart it rises 0.27.
_RIDGE_MIN_BINS_APART: Final = 7
_UNKNOWN_HALF_WIDTH_M: Final = 0.5
# 3 px wide at 0.1 m, and around it a pixel that is neither line nor not.
_LINE_HALF_WIDTH_M: Final = 0.15
_MIN_LINE_HALF_WIDTH_PX: Final = 1.5
_RING_PX: Final = 1.0

# Channels of the lines task, and one more for boundaries that fail the check.
_EAVE, _RIDGE, _HIP, _VALLEY, _UNCLEAR = range(5)

_SQUARE: Final = np.ones((3, 3), np.uint8)
# The 4-neighbourhood, which marks a chain one pixel thick along an edge.
_CROSS: Final = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


class _Boundaries(NamedTuple):
    """The pixels where planes meet, P of them, each on the plane of the higher class.

    RID's masks were drawn class by class with edge pixels included, so a shared edge lies on pixels
    of the higher class.

    Attributes:
        x: (P,) column.
        y: (P,) row.
        own: (P,) class of the pixel.
        neighbour: (P,) class of the plane across the boundary, less than own.
        tangent: (P, 2) unit vector (x, y) along the straight piece the pixel lies on, such that
            (-y, x) points out of the pixel's own plane.
        length_px: (P,) how far the two planes meet along that piece.
    """

    x: Ints
    y: Ints
    own: Ints
    neighbour: Ints
    tangent: Floats
    length_px: Floats


def lines_from_segments(segments: Mask8, gsd_m: float) -> Mask8:
    """Eave, ridge, hip and valley targets of one image.

    Eave is the outline of the roofs against background. Two planes that meet make a ridge, a hip or
    a valley if their boundary runs as their directions ask; where it does not, or one of them is
    flat or of unknown direction, all four kinds are unknown in a band 1 m wide (it may be a step,
    whose upper edge is an eave). The border of the image is no line.

    Args:
        segments: (H, W) uint8, 0..15 azimuth class, 16 flat, 17 background, 18 some roof,
            255 unknown.
        gsd_m: Metres per pixel.

    Returns:
        (4, H, W) uint8, eave, ridge, hip, valley: 1 on centre lines one pixel thick, 255 where
        unknown, else 0. `draw_lines` gives them their width.
    """
    planes = _fill_gaps(segments, gsd_m)
    background = (planes == BACKGROUND_CLASS).view(np.uint8)
    unknown = (planes == IGNORE_INDEX).view(np.uint8)
    roof = 1 - (background | unknown)

    centres = np.zeros((_UNCLEAR + 1, *segments.shape), np.uint8)
    centres[_EAVE] = roof & cv2.dilate(background, _CROSS)
    boundaries = _trace_boundaries(planes, gsd_m)
    centres[_kinds(boundaries, gsd_m), boundaries.y, boundaries.x] = 1
    centres[_UNCLEAR] |= unknown
    # Inside a roof of unknown directions creases may run anywhere; its outline is known.
    hidden_creases = (planes == SOME_ROOF).view(np.uint8)
    return _merge(centres, hidden_creases, gsd_m)


def count_creases(segments: Mask8, gsd_m: float) -> Ints:
    """How many pixels of ridge, hip and valley the planes would make, turned and mirrored.

    Args:
        segments: As of `lines_from_segments`.
        gsd_m: Metres per pixel.

    Returns:
        (2, 16, 3) int64: entry [int(flip), k] counts those of the same outlines with directions
        turned clockwise by k bins and then, if flip, mirrored left to right.
    """
    boundaries = _trace_boundaries(_fill_gaps(segments, gsd_m), gsd_m)
    tables = segments_after_turns().astype(np.int64)
    counts = np.zeros((*tables.shape[:2], 3), np.int64)
    for turned, table in zip(counts.reshape(-1, 3), tables.reshape(-1, 256), strict=True):
        moved = boundaries._replace(
            own=table[boundaries.own], neighbour=table[boundaries.neighbour]
        )
        kinds = np.bincount(_kinds(moved, gsd_m), minlength=_UNCLEAR + 1)
        turned[:] = kinds[_RIDGE : _VALLEY + 1]
    return counts


def draw_lines(centres: Mask8, gsd_m: float) -> Mask8:
    """Line targets from centre lines; drawn last, so that no turn or zoom changes their width.

    Args:
        centres: (4, H, W) uint8: 1 on centre lines one pixel thick (gaps of a pixel are closed),
            255 unknown, else 0.
        gsd_m: Metres per pixel.

    Returns:
        (4, H, W) uint8: 1 on a line (3 px wide at 0.1 m), 255 in the pixel around it and where
        unknown, else 0. A line stands above its own ring and above what is unknown.
    """
    line_disk, ring_disk = line_and_ring(gsd_m)
    # Masks of 0 and 255, so that each step is one pass over whole words.
    lines: Mask8 = (centres == IGNORE_INDEX).view(np.uint8) * np.uint8(IGNORE_INDEX)
    for target, kind in zip(lines, centres, strict=True):
        centre = (kind == 1).view(np.uint8) * np.uint8(IGNORE_INDEX)
        if centre.any():
            target |= np.asarray(cv2.dilate(centre, ring_disk), np.uint8)
            line = np.asarray(cv2.dilate(centre, line_disk), np.uint8)
            target &= ~line
            target |= line & np.uint8(1)
    return lines


def line_and_ring(gsd_m: float) -> tuple[Mask8, Mask8]:
    """The pixels that a line's centre makes line, and those that it makes line or ring, as 1."""
    half_width_px = max(_MIN_LINE_HALF_WIDTH_PX, _LINE_HALF_WIDTH_M / gsd_m)
    return _disk(half_width_px), _disk(half_width_px + _RING_PX)


def line_reach_px(gsd_m: float) -> int:
    """How far from its centre line a drawn line and its ring reach."""
    return math.ceil(max(_MIN_LINE_HALF_WIDTH_PX, _LINE_HALF_WIDTH_M / gsd_m) + _RING_PX)


def close_slits(roof: Mask8, gsd_m: float) -> Mask8:
    """Roofs with the slits between them filled, and all else as it was.

    Beyond the border there is ground: ground between a roof and the border is no slit.

    Args:
        roof: (H, W) uint8 0/1.
        gsd_m: Metres per pixel.
    """
    radius_px = _gap_radius_px(gsd_m)
    square = np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8)
    # OpenCV takes what lies beyond the border for roof where it shrinks roofs again.
    closed = cv2.morphologyEx(np.pad(roof, radius_px), cv2.MORPH_CLOSE, square)
    return np.asarray(closed[radius_px:-radius_px, radius_px:-radius_px], np.uint8)


def _gap_radius_px(gsd_m: float) -> int:
    """Half of the widest slit."""
    return max(1, round(_MAX_GAP_M / gsd_m / 2))


def _fill_gaps(segments: Mask8, gsd_m: float) -> Mask8:
    """Segments with narrow slits of background between planes given half to each side."""
    background = segments == BACKGROUND_CLASS
    is_plane = (~(background | (segments == IGNORE_INDEX))).view(np.uint8)
    closed = np.ascontiguousarray(close_slits(is_plane, gsd_m))
    y, x = np.nonzero(closed.view(np.bool_) & background)
    if not len(y):
        return segments
    # One more than the class, so that 0 is no plane and the larger of two is a plane.
    grown = (segments + np.uint8(1)) * is_plane
    for _ in range(_gap_radius_px(gsd_m)):
        spread = cv2.dilate(grown, _SQUARE)[y, x]
        grown[y, x] = np.where(grown[y, x] == 0, spread, grown[y, x])
    filled = segments.copy()
    filled[y, x] = np.where(grown[y, x] == 0, BACKGROUND_CLASS, grown[y, x] - 1)
    return filled


def _trace_boundaries(planes: Mask8, gsd_m: float) -> _Boundaries:
    """Every boundary between two planes, cut into straight pieces."""
    solid = np.where(planes == BACKGROUND_CLASS, IGNORE_INDEX, planes).astype(np.uint8)
    # The lowest class that touches a pixel: below its own where a plane of a lower class begins.
    lowest = cv2.erode(solid, _CROSS)
    is_boundary = (lowest < solid) & (solid != IGNORE_INDEX)
    outlines = _Outlines(planes.shape)
    for own in np.unique(solid[is_boundary]):
        own_pixels = (planes == own).view(np.uint8)
        left, top, width, height = cv2.boundingRect(own_pixels)
        # CCOMP: outlines one way round, holes the other, so that outside is always on one side.
        contours, _ = cv2.findContours(
            own_pixels[top : top + height, left : left + width],
            cv2.RETR_CCOMP,
            cv2.CHAIN_APPROX_NONE,
            offset=(left, top),
        )
        for contour in contours:
            if is_boundary[contour[:, 0, 1], contour[:, 0, 0]].any():
                outlines.add(contour, _MAX_BEND_M / gsd_m)
    if outlines.is_empty:
        nothing = np.zeros(0, np.int64)
        return _Boundaries(nothing, nothing, nothing, nothing, np.zeros((0, 2)), np.zeros(0))
    xy, piece, tangents, steps_px = outlines.cut_straight()
    all_x, all_y = xy.T
    met = is_boundary[all_y, all_x]
    # One piece of an outline may pass several neighbours.
    meeting = piece * 256 + lowest[all_y, all_x]
    _, group, num_pixels = np.unique(meeting[met], return_inverse=True, return_counts=True)
    length_px = np.bincount(group, steps_px[met]).astype(np.float64)[group]
    tangent = tangents[met]
    # The first pixel of a piece may touch the neighbour of the piece before it.
    kept = num_pixels[group] > _MAX_CORNER_PIXELS
    x, y = all_x[met][kept], all_y[met][kept]
    own, neighbour = planes[y, x].astype(np.int64), lowest[y, x].astype(np.int64)
    return _Boundaries(x, y, own, neighbour, tangent[kept], length_px[kept])


class _Outlines:
    """Closed contours, and where they are cut into straight pieces.

    All are cut at once: of a photo there are some fifty, and each step in NumPy costs the same for
    one of them as for all.

    Args:
        size: Rows and columns of the image.

    Attributes:
        is_empty: Whether no contour was added.
    """

    def __init__(self, size: tuple[int, ...]) -> None:
        self.is_empty = True
        self._is_corner = np.zeros(size, np.bool_)
        self._contours: list[npt.NDArray[np.int32]] = []
        self._begins: list[npt.NDArray[np.bool_]] = []

    def add(self, contour: npt.NDArray[np.int32], max_bend_px: float) -> None:
        """Add a contour.

        Args:
            contour: (P, 1, 2) int32, x and y of neighbouring pixels, as OpenCV returns it.
            max_bend_px: How far a piece may leave its chord.
        """
        self.is_empty = False
        corners = cv2.approxPolyDP(contour, max_bend_px, closed=True)
        # Corners are pixels of the contour, in which they are found again.
        corner_y, corner_x = corners[:, 0, 1], corners[:, 0, 0]
        self._is_corner[corner_y, corner_x] = True
        self._contours.append(contour[:, 0])
        self._begins.append(self._is_corner[contour[:, 0, 1], contour[:, 0, 0]])
        self._is_corner[corner_y, corner_x] = False

    def cut_straight(self) -> tuple[Ints, Ints, Floats, Floats]:
        """The pixels of all contours, P of them, in their order.

        Returns:
            x and y, (P, 2); the number of each one's piece, (P,); the unit vector along that piece,
            (P, 2); and how far the step to the next pixel of the contour leads along it, (P,).
        """
        xy = np.concatenate(self._contours).astype(np.int64)
        begins = np.concatenate(self._begins)
        lengths = np.array([len(contour) for contour in self._contours])
        num_pieces = np.array([np.count_nonzero(each) for each in self._begins])
        first_piece = np.cumsum(num_pieces) - num_pieces
        # Pixels before a contour's first corner are of its last piece.
        piece = np.cumsum(begins) - 1
        before = piece < np.repeat(first_piece, lengths)
        piece[before] = np.repeat(first_piece + num_pieces - 1, lengths)[before]
        corner_xy = xy[begins]
        chord = (corner_xy[_next_in_ring(num_pieces)] - corner_xy).astype(np.float64)
        # A spur one pixel thick ends where it began: no direction, and no unit vector.
        tangent = (chord / np.maximum(np.hypot(chord[:, :1], chord[:, 1:]), 1.0))[piece]
        step = xy[_next_in_ring(lengths)] - xy
        return xy, piece, tangent, (step * tangent).sum(axis=1)


def _next_in_ring(lengths: Ints) -> Ints:
    """The index after each, of rings of these lengths behind each other."""
    following = np.arange(1, lengths.sum() + 1)
    ends = np.cumsum(lengths)
    following[ends - 1] = ends - lengths
    return following


def _kinds(boundaries: _Boundaries, gsd_m: float) -> Ints:
    """What each boundary pixel is: _RIDGE, _HIP, _VALLEY or _UNCLEAR, (P,).

    Two planes of height c - g.x, with g pointing downhill, cross in a line at a right angle to the
    difference of their g. The roof falls away from it on both sides (convex) if that difference,
    own less neighbour's, points away from the neighbour.
    """
    own_downhill, neighbour_downhill = _downhill(boundaries.own), _downhill(boundaries.neighbour)
    difference = own_downhill - neighbour_downhill
    outward = boundaries.tangent[:, ::-1] * (-1.0, 1.0)
    along = (difference * boundaries.tangent).sum(axis=1)
    across = (difference * outward).sum(axis=1)
    off_crease_deg = np.degrees(np.arctan2(np.abs(along), np.abs(across)))
    bins_apart = (boundaries.own - boundaries.neighbour) % NUM_BINS
    bins_apart = np.minimum(bins_apart, NUM_BINS - bins_apart)

    clear = (
        (boundaries.own < NUM_BINS)
        & (bins_apart >= _MIN_BINS_APART)
        & (boundaries.length_px * gsd_m >= _MIN_LENGTH_M)
        & (off_crease_deg <= _MAX_ANGLE_DEG)
    )
    convex_kind = np.where(bins_apart >= _RIDGE_MIN_BINS_APART, _RIDGE, _HIP)
    kind = np.where(across < 0, convex_kind, _VALLEY)
    return np.where(clear, kind, _UNCLEAR)


def _downhill(azimuth_class: Ints) -> Floats:
    """The unit vector (x east, y south) in which planes of these classes run down, (P, 2)."""
    azimuth = np.radians(class_to_degrees(azimuth_class))
    return np.stack((np.sin(azimuth), -np.cos(azimuth)), axis=1)


def _merge(centres: Mask8, hidden_creases: Mask8, gsd_m: float) -> Mask8:
    """Centre lines above what is unknown of them.

    Args:
        centres: (5, H, W) uint8 0/1: eave, ridge, hip, valley, unclear.
        hidden_creases: (H, W) uint8 0/1, where ridges, hips and valleys are not known.
        gsd_m: Metres per pixel.

    Returns:
        (4, H, W) uint8: 1, 0 or 255.
    """
    doubtful = np.zeros((_UNCLEAR, *centres.shape[1:]), np.uint8)
    doubtful[:] = cv2.dilate(centres[_UNCLEAR], _disk(_UNKNOWN_HALF_WIDTH_M / gsd_m))
    doubtful[_RIDGE:] |= hidden_creases
    lines = doubtful * np.uint8(IGNORE_INDEX)
    known = centres[:_UNCLEAR]
    lines &= known - np.uint8(1)  # nothing where a line is, else all
    lines |= known
    return lines


def _disk(radius_px: float) -> Mask8:
    """The pixels within a distance, for cv2.dilate."""
    radius_px += 1e-6  # 0.15 m / 0.05 m is 3 px, and a hair less in floating point
    reach = np.arange(-int(radius_px), int(radius_px) + 1)
    return (np.hypot(reach[:, None], reach[None]) <= radius_px).astype(np.uint8)
