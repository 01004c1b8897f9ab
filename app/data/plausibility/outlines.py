"""Whether labels lie where the photo shows their edges, and not beside them or mirrored.

The edges of labels are laid over the photo's gradient at every offset. Where labels belong to the
photo, the sum has its peak at no offset; where they are shifted, at the shift.
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX, TaskName
from app.data.plausibility.judgement import Judgement
from app.data.sample import Sample

# What offsets are looked at: fine enough for a shift of a metre, coarse enough to be quick.
_FINEST_M: Final = 0.1
_COARSEST_M: Final = 0.25
_NUM_STEPS: Final = 128
_MAX_OFFSET_M: Final = 20.0
# Smaller photos hold no roof with its surroundings.
_MIN_SPAN_M: Final = 8.0
_MIN_EDGE_M: Final = 10.0
# Contrast is compared with that of the 10 m around; a single hard edge counts three times that.
_CONTRAST_M: Final = 10.0
_MAX_CONTRAST: Final = 3.0
# Labels of real datasets may be off by up to this: buildings lean, labels follow walls or eaves.
_TOLERATED_M: Final = 1.0
# A place is known to this; the match falls to that of chance within two or three times as far.
_HOME_M: Final = 0.5
_RING_M: Final = (1.0, 2.5)
# A better place is believed where it is better in three of four samples, by five standard errors of
# the difference, and stands out as much as sound labels do: 5 to 15 on RID, AIRS-like tiles, single
# roofs and synthetic scenes. By chance the best of all offsets reaches 1.
_MIN_SAMPLES: Final = 6
_MIN_SHARE: Final = 0.75
_MIN_T: Final = 5.0
_MIN_HEIGHT: Final = 1.5
_MIN_RATIO: Final = 1.3
# How far the match at home stands above that 1 to 2.5 m away, in standard errors over samples: 17
# to 28 for sound labels, -1 to 2 for those of another photo. Footprints that leave out the overhang
# reach no more than these, but have their best place nearby.
_MIN_SAMPLES_TO_MISS: Final = 12
_MISSED_T: Final = 3.0
# The eight ways in which a square can lie: quarter turns counter-clockwise, then flipped.
_PLACINGS: Final = tuple((quarters, flip) for flip in (False, True) for quarters in range(4))
_NAMES: Final = (
    "as they are",
    "turned by 90 degrees counter-clockwise",
    "turned by 180 degrees",
    "turned by 90 degrees clockwise",
    "mirrored left to right",
    "mirrored along the rising diagonal",
    "mirrored top to bottom",
    "mirrored along the falling diagonal (rows and columns swapped)",
)
_REMEDY_SHIFT: Final = (
    "see that photos and labels are cut at the same place and have the same corner, and cut the "
    "labels again"
)
_REMEDY_PLACING: Final = "store photos and labels with the same side up"
_REMEDY_MISS: Final = (
    "see in a viewer that each label belongs to the photo of its name, and lies where the photo "
    "shows its roofs"
)

_Floats = npt.NDArray[np.float32]


class OutlineFit(NamedTuple):
    """How well the edges of a sample's labels match its photo.

    Attributes:
        step_m: Metres from one offset to the next.
        by_offset: (2R + 1, 2R + 1) float32: how much of the photo's gradient lies under the edges
            once the labels are moved by so many steps down and right, in standard deviations over
            all offsets. No offset is in the middle.
        by_placing: (8,) float32: the same, within half a metre of no offset, for the labels placed
            in each of eight ways; NaN where they do not fit so.
    """

    step_m: float
    by_offset: _Floats
    by_placing: _Floats


def fit_outlines(sample: Sample, span_m: float) -> OutlineFit | None:
    """How well the sample's labels match its photo; None where that says nothing.

    Args:
        sample: With planes, or else lines.
        span_m: Smallest side of the dataset's photos, by which all of them are looked at alike.
    """
    step_m = min(_COARSEST_M, max(_FINEST_M, span_m / _NUM_STEPS))
    gsd_m = sample["gsd_m"]
    height, width = (round(side * gsd_m / step_m) for side in sample["image"].shape[1:])
    if min(height, width) * step_m < _MIN_SPAN_M:
        return None
    drawn = cv2.resize(_edges(sample), (width, height), interpolation=cv2.INTER_AREA)
    gradient = _gradient(sample, (width, height), step_m)
    total = float(drawn.sum())
    if total * step_m < _MIN_EDGE_M or not gradient.any():
        return None
    edges: _Floats = (drawn / total).astype(np.float32)
    spectrum = np.fft.rfft2(gradient) * np.conj(np.fft.rfft2(edges))
    by_offset = np.fft.fftshift(np.fft.irfft2(spectrum, s=gradient.shape)).astype(np.float32)
    spread = float(by_offset.std())
    if spread == 0:
        return None
    reach = min(round(_MAX_OFFSET_M / step_m), (min(height, width) - 1) // 2)
    middle_y, middle_x = height // 2, width // 2
    by_offset = by_offset[
        middle_y - reach : middle_y + reach + 1, middle_x - reach : middle_x + reach + 1
    ]
    side = 2 * round(_HOME_M / step_m) + 1
    near: _Floats = (cv2.blur(gradient, (side, side)) / spread).astype(np.float32)
    return OutlineFit(step_m, by_offset / np.float32(spread), _fit_placings(edges, near))


def _edges(sample: Sample) -> _Floats:
    """(H, W) 1 on the outline of roofs, or on drawn lines where no plane is known; else 0."""
    segments = sample["segments"].numpy()
    known = segments != IGNORE_INDEX
    if not known.any():
        lines: _Floats = (sample["lines"].numpy() == 1).any(axis=0).astype(np.float32)
        return lines
    roof = (known & (segments != BACKGROUND_CLASS)).view(np.uint8)
    square = np.ones((3, 3), np.uint8)
    outline = np.not_equal(cv2.dilate(roof, square), cv2.erode(roof, square))
    # Where knowledge ends there is no edge.
    inside = cv2.erode(known.view(np.uint8), np.ones((5, 5), np.uint8)).view(np.bool_)
    edges: _Floats = (outline & inside).astype(np.float32)
    return edges


def _gradient(sample: Sample, size: tuple[int, int], step_m: float) -> _Floats:
    """(H, W) strength of the photo's edges against those around, 0 on average."""
    grey = sample["image"].numpy().mean(axis=0, dtype=np.float32)
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    strength = np.hypot(
        cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 8
    )
    side = 2 * round(_CONTRAST_M / 2 / step_m) + 1
    # One grey level more, so that noise in an even field is no edge.
    relative = np.minimum(strength / (cv2.blur(strength, (side, side)) + 1), _MAX_CONTRAST)
    centred: _Floats = (relative - relative.mean()).astype(np.float32)
    return centred


