"""Roofs cut out of their photo and laid, with a shadow, onto the ground of another one.

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

from app.base.arrays import Flags, Mask8
from app.base.tasks import IGNORE_INDEX, TaskName
from app.data.lines import line_reach_px
from app.data.sample import TARGETS, PlaneName, Sample, make_planes

# A window is worth the work where a part of it is roof, and a part is unknown.
_LEAST_ROOF: Final = 0.02
_LEAST_UNKNOWN: Final = 0.05
# Of the new ground so much has to be known, and so much of what the roof covers to be background: a
# roof across a street of houses is none that anybody has seen.
_LEAST_KNOWN: Final = 0.8
_LEAST_FREE: Final = 0.6
# Around the roof its own ground, where that is known, passes over into the new one.
_RING_M: Final = 0.5
_DECOY_SHARE: Final = 0.25
_SHADOW_M: Final = (1.0, 5.0)
_SHADOW_LIGHT: Final = (0.4, 0.8)

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.float32]


def wants_ground(window: Sample, background: int) -> bool:
    """Whether a window shows roof, and little is known beside it.

    Args:
        window: With its targets as the losses take them.
        background: The label of background there.
    """
    segments = window["segments"].numpy()
    is_unknown = np.mean(segments == IGNORE_INDEX) >= _LEAST_UNKNOWN
    return bool(is_unknown and np.mean(_find_roof(segments, background)) >= _LEAST_ROOF)


def suits(window: Sample, ground: Sample, background: int) -> bool:
    """Whether the roof of a window can lie on a window of other ground, of the same size."""
    labels = ground["segments"].numpy()
    roof = _find_roof(window["segments"].numpy(), background)
    is_known = np.mean(labels != IGNORE_INDEX) >= _LEAST_KNOWN
    return bool(is_known and np.mean(labels[roof] == background) >= _LEAST_FREE)


def lay_on_ground(
    window: Sample, ground: Sample, background: int, rng: np.random.Generator
) -> Sample:
    """The roof of a window on other ground, or ground in its outline; a new sample.

    Args:
        window: A window that `wants_ground`.
        ground: One of the same size and scale that `suits` it.
        background: The label of background.
        rng: Draws what the outline is filled with, and the shadow.
    """
    cut = _CutOut.of(window, background)
    filling = window if rng.random() >= _DECOY_SHARE else _shifted(ground)
    shaded = _shade(_colours(ground), cut.roof, window["gsd_m"], rng)
    alpha = cut.alpha[..., None]
    mixed = alpha * _colours(filling) + (1 - alpha) * shaded
    image = torch.from_numpy(np.rint(mixed).astype(np.uint8)).permute(2, 0, 1)
    targets = _lay_targets(cut, filling, ground, background)

    def find(name: PlaneName) -> Tensor:
        return image if name == "image" else targets[name]

    return {
        **make_planes(find),
        "dataset": window["dataset"],
        "sample_id": f"{window['sample_id']} on {ground['sample_id']}",
        "gsd_m": window["gsd_m"],
    }


class _CutOut(NamedTuple):
    """The part of a window that is taken.

    Attributes:
        roof: (H, W) its roofs.
        zone: (H, W) these and the ground beside them.
        alpha: (H, W) how much of each pixel is taken, 0 to 1.
    """

    roof: Flags
    zone: Flags
    alpha: Mask

    @classmethod
    def of(cls, window: Sample, background: int) -> Self:
        """The roofs of a window."""
        segments = window["segments"].numpy()
        roof = _find_roof(segments, background)
        off = cv2.distanceTransform((~roof).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        ring_px = _RING_M / window["gsd_m"]
        fading = np.clip(1 - off / (ring_px + 1), 0, 1).astype(np.float32)
        alpha = np.where(roof | (segments == background), fading, np.float32(0))
        return cls(roof, alpha > 0, alpha)


def _find_roof(segments: Mask8, background: int) -> Flags:
    return np.asarray((segments != background) & (segments != IGNORE_INDEX), np.bool_)


def _colours(sample: Sample) -> npt.NDArray[np.float32]:
    """(H, W, 3) of 0 to 255."""
    return sample["image"].numpy().transpose(1, 2, 0).astype(np.float32)


def _shifted(ground: Sample) -> Sample:
    """The ground moved by half of its size: other ground, in the same light. No line is known."""
    half = [side // 2 for side in ground["segments"].shape]

    def find(name: PlaneName) -> Tensor:
        if name == "lines":
            return TARGETS["lines"].blank(*ground["segments"].shape)
        return ground[name].roll(half, dims=(-2, -1))

    return {**ground, **make_planes(find)}


def _shade(
    colours: npt.NDArray[np.float32], roof: Flags, gsd_m: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
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
    darkened: npt.NDArray[np.float32] = colours * (1 - (1 - light) * soft[..., None])
    return darkened.astype(np.float32)


def _lay_targets(
    cut: _CutOut, filling: Sample, ground: Sample, background: int
) -> dict[TaskName, Tensor]:
    """Targets of the filling in the outline, else those of the ground, and unknown in between.

    Roofs of the ground that the cut-out covers in part end at no eave: lines are unknown there.
    """
    roof, zone = torch.from_numpy(cut.roof), torch.from_numpy(cut.zone)
    ring = zone & ~roof
    old, new = ground["segments"], filling["segments"]
    is_mixed = ring & ((old != background) | (new != background))
    segments = torch.where(roof, new, old)
    segments[is_mixed] = IGNORE_INDEX
    lines = torch.where(zone, filling["lines"], ground["lines"])
    covered = _find_roof(old.numpy(), background) & cut.zone
    if covered.any():
        reach = 2 * line_reach_px(filling["gsd_m"]) + 1
        near = cv2.dilate(covered.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
        lines[:, torch.from_numpy(near) & ~roof] = IGNORE_INDEX
    depth = torch.where(roof, filling["depth"], ground["depth"])
    depth[ring] = TARGETS["depth"].unknown
    objects = torch.where(zone, filling["superstructures"], ground["superstructures"])
    return {"segments": segments, "lines": lines, "depth": depth, "superstructures": objects}
