"""Metrics of roofs as shapes: planes, buildings and lengths of lines, as people use them.

Sums over photos, which may be added up over datasets and are divided once at the end.
"""

import dataclasses
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from shapely.geometry.base import BaseGeometry
from torch import Tensor

from app.base.arrays import Flags, Floats
from app.metrics.angles import AngleSums, ConfidenceSums
from app.metrics.confusion import Values
from app.metrics.definitions import MetricValue, describe
from app.metrics.matched import RIGHT_DEG, MatchedPlanes, angle_between, find_right
from app.metrics.matching import Matches, Polygons, match_polygons, outline_distances
from app.metrics.roof_definitions import (
    AZIMUTH_LIMITS_DEG,
    LEAST_AREA_M2,
    LENGTH_KINDS,
    define_shape_metrics,
)
from app.metrics.sums import Sums, ratio, round_for_exact_sum

# IoUs and distances are rounded to 2^-20, and metres of lines to 2^-10: sums of them are exact.
_EXACT_BITS: Final = 20


class TrueRoofs(NamedTuple):
    """What is true of a photo's roofs, in its columns and rows.

    Attributes:
        planes: (N,) valid polygons that do not overlap.
        azimuth_deg: (N,) degrees clockwise from the photo's up in which each runs down; NaN where
            it is flat or vague.
        pitch_deg: (N,) tilt against the horizontal; NaN where nobody knows.
        is_vague: (N,) whether all that is known of a plane is that it is roof.
        buildings: (B,) valid polygons that do not overlap.
        known: Polygon of all ground of which something is known; None where that is everything.
        half_width_deg: Of the classes whose middles azimuths are; 0 where they are exact.
    """

    planes: Polygons
    azimuth_deg: Floats
    pitch_deg: Floats
    is_vague: Flags
    buildings: Polygons
    known: BaseGeometry | None
    half_width_deg: float


class FoundRoofs(NamedTuple):
    """What was found of a photo's roofs, in its columns and rows.

    Attributes:
        planes: (K,) valid polygons.
        azimuth_deg: (K,) as TrueRoofs; NaN where flat.
        azimuth_sd_deg: (K,) stated standard deviation; NaN where none is stated.
        pitch_deg: (K,) NaN where nothing tells.
        pitch_sd_deg: (K,) stated standard deviation; NaN where none is stated.
        confidence: (K,) stated probability that azimuth_deg is right; NaN where none is stated.
        buildings: (B,) valid polygons.
        lines: (L,) lines.
        line_kinds: (L,) kind of each: eave, rake, ridge, hip or valley.
    """

    planes: Polygons
    azimuth_deg: Floats
    azimuth_sd_deg: Floats
    pitch_deg: Floats
    pitch_sd_deg: Floats
    confidence: Floats
    buildings: Polygons
    lines: npt.NDArray[np.object_]
    line_kinds: tuple[str, ...]


class PhotoMeasures(NamedTuple):
    """What is measured of a photo in pixels.

    Attributes:
        lengths_m: (2, 6) metres of lines by LENGTH_KINDS, true and found; NaN where the kind is not
            labelled.
        pixel_errors_deg: (2, N) of each true plane, as azimuth_error_pixels_deg and
            azimuth_error_votes_deg; NaN where no pixel tells.
    """

    lengths_m: Floats
    pixel_errors_deg: Floats


class _MatchSums:
    """Sums over shapes of one kind."""

    def __init__(self) -> None:
        # True, found, matched; of these the sums of IoUs and of distances between outlines.
        self.sums: Sums = np.zeros(5, np.float64)

    def add(self, matches: Matches, distances_m: Floats) -> None:
        self.sums += [
            matches.num_true,
            matches.num_found,
            len(matches.iou),
            _sum_exactly(matches.iou),
            _sum_exactly(distances_m),
        ]

    def values(self) -> Values:
        num_true, num_found, num_matched, iou, distance_m = self.sums.tolist()
        # Without a true one there is nothing to find, and nothing that all found ones are not.
        num_found = num_found if num_true else 0
        num_both = num_true + num_found
        true, found, matched = int(num_true), int(num_found), int(num_matched)
        return {
            "precision": (ratio(num_matched, num_found), found),
            "recall": (ratio(num_matched, num_true), true),
            "f1": (ratio(2 * num_matched, num_both), true),
            "iou": (ratio(iou, num_matched), matched),
            "pq": (ratio(2 * iou, num_both), true),
            "boundary_distance_m": (ratio(distance_m, num_matched), matched),
        }


