"""Roofs cut out of their photos and laid, with a shadow, onto the ground of another one.

A photo of a single roof, cropped tightly, teaches what a roof is and hardly what none is: around it
nothing is known. On ground of a scene whose roofs are all labelled, streets, cars and yards stand
beside the roof, and are known to be none. Some of the outlines are filled with ground in place of
the roof: otherwise the seam and the shadow of a cut-out would be signs of a roof.
"""

import math
from typing import Final, NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.base.arrays import Flags, Floats, Mask8
from app.base.tasks import IGNORE_INDEX, TaskName
from app.data.lines import line_reach_px
from app.data.sample import TARGETS, PlaneName, Sample, make_planes

# A window is worth the work where a part of it is roof, and a part is unknown.
_LEAST_ROOF: Final = 0.02
_LEAST_UNKNOWN: Final = 0.05
# Of new ground so much has to be known, and so much of it to be background.
_LEAST_KNOWN: Final = 0.8
_LEAST_OPEN: Final = 0.4
# And of what a roof covers: a roof across a street of houses is none that anybody has seen.
_LEAST_FREE: Final = 0.8
_MAX_PLACES: Final = 12
# Around the roof its own ground, where that is known, passes over into the new one.
_RING_M: Final = 0.5
_DECOY_SHARE: Final = 0.2
_LEAST_FREE_OF_DECOY: Final = 0.95
_SHADOW_M: Final = (1.0, 5.0)
_SHADOW_LIGHT: Final = (0.4, 0.8)

Colours = npt.NDArray[np.float32]


def wants_ground(window: Sample, background: int) -> bool:
    """Whether a window shows roof, and little is known beside it.

    Args:
        window: With its targets as the losses take them.
        background: The label of background there.
    """
    segments = window["segments"].numpy()
    is_unknown = np.mean(segments == IGNORE_INDEX) >= _LEAST_UNKNOWN
    return bool(is_unknown and np.mean(_find_roof(segments, background)) >= _LEAST_ROOF)


def is_ground(window: Sample, background: int) -> bool:
    """Whether roofs can be laid onto a window: most of it is known, and much of it is open."""
    segments = window["segments"].numpy()
    is_known = np.mean(segments != IGNORE_INDEX) >= _LEAST_KNOWN
    return bool(is_known and np.mean(segments == background) >= _LEAST_OPEN)


def lay_on_ground(
    window: Sample, ground: Sample, background: int, rng: np.random.Generator
) -> Sample:
    """The roof of a window on other ground, or ground in its outline.

    Args:
        window: A window that `wants_ground`.
        ground: One of the same size and scale that `is_ground`; other roofs may have been laid
            onto it.
        background: The label of background in both.
        rng: Draws the place, what the outline is filled with, and the shadow.

    Returns:
        A new sample; the ground itself where no place was found that is free.
    """
    cut = _CutOut.of(window, background)
    for _ in range(_MAX_PLACES):
        offset = cut.draw_offset(rng)
        placed = cut.moved(offset)
        if _share_free(ground, placed.roof, background) >= _LEAST_FREE:
            break
    else:
        return ground
    filling = _moved(window, offset)
    if rng.random() < _DECOY_SHARE:
        mirrored = _mirrored(ground, background)
        if _share_free(mirrored, placed.roof, background) >= _LEAST_FREE_OF_DECOY:
            filling = mirrored
    shaded = _shade(_colours(ground), placed.roof, window["gsd_m"], rng)
    alpha = placed.alpha[..., None]
    mixed = alpha * _colours(filling) + (1 - alpha) * shaded
    image = torch.from_numpy(np.rint(mixed).astype(np.uint8)).permute(2, 0, 1)
    targets = _lay_targets(placed, filling, ground, background)
    return {
        **make_planes(lambda name: image if name == "image" else targets[name]),
        "dataset": window["dataset"],
        "sample_id": f"{window['sample_id']} on {ground['sample_id']}",
        "gsd_m": window["gsd_m"],
    }


