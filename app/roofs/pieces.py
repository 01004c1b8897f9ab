"""Planes as pieces of the label image.

A piece is what hangs together of one class. Slits and holes too small for any roof are closed,
what is too thin or too small for a plane goes to its neighbours, neighbours of nearly one direction
are joined where no line lies between them, and a piece that a line runs through is cut along it.
"""

import heapq
import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from app.base.arrays import Flags, Ints, Labels
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX
from app.data.lines import close_slits
from app.roofs.settings import RoofSettings

_Classes = npt.NDArray[np.uint8]
_Image = npt.NDArray[np.float32]

# A line inside a piece, not at its border, is at least so far from it.
_INSIDE_M = 0.4
_MIN_CUT_M = 1.0
# A line with gaps up to this cuts all the same.
_LINE_GAP_M = 0.3
_MIN_AGREEMENT = 0.3
_ALIKE_LINE_FACTOR = 0.6
_OUTLINED_SHARE = 0.75


class PixelEvidence(NamedTuple):
    """What pieces are made from, (h, w) each.

    Attributes:
        classes: Classes as of `class_table`.
        vote_x: Votes as of `pixel_votes`.
        vote_y: Their upward part.
        line: Probability of a line of any kind; None where no lines are known.
    """

    classes: _Classes
    vote_x: _Image
    vote_y: _Image
    line: _Image | None


class _Borders(NamedTuple):
    """The sides at which pixels of two pieces meet, B of them.

    Attributes:
        first: (B,) the piece of the lower number.
        second: (B,) the other.
        pixels: (B, 2) flat index of the pixels on both sides.
    """

    first: Ints
    second: Ints
    pixels: Ints


def find_pieces(evidence: PixelEvidence, settings: RoofSettings, pixel_m: float) -> Labels:
    """(h, w) int32: pieces from 1, each of which hangs together by its pixels' sides; 0 outside.

    Args:
        evidence: A group of roofs.
        settings: What is small and thin.
        pixel_m: Metres per pixel.
    """
    classes = evidence.classes
    min_px = max(1, math.ceil(settings.min_plane_m2 / pixel_m**2))
    is_roof = (classes != BACKGROUND_CLASS) & (classes != IGNORE_INDEX)
    pieces = equal_components(np.where(is_roof, classes.astype(np.int32) + 1, 0))
    gaps = _find_gaps(is_roof, classes != IGNORE_INDEX, pixel_m, min_px)
    pieces = _share_thin(pieces, gaps, settings, pixel_m)
    strong = None if evidence.line is None else evidence.line >= settings.cut_probability
    least_px = min_px, max(1, math.ceil(settings.min_outlined_m2 / pixel_m**2))
    pieces = _merge_small(pieces, least_px, strong)
    pieces = _join_alike(pieces, gaps, evidence, settings)
    if strong is not None and (cut := _cut(pieces, strong, min_px, pixel_m)) is not None:
        pieces = _merge_small(equal_components(cut), least_px, strong)
    present = np.bincount(pieces.ravel()) > 0
    present[0] = False
    return np.where(present, np.cumsum(present), 0).astype(np.int32)[pieces]


def equal_components(values: Labels) -> Labels:
    """(h, w) int32: a number from 1 for what hangs together of each value but 0.

    Pixels become every second pixel of a mask twice as large, and are joined where they are equal,
    so that one labelling does for all values.
    """
    height, width = values.shape
    links = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    links[::2, ::2] = values > 0
    links[::2, 1::2] = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > 0)
    links[1::2, ::2] = (values[1:] == values[:-1]) & (values[1:] > 0)
    _, labels = cv2.connectedComponents(links, connectivity=4, ltype=cv2.CV_32S)
    return np.ascontiguousarray(labels[::2, ::2], np.int32)


def inner_pixels(labels: Labels, radius_m: float, pixel_m: float) -> Flags:
    """(h, w) which pixels have nothing but their own piece within a square around them."""
    radius_px = max(1, round(radius_m / pixel_m))
    square = np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8)
    image = labels.astype(np.float32)  # OpenCV's filters know no int32; exact up to 2**24
    same = cv2.erode(image, square) == cv2.dilate(image, square)
    return np.asarray(same & (labels > 0), np.bool_)


def _find_gaps(is_roof: Flags, is_known: Flags, pixel_m: float, min_px: int) -> Flags:
    """Ground that is none: slits between planes, and holes smaller than the smallest plane."""
    gaps = close_slits(is_roof.view(np.uint8), pixel_m).view(np.bool_) & ~is_roof
    ground = np.pad((~is_roof).view(np.uint8), 1, constant_values=1)
    _, holes, boxes, _ = cv2.connectedComponentsWithStats(ground, connectivity=4)
    small = boxes[:, cv2.CC_STAT_AREA] < min_px
    small[0] = False
    return np.asarray((gaps | small[holes[1:-1, 1:-1]]) & is_known & ~is_roof, np.bool_)


