"""Photos to be predicted and scored, of which parts are made when they are asked for."""

import math
from dataclasses import dataclass
from typing import Protocol, Self

import cv2
import numpy as np
import torch
from torch import Tensor

from app.base.window import Window
from app.data.geometry import pixel_ratio, resample_whole, size_at
from app.data.lines import line_reach_px
from app.data.moving import nearest_places
from app.data.sample import (
    PLANES,
    TARGETS,
    DrawnShapes,
    PlaneName,
    Planes,
    Sample,
    drawn,
    make_planes,
)
from app.data.transforms import EvalTransform, Targets


class WindowSource(Protocol):
    """A photo of which windows can be read; whole it may never be in memory."""

    @property
    def height_px(self) -> int:
        """Rows, at the network's ground sampling distance."""

    @property
    def width_px(self) -> int:
        """Columns."""

    def read_image(self, window: Window) -> Tensor:
        """(3, h, w) uint8 RGB; the window lies within the photo."""


class SeenSource(Protocol):
    """A photo that may show nothing in places, of which windows can be read."""

    @property
    def height_px(self) -> int:
        """Rows, at the network's ground sampling distance."""

    @property
    def width_px(self) -> int:
        """Columns."""

    def read(self, window: Window) -> tuple[Tensor, Tensor | None]:
        """(3, h, w) uint8 RGB, and (h, w) bool, where something is seen; None where all is."""


class Photo(WindowSource, Protocol):
    """A photo and what is true of it."""

    @property
    def sample_id(self) -> str:
        """The name by which a person finds the file."""

    @property
    def gsd_m(self) -> float:
        """Metres per pixel."""

    @property
    def shapes(self) -> DrawnShapes | None:
        """What the targets are drawn from; None where it was not asked for, or they are pixels."""

    def read_targets(self, window: Window) -> Targets:
        """Per task (h, w), of lines (4, h, w), as the metrics take them."""


@dataclass(frozen=True)
class ReadyPhoto:
    """A photo that is in memory as the metrics take it.

    Attributes:
        planes: Image and targets, (C, H, W) or (H, W).
        sample_id: The name by which a person finds the file.
        gsd_m: Metres per pixel.
        shapes: As Photo.
    """

    planes: Planes
    sample_id: str
    gsd_m: float
    shapes: DrawnShapes | None = None

    @classmethod
    def of(cls, sample: Sample) -> Self:
        """The photo of a sample as EvalTransform makes it."""
        return cls(sample, sample["sample_id"], sample["gsd_m"], sample.get("shapes"))

    @property
    def height_px(self) -> int:
        """Rows."""
        return self.planes["image"].shape[-2]

    @property
    def width_px(self) -> int:
        """Columns."""
        return self.planes["image"].shape[-1]

    def read_image(self, window: Window) -> Tensor:
        """As Photo."""
        return self.planes["image"][:, window.rows, window.columns]

    def read_targets(self, window: Window) -> Targets:
        """As Photo."""
        return {name: self.planes[name][..., window.rows, window.columns] for name in TARGETS}