def _fit_placings(edges: _Floats, gradient: _Floats) -> _Floats:
    found = np.full(len(_PLACINGS), np.nan, np.float32)
    for number, (quarters, flip) in enumerate(_PLACINGS):
        placed = np.rot90(edges, quarters)
        placed = placed[:, ::-1] if flip else placed
        if placed.shape == gradient.shape:
            found[number] = float((placed * gradient).sum())
    return found


def judge_outlines(fits: Mapping[str, OutlineFit], *, are_whole: bool) -> list[Judgement]:
    """What is wrong with the place of labels.

    Args:
        fits: By sample.
        are_whole: Whether samples are whole photos: a part of a mirrored one is not mirrored.
    """
    if len(fits) < _MIN_SAMPLES:
        return []
    placings = np.stack([fit.by_placing for fit in fits.values()])
    found = _judge_placing(placings) if are_whole else None
    found = found or _judge_offset(list(fits.values()))
    found = found or _judge_match(list(fits.values()))
    return [found] if found else []


def _judge_placing(placings: _Floats) -> Judgement | None:
    # A placing that does not fit one of the samples is none of the dataset's.
    means = np.nan_to_num(placings.mean(axis=0), nan=-np.inf)
    best = int(np.argmax(means))
    if best == 0 or not _is_better(placings[:, best], placings[:, 0]):
        return None
    what = (
        f"labels of {len(placings)} samples fit their photos better {_NAMES[best]}: the match is "
        f"{means[best]:.1f} standard deviations above that at other places, and {means[0]:.1f} as "
        "they are"
    )
    return Judgement(
        "error", "labels are shifted", ("segments", "lines", "depth"), what, _REMEDY_PLACING
    )