def _share_thin(pieces: Labels, gaps: Flags, settings: RoofSettings, pixel_m: float) -> Labels:
    """Gaps and pieces too thin for a plane, pixel by pixel to the nearest piece."""
    num_pieces = int(pieces.max(initial=0))
    inner = inner_pixels(pieces, (settings.min_width_m - pixel_m) / 2, pixel_m)
    is_thin = np.bincount(pieces[inner], minlength=num_pieces + 1) == 0
    is_thin[0] = False
    open_pixels = gaps | is_thin[pieces]
    filled = equal_components(_fill(pieces, open_pixels, gaps))
    # What is thin and stands alone has been given to a piece that it does not touch.
    has_core = np.bincount(filled[~open_pixels], minlength=int(filled.max(initial=0)) + 1) > 0
    return np.where(has_core[filled], filled, 0).astype(np.int32)


def _fill(pieces: Labels, open_pixels: Flags, gaps: Flags) -> Labels:
    """Pieces that have grown over open pixels."""
    sources = (pieces > 0) & ~open_pixels
    if not sources.any():
        return np.where(gaps, 0, pieces).astype(np.int32)
    if not open_pixels.any():
        return pieces
    _, nearest = cv2.distanceTransformWithLabels(
        (~sources).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(int(nearest.max()) + 1, np.int32)
    owner[nearest[sources]] = pieces[sources]
    filled = pieces.copy()
    filled[open_pixels] = owner[nearest[open_pixels]]
    return filled


def _find_borders(pieces: Labels) -> _Borders:
    width = pieces.shape[1]
    parts = []
    for here, there, step in (
        (pieces[:, :-1], pieces[:, 1:], 1),
        (pieces[:-1], pieces[1:], width),
    ):
        row, column = np.nonzero((here != there) & (here > 0) & (there > 0))
        index = row * width + column
        parts.append((here[row, column], there[row, column], index, index + step))
    first, second, one, other = (
        np.concatenate(values).astype(np.int64) for values in zip(*parts, strict=True)
    )
    pixels = np.stack((one, other), axis=1)
    return _Borders(np.minimum(first, second), np.maximum(first, second), pixels)


def _merge_small(pieces: Labels, least_px: tuple[int, int], strong: Flags | None) -> Labels:
    """Pieces with the small ones given to the neighbour that they share most of their edge with.

    The smallest goes first; one without neighbours becomes ground.

    Args:
        pieces: (h, w).
        least_px: Smaller ones are small; and of those that lines set apart.
        strong: (h, w) where there is a line; None where none are known.
    """
    num_pieces = int(pieces.max(initial=0))
    areas = np.bincount(pieces.ravel(), minlength=num_pieces + 1)
    is_small = areas < least_px[0]
    is_small[0] = False
    if not is_small.any():
        return pieces
    if strong is not None:
        is_small &= (areas < least_px[1]) | ~_find_outlined(pieces, strong, num_pieces)
    min_px, area = least_px[0], areas.tolist()
    queue = [(area[piece], piece) for piece in np.flatnonzero(is_small).tolist()]
    shared = _shared_sides(pieces, num_pieces)
    target = list(range(num_pieces + 1))
    heapq.heapify(queue)
    while queue:
        size, piece = heapq.heappop(queue)
        if target[piece] != piece or size != area[piece]:
            continue  # merged, or grown since
        neighbours = shared.pop(piece, {})
        best = max(neighbours, key=lambda other: (neighbours[other], -other), default=0)
        target[piece] = best
        if not best:
            continue
        area[best] += size
        for other, length in neighbours.items():
            del shared[other][piece]
            if other != best:
                shared[other][best] = shared[best][other] = shared[best].get(other, 0) + length
        if area[best] < min_px:
            heapq.heappush(queue, (area[best], best))
    return _rename(pieces, target)


def _find_outlined(pieces: Labels, strong: Flags, num_pieces: int) -> Flags:
    """(P + 1,) which pieces lie among others, with lines along nearly all that they share."""
    borders = _find_borders(pieces)
    on_line = strong.ravel()[borders.pixels].any(axis=1)
    sides = np.zeros((2, num_pieces + 1))
    for piece in (borders.first, borders.second):
        sides[0] += np.bincount(piece, minlength=num_pieces + 1)
        sides[1] += np.bincount(piece, on_line, num_pieces + 1)
    is_outlined: Flags = (sides[0] > 0) & (sides[1] >= _OUTLINED_SHARE * sides[0])
    return is_outlined


def _shared_sides(pieces: Labels, num_pieces: int) -> dict[int, dict[int, int]]:
    """For each piece, how many sides of pixels it shares with each neighbour."""
    borders = _find_borders(pieces)
    code, counts = np.unique(borders.first * (num_pieces + 1) + borders.second, return_counts=True)
    shared: dict[int, dict[int, int]] = {}
    for pair, count in zip(code.tolist(), counts.tolist(), strict=True):
        first, second = divmod(pair, num_pieces + 1)
        shared.setdefault(first, {})[second] = count
        shared.setdefault(second, {})[first] = count
    return shared


def _rename(pieces: Labels, target: list[int]) -> Labels:
    """Pieces by where each of them, through any others, has gone."""
    for piece in range(len(target)):
        end = piece
        while target[end] != end:
            end = target[end]
        target[piece] = end
    return np.array(target, np.int32)[pieces]


def _join_alike(
    pieces: Labels, gaps: Flags, evidence: PixelEvidence, settings: RoofSettings
) -> Labels:
    """Pieces with neighbours of nearly the same direction joined, where no line lies between them.

    A plane that runs down between two classes is seen as pieces of both.
    """
    borders = _find_borders(pieces)
    if not len(borders.first):
        return pieces
    num_pieces = int(pieces.max())
    size = np.bincount(pieces.ravel(), minlength=num_pieces + 1)
    flat = pieces.ravel()
    mean = (
        np.stack(
            [
                np.bincount(flat, v.ravel(), num_pieces + 1)
                for v in (evidence.vote_x, evidence.vote_y)
            ],
            axis=1,
        )
        / np.maximum(size, 1)[:, None]
    )
    agreement = np.hypot(*mean.T)

    code, pair = np.unique(borders.first * (num_pieces + 1) + borders.second, return_inverse=True)
    first, second = np.divmod(code, num_pieces + 1)
    sides = np.bincount(pair)
    apart = np.bincount(pair, gaps.ravel()[borders.pixels].any(axis=1)) / sides
    line = np.zeros(len(code))
    if evidence.line is not None:
        line = np.bincount(pair, evidence.line.ravel()[borders.pixels].max(axis=1)) / sides
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (mean[first] * mean[second]).sum(axis=1) / (agreement[first] * agreement[second])
    alike = cosine >= math.cos(math.radians(settings.alike_deg))
    alike &= np.minimum(agreement[first], agreement[second]) >= _MIN_AGREEMENT
    alike &= (apart < 0.5) & (line < _ALIKE_LINE_FACTOR * settings.cut_probability)
    target = list(range(num_pieces + 1))
    for one, other in zip(first[alike].tolist(), second[alike].tolist(), strict=True):
        ends = []
        for piece in (one, other):
            end = piece
            while target[end] != end:
                end = target[end]
            ends.append(end)
        target[max(ends)] = min(ends)
    return _rename(pieces, target)


def _cut(pieces: Labels, strong: Flags, min_px: int, pixel_m: float) -> Labels | None:
    """Pieces parted along lines that run through them; None where no line does."""
    inside = strong & inner_pixels(pieces, _INSIDE_M, pixel_m)
    num_inside = np.bincount(pieces[inside])
    crossed = np.flatnonzero(num_inside * pixel_m >= _MIN_CUT_M)
    if not len(crossed):
        return None
    gap_px = max(1, round(_LINE_GAP_M / pixel_m / 2))
    barrier = cv2.dilate(strong.view(np.uint8), np.ones((2 * gap_px + 1,) * 2, np.uint8))
    pieces = pieces.copy()
    next_piece = int(pieces.max()) + 1
    boxes_of = ndimage.find_objects(pieces)
    for piece in crossed.tolist():
        box = boxes_of[piece - 1]
        own = pieces[box] == piece
        core = (own & (barrier[box] == 0)).view(np.uint8)
        _, parts, boxes, _ = cv2.connectedComponentsWithStats(core, connectivity=4)
        # A band as wide as the barrier was taken off of each part.
        large = boxes[:, cv2.CC_STAT_AREA] >= min_px / 2
        large[0] = False
        if large.sum() < 2:
            continue
        parts = np.where(large[parts], parts, 0).astype(np.int32)
        grown = _fill(parts, own & (parts == 0), own & (parts == 0))
        pieces[box][own] = grown[own] + next_piece
        next_piece += len(boxes)
    return pieces
