"""Whether drawn lines are lines: neither nothing, nor nearly everything, nor something in between.

Of datasets whose files hold lines. Where lines follow from planes, it is the planes that count.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.data.plausibility.judgement import Judgement, judge_share, name_share

_MIN_SAMPLES: Final = 5
# Eaves, ridges and hips, each in blocks of 9 px, cover a tenth to a third of a crop.
_MAX_DRAWN_SHARE: Final = 0.5
# Resampled lines have soft edges; where most is neither line nor not, it is a distance or a heat.
_SOFT: Final = (0.1, 0.9)
_MAX_SOFT_SHARE: Final = 0.5
_MIN_LINE_PX: Final = 20


class LineFacts(NamedTuple):
    """What the stored lines of a sample are like.

    Attributes:
        drawn_share: Largest share of the pixels that a kind of line covers.
        soft_share: Share of values neither near 0 nor near 1 among those that are not near 0; NaN
            where hardly anything is drawn.
    """

    drawn_share: float
    soft_share: float


def find_lines(stored: npt.NDArray[np.float32]) -> LineFacts:
    """The facts of (C, H, W) stored lines, 0 to 1."""
    low, high = _SOFT
    num_drawn = int(np.count_nonzero(stored > low))
    soft_share = np.count_nonzero((stored > low) & (stored < high)) / max(1, num_drawn)
    return LineFacts(
        float((stored > 0.5).mean(axis=(1, 2)).max()),
        float(soft_share) if num_drawn >= _MIN_LINE_PX else float("nan"),
    )


def judge_lines(facts: Mapping[str, LineFacts]) -> list[Judgement]:
    """What is wrong with drawn lines.

    Args:
        facts: By sample.
    """
    if len(facts) < _MIN_SAMPLES:
        return []
    num_samples = len(facts)
    bare = [key for key, fact in facts.items() if fact.drawn_share == 0]
    full = [key for key, fact in facts.items() if fact.drawn_share > _MAX_DRAWN_SHARE]
    soft = [key for key, fact in facts.items() if fact.soft_share > _MAX_SOFT_SHARE]
    found = []
    if len(bare) == num_samples:
        what = f"no line is drawn in any of {num_samples} samples: no value is half of the highest"
        remedy = "write 1 where a line is and 0 elsewhere, each kind of line in its own band"
        found.append(Judgement("error", "unusual lines", ("lines",), what, remedy))
    if severity := judge_share(len(full), num_samples):
        largest = max(fact.drawn_share for fact in facts.values())
        what = (
            f"a kind of line covers more than half of {name_share(full, num_samples)}, up to "
            f"{100 * largest:.0f} %: line and no line are probably exchanged"
        )
        remedy = "write 1 where a line is and 0 elsewhere"
        found.append(Judgement(severity, "unusual lines", ("lines",), what, remedy))
    if judge_share(len(soft), num_samples):
        what = (
            f"most values of lines in {name_share(soft, num_samples)} are neither line nor not, "
            f"{_SOFT[0]} to {_SOFT[1]} of the highest: distances or probabilities, which are cut "
            "at half"
        )
        remedy = "write 1 where a line is and 0 elsewhere"
        found.append(Judgement("warning", "unusual lines", ("lines",), what, remedy))
    return found
