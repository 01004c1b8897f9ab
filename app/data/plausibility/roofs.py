"""Whether roof and no roof are mistaken for each other, or one class for background."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from app.base.azimuth import BIN_NAMES, NUM_BINS
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX, TaskName
from app.data.plausibility.judgement import Judgement
from app.data.sample import Sample

# A shed; smaller things are slits and specks.
_MIN_AREA_M2: Final = 10.0
_SHADOW_SHARE: Final = 0.08
_BLUR_M: Final = 0.5
_MIN_SIDE_PX: Final = 500
# Islands of roof in ground against holes in roof, in whole samples: 32 : 0 (RID), 249 : 2 (a town's
# centre), 60 : 0 (single roofs). Blocks of old towns enclose courts, hence the shadows as well:
# they lie on the ground, not on roofs, in 88 to 100 % of real and synthetic samples.
_MIN_HOLES: Final = 6
_MIN_RATIO: Final = 4
_MIN_ROOF_SHARE: Final = 0.5
_MIN_SHADED_SHARE: Final = 0.75
_MIN_SHADED_SAMPLES: Final = 5
# No direction has more than a third of the pixels of a real dataset.
_MAX_DIRECTION_SHARE: Final = 0.5
_MIN_SAMPLES: Final = 3

_REMEDY_INVERTED: Final = "write the masks again with roof and background exchanged"
_REMEDY_NUMBERS: Final = (
    "number the classes as the release does: 0 to 15 for directions, 16 flat, 17 background"
)


class RoofFacts(NamedTuple):
    """Where a sample's roofs lie in their surroundings.

    Attributes:
        num_islands: Roofs with ground all around.
        num_holes: Pieces of ground with roof all around.
        shadow_on_roof: Whether the darkest parts of the photo are more often roof than ground;
            None where there is too little of one of them.
    """

    num_islands: int
    num_holes: int
    shadow_on_roof: bool | None


def find_roofs(sample: Sample) -> RoofFacts | None:
    """The facts of a sample; None where no plane is known."""
    segments = sample["segments"].numpy()
    known = segments != IGNORE_INDEX
    if not known.any():
        return None
    ground = segments == BACKGROUND_CLASS
    min_area_px = _MIN_AREA_M2 / sample["gsd_m"] ** 2
    # What is unknown may belong to either, so it closes none of them off from the border.
    return RoofFacts(
        _count_closed(~ground, min_area_px),
        _count_closed(ground | ~known, min_area_px),
        _is_shadow_on_roof(sample, known & ~ground, ground),
    )


def _count_closed(mask: npt.NDArray[np.bool_], min_area_px: float) -> int:
    """How many pieces of a mask do not touch the border."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    height, width = mask.shape
    left, top, box_width, box_height, area_px = stats[1:].T
    inside = (left > 0) & (top > 0) & (left + box_width < width) & (top + box_height < height)
    return int(np.count_nonzero(inside & (area_px >= min_area_px)))


def _is_shadow_on_roof(
    sample: Sample, roof: npt.NDArray[np.bool_], ground: npt.NDArray[np.bool_]
) -> bool | None:
    image = sample["image"].numpy()
    side = 2 * round(_BLUR_M / sample["gsd_m"] / 2) + 1
    brightness = cv2.blur(image.mean(axis=0, dtype=np.float32), (side, side))
    shown = image.any(axis=0)  # black is where a photo ends
    roof, ground = roof & shown, ground & shown
    num_roof, num_ground = int(np.count_nonzero(roof)), int(np.count_nonzero(ground))
    if min(num_roof, num_ground) < _MIN_SIDE_PX:
        return None
    dark = brightness < np.quantile(brightness[roof | ground], _SHADOW_SHARE)
    on_roof = np.count_nonzero(dark & roof) / num_roof
    return bool(on_roof > np.count_nonzero(dark & ground) / num_ground)


def judge_roofs(facts: Mapping[str, RoofFacts], counts: npt.NDArray[np.int64]) -> list[Judgement]:
    """What is wrong with what is called roof.

    Args:
        facts: By sample.
        counts: (256,) pixels of all samples by label of segments.
    """
    num_known = int(counts.sum() - counts[IGNORE_INDEX])
    if len(facts) < _MIN_SAMPLES or not num_known:
        return []
    directions = counts[:NUM_BINS]
    largest = int(np.argmax(directions))
    if directions[largest] > _MAX_DIRECTION_SHARE * num_known:
        what = (
            f"class {largest} ({BIN_NAMES[largest]}) covers "
            f"{100 * directions[largest] / num_known:.0f} % of {len(facts)} samples, and "
            f"background (class {BACKGROUND_CLASS}) "
            f"{100 * counts[BACKGROUND_CLASS] / num_known:.0f} %: no direction is so frequent, so "
            f"{largest} probably stands for background"
        )
        return [Judgement("error", "class numbers", ("segments", "lines"), what, _REMEDY_NUMBERS)]
    roof_share = 1 - counts[BACKGROUND_CLASS] / num_known
    num_islands = sum(fact.num_islands for fact in facts.values())
    num_holes = sum(fact.num_holes for fact in facts.values())
    shadows = [fact.shadow_on_roof for fact in facts.values() if fact.shadow_on_roof is not None]
    num_shaded = sum(shadows)
    if (
        roof_share < _MIN_ROOF_SHARE
        or num_holes < max(_MIN_HOLES, _MIN_RATIO * num_islands)
        or num_shaded < max(_MIN_SHADED_SAMPLES, _MIN_SHADED_SHARE * len(shadows))
    ):
        return []
    what = (
        f"roof covers {100 * roof_share:.0f} % of {len(facts)} samples, with {num_holes} pieces of "
        f"ground that roof surrounds and {num_islands} roofs that ground surrounds, and in "
        f"{num_shaded} of {len(shadows)} samples shadows lie on what is called roof: roof and "
        "background are probably exchanged"
    )
    tasks: tuple[TaskName, ...] = ("segments", "lines")
    return [Judgement("error", "labels are inverted", tasks, what, _REMEDY_INVERTED)]