class _CutOut(NamedTuple):
    """The part of a window that is taken.

    Attributes:
        roof: (H, W) its roofs.
        alpha: (H, W) how much of each pixel is taken, 0 to 1: of roofs all of it.
    """

    roof: Flags
    alpha: Colours

    @classmethod
    def of(cls, window: Sample, background: int) -> Self:
        """The roofs of a window, and what is known to be their own ground."""
        segments = window["segments"].numpy()
        roof = _find_roof(segments, background)
        off = cv2.distanceTransform((~roof).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        ring_px = _RING_M / window["gsd_m"]
        fading = np.clip(1 - off / (ring_px + 1), 0, 1).astype(np.float32)
        return cls(roof, np.where(roof | (segments == background), fading, np.float32(0)))

    def draw_offset(self, rng: np.random.Generator) -> tuple[int, int]:
        """Rows and columns to move it by. Where it ends at the window's edge, it stays there."""
        offset = []
        for axis in (0, 1):
            taken = np.flatnonzero(self.alpha.any(axis=1 - axis))
            first, end, size = int(taken[0]), int(taken[-1]) + 1, self.alpha.shape[axis]
            is_cut = first == 0 or end == size
            offset.append(0 if is_cut else int(rng.integers(-first, size - end + 1)))
        return offset[0], offset[1]

    def moved(self, offset: tuple[int, int]) -> "_CutOut":
        """The same at another place, all of which is in the window."""
        axes = (0, 1)
        return _CutOut(np.roll(self.roof, offset, axes), np.roll(self.alpha, offset, axes))


def _find_roof(segments: Mask8, background: int) -> Flags:
    return np.asarray((segments != background) & (segments != IGNORE_INDEX), np.bool_)


def _share_free(ground: Sample, roof: Flags, background: int) -> float:
    """Share of a place that is known to be background."""
    return float(np.mean(ground["segments"].numpy()[roof] == background))


def _colours(sample: Sample) -> Colours:
    """(H, W, 3) of 0 to 255."""
    return sample["image"].numpy().transpose(1, 2, 0).astype(np.float32)


def _moved(window: Sample, offset: tuple[int, int]) -> Sample:
    return {**window, **make_planes(lambda name: window[name].roll(offset, dims=(-2, -1)))}


def _mirrored(ground: Sample, background: int) -> Sample:
    """The ground mirrored left-right: other ground in the same light. Its roofs are unknown."""

    def find(name: PlaneName) -> Tensor:
        if name == "image":
            return ground["image"].flip(-1)
        return TARGETS[name].blank(*ground["segments"].shape)

    mirrored: Sample = {**ground, **make_planes(find)}
    mirrored["segments"][ground["segments"].flip(-1) == background] = background
    return mirrored


def _shade(colours: Colours, roof: Flags, gsd_m: float, rng: np.random.Generator) -> Colours:
    """The ground with the shadow of a roof of one height, with the sun anywhere."""
    angle = rng.uniform(0, 2 * math.pi)
    length_px = rng.uniform(*_SHADOW_M) / gsd_m
    light = rng.uniform(*_SHADOW_LIGHT)
    reach = max(1, math.ceil(length_px))
    line = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    end = (
        round(reach + length_px * math.cos(angle)),
        round(reach + length_px * math.sin(angle)),
    )
    cv2.line(line, (reach, reach), end, 1)
    # Dilating by a line from the middle is what the outline sweeps over on its way along it.
    swept = cv2.dilate(roof.astype(np.uint8), line)
    soft = cv2.blur(swept.astype(np.float32), (3, 3))
    darkened: Floats = colours * (1 - (1 - light) * soft[..., None])
    return darkened.astype(np.float32)


def _lay_targets(
    cut: _CutOut, filling: Sample, ground: Sample, background: int
) -> dict[TaskName, Tensor]:
    """Targets of the filling in the outline, else those of the ground, and unknown in between.

    Roofs of the ground that the cut-out covers in part end at no eave: lines are unknown there.
    """
    roof, zone = torch.from_numpy(cut.roof), torch.from_numpy(cut.alpha > 0)
    ring = zone & ~roof
    old, new = ground["segments"], filling["segments"]
    is_mixed = ring & ((old != background) | (new != background))
    segments = torch.where(roof, new, old)
    segments[is_mixed] = IGNORE_INDEX
    lines = torch.where(zone, filling["lines"], ground["lines"])
    covered = _find_roof(old.numpy(), background) & (cut.alpha > 0)
    if covered.any():
        reach = 2 * line_reach_px(filling["gsd_m"]) + 1
        near = cv2.dilate(covered.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
        lines[:, torch.from_numpy(near) & ~roof] = IGNORE_INDEX
    depth = torch.where(roof, filling["depth"], ground["depth"])
    depth[ring] = TARGETS["depth"].unknown
    objects = torch.where(zone, filling["superstructures"], ground["superstructures"])
    return {"segments": segments, "lines": lines, "depth": depth, "superstructures": objects}
