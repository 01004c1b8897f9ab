"""Whether two results differ by more than chance, told from seeds or from how much was scored."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Verdict = Literal["better", "worse", "may be chance", "not known"]
Basis = Literal["seeds", "support"]

# Of 20 differences that are chance alone, 19 are called so.
LEVEL: Final = 0.95
_Z: Final = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)


@dataclass(frozen=True)
class Results:
    """A metric of runs that differ in their seed alone.

    Attributes:
        values: Its value in each run.
        count: How many things of one kind were scored: photos, or planes. Pixels are none: those of
            one photo are alike.
        highest: The most that the metric can be of one of these things; None where there is none.
        lower_is_better: As for errors.
    """

    values: Sequence[float]
    count: int
    highest: float | None
    lower_is_better: bool

    @property
    def mean(self) -> float:
        """Over the runs."""
        return statistics.fmean(self.values)


@dataclass(frozen=True)
class Judgement:
    """What may be said of a difference.

    Attributes:
        difference: The other's mean minus the first one's.
        least: How large it has to be, either way, to be more than chance; None where nothing tells.
        basis: Where that is from; None where nothing tells.
        verdict: In words.
    """

    difference: float
    least: float | None
    basis: Basis | None
    verdict: Verdict


def judge(first: Results, other: Results) -> Judgement:
    """Compare two results.

    Of three runs or more, the spread over seeds tells (Student's t, with one spread for both). Of
    two runs, support does, and takes the most that it can be: a photo counts as one yes or no
    (variance p (1 - p) / count, of a mean in [0, highest]). So it calls real differences chance
    rather than the other way round, and it knows nothing of what another seed would do.
    """
    difference = other.mean - first.mean
    freedom = len(first.values) + len(other.values) - 2
    basis: Basis = "seeds" if freedom > 0 else "support"
    least = (
        _least_by_seeds(first, other, freedom)
        if basis == "seeds"
        else _least_by_support(first, other)
    )
    if least is None:
        return Judgement(difference, None, None, "not known")
    is_more = abs(difference) > least
    gain = -difference if first.lower_is_better else difference
    verdict: Verdict = "may be chance"
    if is_more:
        verdict = "better" if gain > 0 else "worse"
    return Judgement(difference, least, basis, verdict)


def _least_by_seeds(first: Results, other: Results, freedom: int) -> float:
    from scipy import stats

    squares = sum(
        (value - results.mean) ** 2 for results in (first, other) for value in results.values
    )
    error = math.sqrt(squares / freedom * (1 / len(first.values) + 1 / len(other.values)))
    quantile: Any = stats.t.ppf((1 + LEVEL) / 2, freedom)
    return float(quantile) * error


def _least_by_support(first: Results, other: Results) -> float | None:
    variance = 0.0
    for results in (first, other):
        if results.highest is None or results.count < 1:
            return None
        variance += results.mean * max(0.0, results.highest - results.mean) / results.count
    return _Z * math.sqrt(variance)
