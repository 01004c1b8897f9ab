"""What metrics of shapes need of pixels: lengths of lines, and what pixels say of planes."""

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from torch import Tensor

from app.base.arrays import Floats, Mask8
from app.base.tasks import LINE_KINDS, TaskName
from app.data.sample import DrawnShapes
from app.data.shapes import fill
from app.inference.evidence import PhotoEvidence
from app.inference.layers import NODATA, RIGHT, UP, Band
from app.metrics.lines import find_scored
from app.metrics.matching import Polygons
from app.metrics.roof_definitions import LENGTH_KINDS
from app.metrics.roofs import FoundRoofs, TrueRoofs
from app.metrics.thinning import thin_bits

# What straightens the stairs of a line one pixel wide.
_STAIRS_PX: Final = 1.0
# Of a found line so much counts, or does not, by the pixel it lies on.
_STEP_PX: Final = 0.5
# The kinds as the channels of the lines task have them.
_CHANNELS: Final[Mapping[str, str]] = {"outline": "eave", "eave": "eave", "rake": "eave"}
# The kinds of found lines that each kind of lengths is of.
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {"outline": ("eave", "rake")}


def measure_lengths_m(
    targets: Mapping[TaskName, Tensor],
    shapes: DrawnShapes | None,
    found: FoundRoofs,
    gsd_m: float,
) -> Floats:
    """(2, 6) metres of true and of found lines by LENGTH_KINDS, where these are labelled.

    Args:
        targets: Of the whole photo.
        shapes: What they are drawn from, where people drew anything; or None.
        found: The found lines.
        gsd_m: Metres per pixel.
    """
    lengths = np.full((2, len(LENGTH_KINDS)), np.nan)
    drawn_m = {} if shapes is None else shapes.lengths_m
    kinds = np.array(found.line_kinds, np.str_)
    for number, kind in enumerate(LENGTH_KINDS):
        target = targets["lines"][LINE_KINDS.index(_CHANNELS.get(kind, kind))].numpy()
        scored = find_scored(target)
        true_m = drawn_m.get(kind)
        if true_m is None and kind in ("outline", *LINE_KINDS[1:]) and scored.any():
            true_m = length_px(target == 1) * gsd_m
        if true_m is not None:
            chosen = found.lines[np.isin(kinds, _PARTS.get(kind, (kind,)))]
            lengths[:, number] = true_m, _length_on(chosen, scored) * gsd_m
    return lengths


def length_px(lines: npt.NDArray[np.bool_]) -> float:
    """How long lines are that are drawn in a mask, in any width.

    Their centre lines are walked around on both sides, and stairs of pixels are straightened.

    Args:
        lines: (H, W).
    """
    centres = np.asarray(thin_bits(np.pad(lines, 1).view(np.uint8)), np.uint8)
    walks, _ = cv2.findContours(centres, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    straight = (cv2.approxPolyDP(walk, _STAIRS_PX, closed=True) for walk in walks)
    return sum(cv2.arcLength(walk, closed=True) for walk in straight) / 2


def _length_on(lines: npt.NDArray[np.object_], ground: Mask8) -> float:
    """How long lines are where a mask is set, in pixels."""
    lengths = shapely.length(lines)
    steps = np.ceil(lengths / _STEP_PX).astype(np.int64)
    owners = np.repeat(np.arange(len(lines)), steps)
    places = np.arange(len(owners)) - np.repeat(np.cumsum(steps) - steps, steps)
    share = (places + 0.5) / steps[owners]
    points = shapely.line_interpolate_point(lines[owners], share, normalized=True)
    x, y = np.floor(shapely.get_coordinates(points)).astype(np.int64).T
    height, width = ground.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    counts = inside & (ground[y.clip(0, height - 1), x.clip(0, width - 1)] > 0)
    return float((lengths / np.maximum(steps, 1))[owners[counts]].sum())


def find_pixel_errors_deg(true: TrueRoofs, evidence: PhotoEvidence, num_bins: int) -> Floats:
    """How far single pixels, and the pixels of a plane together, are from its azimuth.

    Args:
        true: The planes.
        evidence: What the network says.
        num_bins: Directions that its classes tell apart.

    Returns:
        (2, N): mean error of the pixels predicted as pitched, and error of the sum of their
        directions; NaN where there is no such pixel.
    """
    errors = np.full((2, len(true.planes)), np.nan)
    if "direction_x" not in evidence.bands:
        return errors
    for number in np.flatnonzero(np.isfinite(true.azimuth_deg)).tolist():
        stamp = fill(_rings(true.planes[number : number + 1]), evidence.classes.shape)
        if stamp is None:
            continue
        chosen = stamp.inside & (evidence.classes[stamp.rows, stamp.columns] < num_bins)
        directions = np.stack(
            [
                _read_direction(evidence.bands[field][stamp.rows, stamp.columns][chosen], band)
                for field, band in (("direction_x", RIGHT), ("direction_y", UP))
            ]
        )
        directions = directions[:, directions.any(axis=0)]
        if directions.size:
            together = directions.sum(axis=1, keepdims=True)
            errors[0, number] = _off_deg(directions, true.azimuth_deg[number]).mean()
            errors[1, number] = _off_deg(together, true.azimuth_deg[number]).item()
    return errors


def _read_direction(stored: npt.NDArray[np.uint8], band: Band) -> Floats:
    """A part of a direction, in steps; 0 where there is no data."""
    steps = stored.astype(np.float64) + round(band.offset / band.scale)
    steps[stored == NODATA] = 0
    return steps


def _rings(polygons: Polygons) -> list[Floats]:
    rings = shapely.get_rings(shapely.get_parts(polygons))
    return [shapely.get_coordinates(ring) for ring in rings]


def _off_deg(directions: Floats, azimuth_deg: float) -> Floats:
    """(P,) angles in [0, 180] between (2, P) directions, right and up, and an azimuth."""
    turn_deg = np.degrees(np.arctan2(*directions)) - azimuth_deg
    return np.asarray(np.abs((turn_deg + 180.0) % 360.0 - 180.0), np.float64)