def _judge_offset(fits: list[OutlineFit]) -> Judgement | None:
    maps, distance_m = _stack(fits)
    mean = maps.mean(axis=0)
    row, column = np.unravel_index(np.argmax(mean), mean.shape)
    if distance_m[row, column] <= _TOLERATED_M or len(maps) < _MIN_SAMPLES:
        return None
    best_home = np.argmax(np.where(distance_m <= _HOME_M, mean, -np.inf))
    home = maps.reshape(len(maps), -1)[:, best_home]
    if not _is_better(maps[:, row, column], home):
        return None
    step_m, reach = fits[0].step_m, len(mean) // 2
    down_m, right_m = (step_m * (int(place) - reach) for place in (row, column))
    what = (
        f"labels of {len(maps)} samples fit their photos better once they are moved by "
        f"{distance_m[row, column]:.1f} m ({_name_way(down_m, 'down', 'up')}, "
        f"{_name_way(right_m, 'right', 'left')}): the match there is {mean[row, column]:.1f} "
        f"standard deviations above that at other places, and {home.mean():.1f} as they are"
    )
    return Judgement(
        "error", "labels are shifted", ("segments", "lines", "depth"), what, _REMEDY_SHIFT
    )


def _judge_match(fits: list[OutlineFit]) -> Judgement | None:
    maps, distance_m = _stack(fits)
    mean = maps.mean(axis=0)
    if len(maps) < _MIN_SAMPLES_TO_MISS:
        return None
    if distance_m.ravel()[np.argmax(mean)] <= _RING_M[1]:
        return None
    ring = (distance_m > _RING_M[0]) & (distance_m <= _RING_M[1])
    home = maps[:, distance_m <= _HOME_M].mean(axis=1)
    above_ring = home - maps[:, ring].mean(axis=1)
    if _t(above_ring) >= _MISSED_T:
        return None
    what = (
        f"edges of the labels of {len(maps)} samples do not lie on edges of the photos: the match "
        f"is {home.mean():.1f} standard deviations above that at other places, where labels that "
        "belong to their photos have 4 to 15"
    )
    tasks: tuple[TaskName, ...] = ("segments", "lines")
    return Judgement("warning", "labels do not fit photos", tasks, what, _REMEDY_MISS)


def _stack(fits: list[OutlineFit]) -> tuple[_Floats, _Floats]:
    """Matches by sample, row and column of offset, and the offsets' distance from none, metres.

    All to the reach of three in four samples; those that are smaller are left out.
    """
    reach = int(np.percentile([len(fit.by_offset) // 2 for fit in fits], 25))
    maps = []
    for fit in fits:
        cut = len(fit.by_offset) // 2 - reach
        if cut >= 0:
            maps.append(fit.by_offset[cut : cut + 2 * reach + 1, cut : cut + 2 * reach + 1])
    steps = np.arange(-reach, reach + 1, dtype=np.float32) * np.float32(fits[0].step_m)
    return np.stack(maps), np.hypot(steps[:, None], steps[None])


def _is_better(other: _Floats, own: _Floats) -> bool:
    """Whether another place of labels is better than their own beyond doubt, over samples."""
    difference = other - own
    return bool(
        other.mean() >= _MIN_HEIGHT
        and other.mean() >= _MIN_RATIO * own.mean()
        and np.mean(difference > 0) >= _MIN_SHARE
        and _t(difference) >= _MIN_T
    )


def _t(values: _Floats) -> float:
    """The mean in standard errors."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) / max(error, 1e-6)


def _name_way(metres: float, ahead: str, back: str) -> str:
    return f"{abs(metres):.1f} {ahead if metres >= 0 else back}"
