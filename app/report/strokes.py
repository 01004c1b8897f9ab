"""Lines and arrows in the report's pictures, told apart by form as well as by colour."""

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from app.base.tasks import LINE_KINDS, Task, find_task
from app.metrics.thinning import thin_bits
from app.report.legend import LINE_STROKES

Image8 = npt.NDArray[np.uint8]
_Pixel = tuple[int, int]

_RIM_ALPHA: Final = 170
# Smaller pieces have no room for an arrow.
_MIN_ARROW_AREA_PX: Final = 300
_MIN_ARROW_ROOM_PX: Final = 9.0
_MAX_ARROW_PX: Final = 32.0
# Row and column of a pixel's neighbours, those along sides first.
_AROUND: Final = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))


def draw_strokes(overlay: Image8, masks: npt.NDArray[np.bool_]) -> None:
    """Draw the centre line of every mask in its kind's colour, width and dashes, with a dark rim.

    Args:
        overlay: (H, W, 4) uint8 RGBA; is drawn on.
        masks: (4, H, W), by kind of line.
    """
    centres = _thin(masks)
    strokes = []
    for kind, centre in zip(LINE_KINDS, centres, strict=True):
        stroke = LINE_STROKES[kind]
        strokes.append(_widen(_dash(centre, stroke.dashes), stroke.width_px))
    rim = _widen(np.logical_or.reduce(strokes), 3)
    overlay[rim] = (0, 0, 0, _RIM_ALPHA)
    for mask, colour in zip(strokes, find_task("lines").colours, strict=True):
        overlay[mask] = (*colour, 255)


def draw_arrows(overlay: Image8, labels: Image8, segments: Task) -> None:
    """Draw an arrow on every plane that is large enough, in the direction in which it runs down.

    Args:
        overlay: (H, W, 4) uint8 RGBA; is drawn on.
        labels: (H, W) uint8, labels of the task.
        segments: The task.
    """
    num_bins = segments.azimuth_bins
    for label, classes in enumerate(segments.label_sets):
        if max(classes) >= num_bins:
            continue  # flat, background, or some roof
        # Of two neighbouring directions the middle, also across north.
        azimuth_rad = 2 * np.pi * (classes[0] + (len(classes) - 1) / 2) / num_bins
        for (x, y), room_px in _find_middles(labels == label):
            length_px = min(1.5 * room_px, _MAX_ARROW_PX)
            half = length_px / 2 * np.array([np.sin(azimuth_rad), -np.cos(azimuth_rad)])
            tail, head = (np.round(np.array([x, y]) + side * half).astype(int) for side in (-1, 1))
            for colour, thickness in (((0, 0, 0, 255), 5), ((255, 255, 255, 255), 2)):
                cv2.arrowedLine(
                    overlay, tail.tolist(), head.tolist(), colour, thickness, tipLength=0.45
                )


def _find_middles(mask: npt.NDArray[np.bool_]) -> Iterator[tuple[_Pixel, float]]:
    """Of every large piece the pixel (x, y) furthest from its rim, and how far that is."""
    if mask.sum() < _MIN_ARROW_AREA_PX:
        return
    padded = np.pad(mask, 1).astype(np.uint8)
    num_pieces, pieces, boxes, _ = cv2.connectedComponentsWithStats(padded, connectivity=4)
    distances = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    for piece in range(1, num_pieces):
        left, top, width, height, area = boxes[piece].tolist()
        if area < _MIN_ARROW_AREA_PX:
            continue
        box = slice(top, top + height), slice(left, left + width)
        inside = np.where(pieces[box] == piece, distances[box], 0.0)
        row, column = divmod(int(inside.argmax()), width)
        if inside[row, column] >= _MIN_ARROW_ROOM_PX:
            yield (left + column - 1, top + row - 1), float(inside[row, column])


def _thin(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(K, H, W): centre lines of at most 8 masks."""
    bits = np.packbits(np.pad(masks, ((0, 0), (1, 1), (1, 1))), axis=0, bitorder="little")[0]
    thinned = thin_bits(bits)[1:-1, 1:-1]
    positions = np.arange(len(masks), dtype=np.uint8)[:, None, None]
    centres: npt.NDArray[np.bool_] = (thinned[None] >> positions) & 1 == 1
    return centres


def _dash(centre: npt.NDArray[np.bool_], dashes: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """What is left of centre lines where gaps are: drawn, left out, drawn ... in pixels."""
    if not dashes:
        return centre
    is_drawn = np.repeat(np.arange(len(dashes)) % 2 == 0, dashes)
    dashed = np.zeros_like(centre)
    for path in _walk(centre):
        rows, columns = np.array(path).T
        dashed[rows, columns] = is_drawn[np.arange(len(path)) % len(is_drawn)]
    return dashed


def _walk(centre: npt.NDArray[np.bool_]) -> Iterator[list[_Pixel]]:
    """The pixels of centre lines, line by line from an end; a branch is a line of its own."""
    left = dict.fromkeys((row, column) for row, column in np.argwhere(centre).tolist())
    ends = [pixel for pixel in left if sum(other in left for other in _beside(pixel)) <= 1]
    for start in (*ends, *list(left)):
        if start not in left:
            continue
        path = [start]
        del left[start]
        while True:
            following = next((other for other in _beside(path[-1]) if other in left), None)
            if following is None:
                break
            path.append(following)
            del left[following]
        yield path


def _beside(pixel: _Pixel) -> Iterator[_Pixel]:
    return ((pixel[0] + row, pixel[1] + column) for row, column in _AROUND)


def _widen(mask: npt.NDArray[np.bool_], width_px: int) -> npt.NDArray[np.bool_]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width_px, width_px))
    widened: npt.NDArray[np.bool_] = cv2.dilate(mask.astype(np.uint8), kernel) == 1
    return widened