class LargePhoto:
    """A photo kept at no more pixels than its file has; windows are enlarged when they are read.

    Args:
        sample: As a reader gives it.
        transform: What is made of whole photos that are small.
    """

    def __init__(self, sample: Sample, transform: EvalTransform) -> None:
        self._transform = transform
        ratio = pixel_ratio(sample, transform.gsd_m)
        self.gsd_m = sample["gsd_m"] if ratio == 1 else transform.gsd_m
        kept_sample = resample_whole(sample, transform.gsd_m) if ratio > 1 else drawn(sample)
        self._sample: Planes = make_planes(lambda name: _fold_unknown(name, kept_sample[name]))
        height, width = sample["image"].shape[-2:]
        self.sample_id = sample["sample_id"]
        self.height_px, self.width_px = size_at(height, width, ratio)
        self.shapes = transform.find_shapes(sample, (self.height_px, self.width_px), self.gsd_m)
        kept = self._sample["image"].shape[-2:]
        # Pixels kept per pixel of the photo, at most 1, as cv2.resize has them.
        self._scale = (kept[0] / self.height_px, kept[1] / self.width_px)
        # By row and by column of the photo, the kept one whose labels it has.
        self._nearest = [
            torch.from_numpy(nearest_places(*sides))
            for sides in zip(kept, (self.height_px, self.width_px), strict=True)
        ]
        self._centres = [self._find_centres(kind) for kind in self._sample["lines"]]

    def read_image(self, window: Window) -> Tensor:
        """As Photo."""
        image = self._sample["image"]
        if self._scale == (1, 1):
            return image[:, window.rows, window.columns]
        # The place among the kept pixels of the window's first one, counted from middles.
        y, x = (
            (first + 0.5) * scale - 0.5
            for first, scale in zip((window.top, window.left), self._scale, strict=True)
        )
        top, left = max(0, math.floor(y)), max(0, math.floor(x))
        bottom = math.ceil(y + window.height * self._scale[0]) + 2
        right = math.ceil(x + window.width * self._scale[1]) + 2
        part = image[:, top:bottom, left:right].numpy()
        enlarged = cv2.warpAffine(
            cv2.merge(list(part)),
            np.array([[self._scale[1], 0, x - left], [0, self._scale[0], y - top]]),
            (window.width, window.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return torch.from_numpy(np.ascontiguousarray(enlarged.transpose(2, 0, 1)))

    def read_targets(self, window: Window) -> Targets:
        """As Photo."""
        # Lines reach into a window from centres beyond its edge.
        reach_px = line_reach_px(self.gsd_m)
        top, left = max(0, window.top - reach_px), max(0, window.left - reach_px)
        bottom = min(self.height_px, window.top + window.height + reach_px)
        right = min(self.width_px, window.left + window.width + reach_px)
        targets = self._take_targets(Window(top, left, bottom - top, right - left))
        finished = self._transform.finish_targets(targets, self.gsd_m)
        rows = slice(window.top - top, window.top - top + window.height)
        columns = slice(window.left - left, window.left - left + window.width)
        return {name: target[..., rows, columns] for name, target in finished.items()}

    def _take_targets(self, window: Window) -> Targets:
        """Labels keep their values; centres of lines are moved as points."""
        if self._scale == (1, 1):
            return {name: self._sample[name][..., window.rows, window.columns] for name in TARGETS}
        y, x = self._nearest[0][window.rows], self._nearest[1][window.columns]
        targets: Targets = {name: self._sample[name][..., y[:, None], x] for name in TARGETS}
        targets["lines"][targets["lines"] == 1] = 0
        for kind, (y, x) in zip(targets["lines"], self._centres, strict=True):
            y, x = y - window.top, x - window.left
            inside = (y >= 0) & (y < window.height) & (x >= 0) & (x < window.width)
            kind[y[inside], x[inside]] = 1
        return targets

    def _find_centres(self, kind: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns, in the photo, of one kind's centres; none where they stay in place."""
        if self._scale == (1, 1):
            return torch.zeros(0).long(), torch.zeros(0).long()
        y, x = torch.nonzero(kind == 1, as_tuple=True)
        height_scale, width_scale = self._scale
        return ((y.double() + 0.5) / height_scale).long(), ((x.double() + 0.5) / width_scale).long()


def _fold_unknown(name: PlaneName, plane: Tensor) -> Tensor:
    """The plane; of one that is unknown everywhere a single pixel, seen as all of them."""
    unknown = PLANES[name].nowhere_known(*plane.shape[-2:])
    if name == "image" or plane.stride() == unknown.stride():
        return plane
    is_unknown = plane.isnan() if plane.is_floating_point() else plane == unknown
    return unknown if is_unknown.all() else plane