class ShapeMetrics:
    """Sums over the roofs of any number of photos.

    Over datasets: `metrics.load_state(sum of the states)`.
    """

    def __init__(self) -> None:
        self._planes = _MatchSums()
        self._buildings = _MatchSums()
        self._azimuth = AngleSums(tuple(AZIMUTH_LIMITS_DEG.values()))
        self._pitch = AngleSums()
        self._confidence = ConfidenceSums()
        # Of pixels and of their votes: how many planes, and the sum of their errors.
        self._pixels: Sums = np.zeros((2, 2), np.float64)
        # By kind: true length, found length, sum of their differences either way.
        self._lengths: Sums = np.zeros((len(LENGTH_KINDS), 3), np.float64)

    def update(
        self, true: TrueRoofs, found: FoundRoofs, gsd_m: float, measures: PhotoMeasures
    ) -> MatchedPlanes:
        """Count a photo; returns its planes that have a partner.

        Args:
            true: What is true.
            found: What was found.
            gsd_m: Metres per pixel of both.
            measures: What is measured of the same photo in pixels.
        """
        least_area = LEAST_AREA_M2 / gsd_m**2
        planes = MatchedPlanes.all_of([])
        if not len(true.planes) or not true.is_vague.all():
            matches = match_polygons(
                true.planes, found.planes, true.is_vague, true.known, least_area
            )
            distances = outline_distances(true.planes[matches.true], found.planes[matches.found])
            self._planes.add(matches, distances * gsd_m)
            planes = _compare(true, found, matches)
            self._add_angles(true, planes, measures.pixel_errors_deg[:, matches.true])
        is_left_out = np.zeros(len(true.buildings), np.bool_)
        matches = match_polygons(
            true.buildings, found.buildings, is_left_out, true.known, least_area
        )
        distances = outline_distances(true.buildings[matches.true], found.buildings[matches.found])
        self._buildings.add(matches, distances * gsd_m)
        lengths_m = round_for_exact_sum(torch.from_numpy(measures.lengths_m)).numpy()
        is_known = np.isfinite(lengths_m).all(axis=0)
        true_m, found_m = lengths_m
        added = np.stack([true_m, found_m, np.abs(found_m - true_m)], axis=1)
        self._lengths[is_known] += added[is_known]
        return planes

    def _add_angles(self, true: TrueRoofs, planes: MatchedPlanes, pixel_errors_deg: Floats) -> None:
        is_pitched = planes.is_pitched
        off_deg = planes.off_deg[is_pitched]
        # Intervals are those of right directions: confidence tells how likely these are.
        sd_deg = np.where(off_deg <= RIGHT_DEG, planes.azimuth_sd_deg[is_pitched], np.nan)
        self._azimuth.add(off_deg, sd_deg, true.half_width_deg == 0)
        of_pixels = pixel_errors_deg[:, is_pitched][:, np.isfinite(off_deg)]
        of_pixels = of_pixels[:, np.isfinite(of_pixels).all(axis=0)]
        self._pixels += [[len(errors), _sum_exactly(errors)] for errors in of_pixels]
        has_pitch = planes.has_pitch
        sd_deg = planes.pitch_sd_deg[has_pitch]
        self._pitch.add(planes.pitch_off_deg[has_pitch], sd_deg, is_exact=True)
        self._confidence.add(planes.confidence, planes.is_right)

    def state(self) -> Tensor:
        """All sums, one-dimensional float64; states may be added."""
        parts = [self._planes.sums, self._buildings.sums]
        parts += [self._azimuth.state(), self._pitch.state(), self._confidence.state()]
        return torch.from_numpy(np.concatenate([*parts, self._pixels, self._lengths], axis=None))

    def load_state(self, state: Tensor) -> None:
        """Replace all sums by those of a state."""
        sizes = [len(self._planes.sums), len(self._buildings.sums)]
        stated: list[AngleSums | ConfidenceSums] = [self._azimuth, self._pitch, self._confidence]
        sizes += [len(one.state()) for one in stated]
        sizes += [self._pixels.size, self._lengths.size]
        parts = np.split(state.cpu().numpy().copy(), np.cumsum(sizes))
        self._planes.sums, self._buildings.sums, *of_stated, pixels, lengths, rest = parts
        assert not len(rest), f"state has {len(rest)} sums too many"
        for one, part in zip(stated, of_stated, strict=True):
            one.load_state(part)
        self._pixels = pixels.reshape(self._pixels.shape)
        self._lengths = lengths.reshape(self._lengths.shape)

    def compute(self, split: str, dataset: str) -> dict[str, MetricValue]:
        """Every metric as `<split>/<shapes>/<metric>`; `dataset` names the photos' dataset."""
        values = {
            "planes": self._planes.values() | self._angle_values(),
            "buildings": self._buildings.values(),
            "lengths": self._length_values(),
        }
        rows = define_shape_metrics()
        return {
            f"{split}/{task}/{name}": dataclasses.replace(value, split=split, dataset=dataset)
            for task, of_task in values.items()
            for name, value in describe([row for row in rows if row.task == task], of_task).items()
        }

    def _angle_values(self) -> Values:
        names = [f"azimuth_within_{limit}_deg" for limit in AZIMUTH_LIMITS_DEG]
        values = self._azimuth.values("azimuth") | self._pitch.values("pitch")
        values |= dict(zip(names, self._azimuth.shares_within(), strict=True))
        values |= self._confidence.values()
        for name, (count, total) in zip(("pixels", "votes"), self._pixels, strict=True):
            values[f"azimuth_error_{name}_deg"] = (ratio(total, count), int(count))
        return values

    def _length_values(self) -> Values:
        values: Values = {}
        for kind, (true_m, found_m, off_m) in zip(LENGTH_KINDS, self._lengths, strict=True):
            values[f"{kind}_error"] = (ratio(off_m, true_m), round(true_m))
            values[f"{kind}_total_error"] = (ratio(found_m - true_m, true_m), round(true_m))
        return values


def _compare(true: TrueRoofs, found: FoundRoofs, matches: Matches) -> MatchedPlanes:
    one, other = matches.true, matches.found
    azimuths_deg = true.azimuth_deg[one], found.azimuth_deg[other]
    return MatchedPlanes(
        angle_between(*azimuths_deg),
        np.full(len(one), true.half_width_deg),
        find_right(*azimuths_deg, true.half_width_deg),
        found.azimuth_sd_deg[other],
        found.confidence[other],
        np.abs(found.pitch_deg[other] - true.pitch_deg[one]),
        found.pitch_sd_deg[other],
        np.isfinite(true.azimuth_deg[one]),
        np.isfinite(true.pitch_deg[one]),
    )


def _sum_exactly(values: Floats) -> float:
    return float(round_for_exact_sum(torch.from_numpy(values), _EXACT_BITS).sum())
