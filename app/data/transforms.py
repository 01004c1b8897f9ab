"""The transforms between a reader and a batch, in training and in validation."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.base.tasks import BACKGROUND_CLASS, AzimuthBins, TaskName, relabelling
from app.data.frame import Pose
from app.data.geometry import cut_window, draw_centre, draw_pose, resample_whole
from app.data.lines import draw_lines, line_reach_px
from app.data.photometry import change_light
from app.data.reader import TrainReader
from app.data.sample import PLANES, TARGETS, DrawnShapes, Sample, View, make_planes
from app.settings.hyperparameters import Hyperparameters

# Where windows of different photos meet, the network sees an edge that is none.
SEAM_PX = 4
# Least share of a training sample's side that photos fill: squared, 28 % padding at most.
_MIN_FILLED_SIDE = 0.85
# But tiny photos are padded more, so that no sample holds thousands of them.
_MIN_WINDOW_PX = 32

# Per task as in Sample, of a part of a photo.
Targets = dict[TaskName, Tensor]


class _Finished(TypedDict):
    lines: Tensor
    segments: Tensor


def windows_per_side(crop_size_px: int, photo_size_px: float) -> int:
    """How many small photos lie side by side in a training sample; 1 where one fills it."""
    per_side = math.ceil(_MIN_FILLED_SIDE * crop_size_px / photo_size_px)
    return max(1, min(per_side, crop_size_px // _MIN_WINDOW_PX))


def edges_of_windows(crop_size_px: int, per_side: int) -> list[int]:
    """(per_side + 1) rows, or columns, where windows side by side begin, and the last one ends."""
    return [round(i * crop_size_px / per_side) for i in range(per_side + 1)]


@dataclass(frozen=True)
class TrainTransform:
    """From photos to a training sample at the common ground sampling distance.

    Attributes:
        crop_size_px: Side of a training sample.
        gsd_m: Metres per pixel.
        azimuth_bins: Directions that segments tell apart.
    """

    crop_size_px: int
    gsd_m: float
    azimuth_bins: AzimuthBins = 16

    @property
    def background_label(self) -> int:
        """The label of background in a training sample."""
        return int(_relabelling(self.azimuth_bins)[BACKGROUND_CLASS])

    def cut(
        self, reader: TrainReader, index: int, per_side: int, rng: np.random.Generator
    ) -> Sample:
        """A window of one photo, turned and zoomed, with its targets as the losses take them.

        Args:
            reader: Reader of the photo.
            index: Which photo, or which part of a large one.
            per_side: How many windows lie side by side in a training sample.
            rng: Source of the draws.

        Raises:
            SampleError: If the photo or its labels cannot be used.
        """
        sample, pose, centre = self.draw_place(reader, index, per_side, rng)
        window = cut_window(sample, pose, centre, self.window_px(per_side), self.gsd_m)
        return _trim(_finish_sample(window, self.azimuth_bins), self.margin_px)

    @property
    def margin_px(self) -> int:
        """Margin of a window: lines reach into it from centres beyond its edge."""
        return line_reach_px(self.gsd_m)

    def window_px(self, per_side: int) -> int:
        """Side of a window with its margin, of so many side by side."""
        return math.ceil(self.crop_size_px / per_side) + 2 * self.margin_px

    def draw_place(
        self, reader: TrainReader, index: int, per_side: int, rng: np.random.Generator
    ) -> tuple[Sample, Pose, tuple[float, float]]:
        """A photo, the pose of a window of it, and the window's middle; arguments as of `cut`.

        Raises:
            SampleError: If the photo or its labels cannot be used.
        """
        size_px = self.window_px(per_side)
        pose = draw_pose(rng, may_shrink=per_side == 1)
        sample = reader.draw(index, pose.span(size_px) * self.gsd_m, rng)
        return sample, pose, draw_centre(sample, pose, size_px, self.gsd_m, rng)

    def compose(self, windows: Sequence[Sample], rng: np.random.Generator) -> Sample:
        """A training sample of one window or of several side by side, in one light.

        Args:
            windows: A square number of them, row by row.
            rng: Source of the draws.
        """
        sample = windows[0] if len(windows) == 1 else self._lay_out(windows)
        image = np.ascontiguousarray(sample["image"].numpy().transpose(1, 2, 0))
        lit = change_light(image, rng)
        bands = np.empty((lit.shape[2], *lit.shape[:2]), np.uint8)
        for i, band in enumerate(bands):
            cv2.extractChannel(lit, i, dst=band)
        return {**sample, "image": torch.from_numpy(bands)}

    def _lay_out(self, windows: Sequence[Sample]) -> Sample:
        size_px, per_side = self.crop_size_px, math.isqrt(len(windows))
        edges = edges_of_windows(size_px, per_side)
        whole: Sample = {
            **windows[0],
            **make_planes(lambda name: PLANES[name].blank(size_px, size_px)),
            "sample_id": "+".join(window["sample_id"] for window in windows),
        }
        for i, window in enumerate(windows):
            row, column = divmod(i, per_side)
            rows = slice(edges[row], edges[row + 1])
            columns = slice(edges[column], edges[column + 1])
            for name in PLANES:
                part = window[name][..., : rows.stop - rows.start, : columns.stop - columns.start]
                whole[name][..., rows, columns] = part
        for edge in edges[1:-1]:
            seam = slice(edge - SEAM_PX, edge + SEAM_PX)
            for task, plane in TARGETS.items():
                whole[task][..., seam, :] = plane.unknown
                whole[task][..., :, seam] = plane.unknown
        return whole


def build_train_transform(hyperparameters: Hyperparameters) -> TrainTransform:
    """What training samples are made with."""
    return TrainTransform(
        hyperparameters.crop_size_px, hyperparameters.gsd_m, hyperparameters.azimuth_bins
    )


@dataclass(frozen=True)
class EvalTransform:
    """Whole photos, resampled to the common ground sampling distance and otherwise unchanged.

    Attributes:
        gsd_m: Metres per pixel.
        azimuth_bins: Directions that segments tell apart.
        with_shapes: Whether samples keep the shapes that their targets were drawn from.
    """

    gsd_m: float
    azimuth_bins: AzimuthBins = 16
    with_shapes: bool = False

    def __call__(self, sample: Sample) -> Sample:
        """A new sample, with its targets as the metrics take them."""
        finished = _finish_sample(resample_whole(sample, self.gsd_m), self.azimuth_bins)
        height, width = finished["image"].shape[-2:]
        shapes = self.find_shapes(sample, (height, width), finished["gsd_m"])
        return finished if shapes is None else {**finished, "shapes": shapes}

    def find_shapes(
        self, sample: Sample, size: tuple[int, int], gsd_m: float
    ) -> DrawnShapes | None:
        """What a whole photo's targets are drawn from; None if not asked for, or all are pixels.

        Args:
            sample: As a reader gives it.
            size: Rows and columns that the photo has once it is resampled.
            gsd_m: Metres per pixel of these.
        """
        if not self.with_shapes or "drawing" not in sample:
            return None
        scale = np.array(sample["image"].shape[-2:]) / size
        to_photo = np.array([[scale[1], 0.0, 0.0], [0.0, scale[0], 0.0]])
        return sample["drawing"].shapes(View(to_photo, size, 0.0, False, gsd_m))

    def finish_targets(self, targets: Targets, gsd_m: float) -> Targets:
        """Targets as the metrics take them, of a part of a photo.

        Args:
            targets: Resampled, lines as centre lines.
            gsd_m: Metres per pixel.
        """
        finished = _finish(targets["lines"], targets["segments"], gsd_m, self.azimuth_bins)
        return {**targets, "lines": finished["lines"], "segments": finished["segments"]}


def _finish_sample(sample: Sample, azimuth_bins: AzimuthBins) -> Sample:
    finished = _finish(sample["lines"], sample["segments"], sample["gsd_m"], azimuth_bins)
    return {**sample, **finished}


def _finish(lines: Tensor, segments: Tensor, gsd_m: float, azimuth_bins: AzimuthBins) -> _Finished:
    """Lines drawn at their width, segments in the labels of the task."""
    return {
        "lines": torch.from_numpy(draw_lines(lines.numpy(), gsd_m)),
        "segments": torch.from_numpy(cv2.LUT(segments.numpy(), _relabelling(azimuth_bins))),
    }


@functools.cache
def _relabelling(azimuth_bins: AzimuthBins) -> npt.NDArray[np.uint8]:
    return relabelling(azimuth_bins)


def _trim(sample: Sample, margin_px: int) -> Sample:
    """The sample without its margin: views, since what follows copies them anyway."""
    inner = slice(margin_px, -margin_px)
    return {**sample, **make_planes(lambda name: sample[name][..., inner, inner])}
