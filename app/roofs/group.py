"""The roofs of one group: from its pixels to planes and lines."""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from app.base.arrays import Flags, Labels
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX
from app.roofs.blocks import Block
from app.roofs.coverage import NO_PLANE, Coverage, Edges, trace_pieces
from app.roofs.directions import Direction, PlaneEvidence, find_directions
from app.roofs.evidence import PROBABILITY_SCALE, RoofEvidence, as_shares, class_table
from app.roofs.frame import Frame, frame_at
from app.roofs.pieces import PixelEvidence, find_pieces
from app.roofs.pitch import Pitch, downhill, find_pitch, find_pitched
from app.roofs.roof_lines import EdgeEvidence, FoundLine, find_lines
from app.roofs.seen_lines import SeenLines
from app.roofs.settings import RoofSettings
from app.roofs.sides import find_sides
from app.roofs.slope import Slope
from app.roofs.slopes import fit_slopes
from app.roofs.straight import straighten
from app.roofs.votes import Votes, pixel_votes, sum_votes

# A roof that ends so close to where the photo ends is taken to go on beyond it.
_MAX_TO_END_M: Final = 0.4
_PLACES_ALONG_EDGE: Final = (0.2, 0.5, 0.8)


class FoundPlane(NamedTuple):
    """A plane of a group.

    Attributes:
        direction: Which way it runs down; None where it is flat, or nothing tells.
        pitch: How steep it is; None where heights do not say.
        ground_area_m2: In plan.
        height_m: At its centre; None where heights do not say.
        confidence: Probability that it is a plane of that direction.
        is_cut: Whether it ends where the photo does, or what is known of it.
    """

    direction: Direction | None
    pitch: Pitch | None
    ground_area_m2: float
    height_m: float | None
    confidence: float
    is_cut: bool


class Group(NamedTuple):
    """The roofs of a group.

    Attributes:
        frame: From columns and rows of the photo to metres.
        polygons: (P,) its planes, in columns and rows of the photo.
        planes: P.
        lines: In metres, with planes by their place here.
    """

    frame: Frame
    polygons: npt.NDArray[np.object_]
    planes: list[FoundPlane]
    lines: list[FoundLine]


class _Pixels(NamedTuple):
    """A group's part of a photo.

    Attributes:
        part: All that is known of it.
        classes: (h, w) as of `class_table`, without the roofs of other groups.
        frame: From its columns and rows to metres.
        seen: Its lines; None where none are known.
        is_photo: (h + 2, w + 2) where the photo shows something; True around, where it goes on.
    """

    part: RoofEvidence
    classes: npt.NDArray[np.uint8]
    frame: Frame
    seen: SeenLines | None
    is_photo: Flags


def find_group(
    evidence: RoofEvidence, block: Block, settings: RoofSettings, *, keep_pixels: bool = False
) -> Group | None:
    """The roofs of a group; None where nothing is left of it.

    Args:
        evidence: The photo.
        block: Where the group is.
        settings: What is a plane, an edge, a direction.
        keep_pixels: Whether edges stay as the pixels have them.
    """
    pixels, in_photo = _cut(evidence, block)
    labels = _find_labels(pixels, settings)
    if not labels.any():
        return None
    frame = pixels.frame
    rough = trace_pieces(labels, frame, 0.0 if keep_pixels else settings.simplify_m)
    in_order = np.zeros(int(labels.max()) + 1, np.int32)
    in_order[rough.labels] = np.arange(1, len(rough.labels) + 1)
    labels = in_order[labels]
    coverage = rough.coverage
    if not keep_pixels:
        sum_lines = None
        if (seen := pixels.seen) is not None:
            sum_lines = lambda a, b: seen.moments(a, b, settings.line_weight)  # noqa: E731
        coverage = straighten(rough, settings, frame.pixel_m, sum_lines)
    points = in_photo.pixels(coverage.points)
    planes, lines = _describe(pixels, labels, coverage, settings)
    return Group(in_photo, coverage.polygons(points), planes, lines)


def _cut(evidence: RoofEvidence, block: Block) -> tuple[_Pixels, Frame]:
    """A group's pixels, and the frame for the photo's columns and rows."""
    part = evidence.window(block.rows, block.columns)
    height, width = part.size_px
    corner = np.array([block.columns.start, block.rows.start], np.float64)
    in_photo = frame_at(evidence, corner[0] + width / 2, corner[1] + height / 2)
    frame = in_photo._replace(origin=in_photo.origin - corner)
    classes = class_table(evidence.num_bins)[np.asarray(part.classes)]
    classes[~block.mask() & (classes != IGNORE_INDEX)] = BACKGROUND_CLASS
    seen = None if part.lines is None else SeenLines(np.asarray(part.lines), frame)
    is_photo = np.pad(classes != IGNORE_INDEX, 1, constant_values=True)
    rows, columns = evidence.size_px
    is_photo[0] &= block.rows.start > 0
    is_photo[-1] &= block.rows.stop < rows
    is_photo[:, 0] &= block.columns.start > 0
    is_photo[:, -1] &= block.columns.stop < columns
    return _Pixels(part, classes, frame, seen, is_photo), in_photo


