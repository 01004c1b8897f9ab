"""Whether the directions of roof planes fit their outlines.

A plane runs down away from a ridge and towards a valley. Roofs have many ridges and few valleys, so
labels whose directions are turned or mirrored against their outlines show the opposite, or creases
that do not run as their planes ask.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from app.base.azimuth import NUM_BINS
from app.data.lines import count_creases
from app.data.plausibility.judgement import Judgement, judge_share, name_share

# With less crease than this a sample says nothing.
_MIN_CREASE_M: Final = 10.0
# Ridges and hips less valleys, as labelled, against the best of all turns and mirrorings: at least
# 0.74 in each of 170 images of RID, LoD2, Krefeld, Invercargill and synthetic scenes; mostly below
# 0 where their directions are mirrored, or turned by two bins or more.
_MAX_SHARE_OF_BEST: Final = 0.5
_NAMES_OF_TURNS: Final[Mapping[tuple[int, int], str]] = {
    (1, 0): "mirrored left to right",
    (1, 8): "mirrored top to bottom (were rows stored from south to north?)",
    (0, 8): "turned by 180 degrees (are azimuths counted from the south, or upwards?)",
}
_REMEDY: Final = (
    "store photos and masks north up, and number directions N, NNE, NE and so on clockwise, each "
    "the direction in which its plane runs down"
)

_Counts = npt.NDArray[np.int64]


def count_turned_creases(segments: npt.NDArray[np.uint8], gsd_m: float) -> _Counts | None:
    """(2, 16, 3) metres of ridge, hip and valley that the planes make, mirrored and turned.

    Entry [int(flip), k] is of the directions as they would be after a clockwise turn by
    k * 22.5 degrees and then a mirroring left to right. None where no plane has a direction.
    """
    if not (segments < NUM_BINS).any():
        return None
    metres: _Counts = np.rint(count_creases(segments, gsd_m) * gsd_m).astype(np.int64)
    return metres


def judge_directions(counts: Mapping[str, _Counts]) -> list[Judgement]:
    """What is wrong with directions.

    Args:
        counts: By sample, as `count_turned_creases` returns them.
    """
    turned = {}
    num_judged = 0
    for sample_id, sample in counts.items():
        score = _score(sample)
        best = int(score.max())
        if best < _MIN_CREASE_M:
            continue
        num_judged += 1
        if score[0, 0] < _MAX_SHARE_OF_BEST * best:
            turned[sample_id] = sample
    severity = judge_share(len(turned), num_judged)
    if severity is None:
        return []
    total: _Counts = np.sum(list(turned.values()), axis=0)
    flip, turn = np.unravel_index(np.argmax(_score(total)), total.shape[:2])
    as_labelled, better = total[0, 0], total[flip, turn]
    what = (
        f"directions of {name_share(list(turned), num_judged)} make {as_labelled[0]} m of ridge, "
        f"{as_labelled[1]} m of hip and {as_labelled[2]} m of valley; they would make {better[0]}, "
        f"{better[1]} and {better[2]} m {_name(int(flip), int(turn))}"
    )
    return [Judgement(severity, "directions are turned", ("segments", "lines"), what, _REMEDY)]


def _score(counts: _Counts) -> _Counts:
    """(2, 16) metres of ridge and hip less those of valley."""
    score: _Counts = counts[..., 0] + counts[..., 1] - counts[..., 2]
    return score


def _name(flip: int, turn: int) -> str:
    """The change, as a person says it."""
    if (flip, turn) in _NAMES_OF_TURNS:
        return _NAMES_OF_TURNS[flip, turn]
    bin_deg = 360 / NUM_BINS
    if turn <= NUM_BINS // 2:
        words = f"turned by {bin_deg * turn:g} degrees clockwise"
    else:
        words = f"turned by {bin_deg * (NUM_BINS - turn):g} degrees counter-clockwise"
    return f"{words} and mirrored left to right" if flip else words
