"""Whether a map of classes was made smaller, larger or turned by averaging, or saved as JPEG.

A mean of two classes is a third class, which then stands in a seam between them. In a sound map a
row goes from one class to another at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from app.base.counts import Counts
from app.base.tasks import IGNORE_INDEX, TaskName
from app.data.plausibility.judgement import Judgement, judge_share, name_share

# So many equal pixels in a row are an area, fewer are part of a seam. Objects on roofs are 5 px.
_MIN_AREA_PX: Final = 4
# A seam is no wider: what lies between two areas further apart is a thing of its own.
_MAX_SEAM_PX: Final = 12
# Nothing stands between neighbouring numbers.
_MIN_STEP: Final = 2
# Crossings of sound maps with a seam: 0.2 to 4 % over a dataset (RID, LoD2, 2 x 1000 photos of
# single roofs, synthetic scenes), 11 % in the worst image. Of maps resampled by averages, at any
# scale, 67 to 99 %; of JPEG at a quality of 75 to 95, 77 to 92 %.
_MAX_SEAM_SHARE: Final = 0.3
_MIN_CROSSINGS: Final = 50
MASK_REMEDY: Final = (
    "make the masks again with nearest neighbours (gdalwarp -r near, cv2.INTER_NEAREST) and store "
    "them as PNG or deflate, never as JPEG"
)


@dataclass(frozen=True)
class Seams(Counts):
    """What lies between two areas of different classes, over all rows and columns of maps.

    Attributes:
        num_clean: Crossings from one class to another with nothing between them.
        num_ramps: Crossings by classes that rise or fall from the one to the other.
        num_scattered: Crossings by other short runs.
    """

    num_clean: int = 0
    num_ramps: int = 0
    num_scattered: int = 0

    @property
    def num_crossings(self) -> int:
        """All of them."""
        return self.num_clean + self.num_ramps + self.num_scattered

    @property
    def share(self) -> float:
        """Share of the crossings that have a seam."""
        return (self.num_ramps + self.num_scattered) / max(1, self.num_crossings)

    @property
    def is_blurred(self) -> bool:
        """Whether no sound map has so many seams; False where there is too little to tell."""
        return self.num_crossings >= _MIN_CROSSINGS and self.share > _MAX_SEAM_SHARE

    def describe(self) -> str:
        """What the seams look like, and what makes them."""
        share = f"{100 * self.share:.0f} % of {self.num_crossings} crossings between two classes"
        if self.num_ramps > self.num_scattered:
            return (
                f"{share} pass through the numbers between them, as after resampling with averages "
                "(bilinear, area)"
            )
        return f"{share} pass through a seam of other numbers, as in JPEG or after cubic resampling"


def find_seams(classes: npt.NDArray[np.uint8]) -> Seams:
    """The crossings of (H, W) class numbers; 255 is unknown, and nothing crosses it."""
    return _find_seams_in_rows(classes) + _find_seams_in_rows(classes.T)


def _find_seams_in_rows(classes: npt.NDArray[np.uint8]) -> Seams:
    height, width = classes.shape
    # Rows one behind the other, with something unknown between them.
    chain = np.full((height, width + 1), IGNORE_INDEX, np.uint8)
    chain[:, :width] = classes
    values = chain.ravel()
    starts = np.flatnonzero(np.diff(values, prepend=values[0] ^ 1))
    lengths = np.diff(starts, append=len(values))
    run_values = values[starts].astype(np.int64)
    is_area = (lengths >= _MIN_AREA_PX) | (run_values == IGNORE_INDEX)
    areas = np.flatnonzero(is_area)
    before, after = areas[:-1], areas[1:]
    left, right = run_values[before], run_values[after]
    counts = (left != IGNORE_INDEX) & (right != IGNORE_INDEX) & (abs(left - right) >= _MIN_STEP)
    gap_px = starts[after] - (starts[before] + lengths[before])
    has_seam = counts & (gap_px > 0) & (gap_px <= _MAX_SEAM_PX)
    # A ramp is as many steps up as there are steps, or as many down.
    rises = np.concatenate(([0], np.cumsum(np.sign(np.diff(run_values)))))
    is_ramp = has_seam & (abs(rises[after] - rises[before]) == after - before)
    return Seams(
        num_clean=int(np.count_nonzero(counts & (gap_px == 0))),
        num_ramps=int(np.count_nonzero(is_ramp)),
        num_scattered=int(np.count_nonzero(has_seam & ~is_ramp)),
    )


def judge_seams(task: TaskName, seams: Mapping[str, Seams]) -> list[Judgement]:
    """What is wrong with the maps of a task.

    Args:
        task: Whose classes they are.
        seams: By sample.
    """
    blurred = {sample_id: found for sample_id, found in seams.items() if found.is_blurred}
    num_judged = sum(found.num_crossings >= _MIN_CROSSINGS for found in seams.values())
    severity = judge_share(len(blurred), num_judged)
    if severity is None:
        return []
    total = sum(blurred.values(), Seams())
    what = (
        f"class numbers of {task} are mixed in {name_share(list(blurred), num_judged)}: "
        f"{total.describe()}"
    )
    return [Judgement(severity, "mixed classes", (task,), what, MASK_REMEDY)]