def _find_labels(pixels: _Pixels, settings: RoofSettings) -> Labels:
    line = None
    if pixels.part.lines is not None:
        kinds = np.asarray(pixels.part.lines)
        line = as_shares(np.where(kinds > PROBABILITY_SCALE, 0, kinds).max(axis=0))
    votes = pixel_votes(pixels.part, pixels.classes)
    evidence = PixelEvidence(pixels.classes, *votes, line)
    return find_pieces(evidence, settings, pixels.frame.pixel_m)


def _describe(
    pixels: _Pixels, labels: Labels, coverage: Coverage, settings: RoofSettings
) -> tuple[list[FoundPlane], list[FoundLine]]:
    num_planes, frame, edges = coverage.num_planes, pixels.frame, coverage.edges()
    votes = sum_votes(pixels.part, pixels.classes, labels, num_planes)
    slopes: list[Slope | None] = [None] * num_planes
    if pixels.part.height_m is not None:
        slopes = fit_slopes(np.asarray(pixels.part.height_m), labels, frame, num_planes)
    shares = None
    if pixels.seen is not None:
        shares = pixels.seen.shares(coverage.points[edges.start], coverage.points[edges.end])
    is_pitched = find_pitched(votes.flat_share, slopes, settings)
    is_cut = _find_cut(coverage, edges, pixels)
    sides = find_sides(coverage, edges, is_cut)
    directions = find_directions(
        PlaneEvidence(sides, shares, votes, frame.up_rad, slopes, is_pitched)
    )
    cut_planes = np.isin(np.arange(num_planes), edges.left[is_cut])
    planes = _join(coverage, slopes, directions, (votes, is_pitched, cut_planes), settings)
    evidence = EdgeEvidence(
        coverage,
        edges,
        ~is_cut,
        [
            downhill(plane.direction, plane.pitch, bool(pitched))
            for plane, pitched in zip(planes, is_pitched, strict=True)
        ],
        np.array([plane.pitch is not None for plane in planes]),
        slopes,
        shares,
        np.array([plane.confidence for plane in planes]),
    )
    return planes, find_lines(evidence)


def _join(
    coverage: Coverage,
    slopes: list[Slope | None],
    directions: list[Direction | None],
    known: tuple[Votes, Flags, Flags],
    settings: RoofSettings,
) -> list[FoundPlane]:
    votes, is_pitched, is_cut = known
    polygons = coverage.polygons()
    areas_m2 = shapely.area(polygons)
    centres = shapely.get_coordinates(shapely.centroid(polygons))
    planes = []
    for plane, (slope, direction) in enumerate(zip(slopes, directions, strict=True)):
        pitch = find_pitch(slope, direction, bool(is_pitched[plane]), settings)
        confidence = float(votes.roof_share[plane])
        if direction is not None:
            confidence *= direction.confidence
        elif not math.isnan(votes.flat_share[plane]):
            confidence *= float(votes.flat_share[plane])
        height_m = None
        if slope is not None and pitch is not None:
            height_m = float(slope.height_at(centres[plane : plane + 1])[0])
        planes.append(
            FoundPlane(
                direction,
                pitch,
                float(areas_m2[plane]),
                height_m,
                min(1.0, confidence),
                bool(is_cut[plane]),
            )
        )
    return planes


def _find_cut(coverage: Coverage, edges: Edges, pixels: _Pixels) -> Flags:
    """(E,) at which edges the photo ends, or what is known of it, and not the roof."""
    start, end = coverage.points[edges.start], coverage.points[edges.end]
    step = end - start
    unit = step / np.maximum(np.hypot(*step.T), 1e-9)[:, None]
    outward = np.stack((unit[:, 1], -unit[:, 0]), axis=1)
    pixel_m = pixels.frame.pixel_m
    height, width = pixels.is_photo.shape
    num_ended = np.zeros(len(step))
    for share in _PLACES_ALONG_EDGE:
        ends = np.zeros(len(step), np.bool_)
        for out_m in np.arange(pixel_m, _MAX_TO_END_M + pixel_m, pixel_m):
            place = pixels.frame.pixels(start + share * step + out_m * outward)
            column, row = np.floor(place).astype(np.int64).T + 1
            ends |= ~pixels.is_photo[row.clip(0, height - 1), column.clip(0, width - 1)]
        num_ended += ends
    is_cut: Flags = (edges.right == NO_PLANE) & (num_ended > len(_PLACES_ALONG_EDGE) / 2)
    return is_cut
