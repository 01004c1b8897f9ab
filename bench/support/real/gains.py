"""Figures of the comparison on real roofs: ours over peers and over the defaults, and targets."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Final, NamedTuple

from app.settings.recipes import BEST
from bench.support.figures import Target, print_table
from bench.support.learning.runs import Spread
from bench.support.real.runs import OURS, SCORES_KEYS
from bench.support.real.tables import Results, find_places

Runs = Sequence[Mapping[str, Any]]

_PEERS: Final = ("smp_fpn", "smp_unet")
_WITHIN: Final = "planes/azimuth_within_22_5_deg"
# Of ours over a peer: metric, and what the figure is called.
_GAINS: Final = (
    ("planes/pq", "planes_pq_gain"),
    (_WITHIN, "azimuth_share_gain"),
    ("lines/f1_3px", "line_f1_gain"),
    ("segments/roof_iou", "roof_iou_gain"),
)
# The recipe of 0.1 m throughout, which the best one is compared with.
_DEFAULTS: Final = "fine"
# Of the best recipe alone: the figure, and the score behind it.
_SCORES: Final = {
    "rid_roof_iou": "rid/segments/roof_iou",
    "rid_azimuth_share": f"rid/{_WITHIN}",
    "rid_azimuth_median_deg": "rid/planes/azimuth_error_median_deg",
    "invercargill_planes_pq": "invercargill/planes/pq",
    "invercargill_azimuth_share": f"invercargill/{_WITHIN}",
    "invercargill_azimuth_median_deg": "invercargill/planes/azimuth_error_median_deg",
    "invercargill_ridge_f1": "invercargill/lines/ridge_f1_3px",
    "invercargill_hip_f1": "invercargill/lines/hip_f1_3px",
    "invercargill_valley_f1": "invercargill/lines/valley_f1_3px",
    "invercargill_eave_f1": "invercargill/lines/eave_f1_3px",
}
TARGETS: Final = (
    Target("rid_roof_iou", ">=", 0.82),
    Target("rid_azimuth_share", ">=", 0.9),
    Target("rid_azimuth_median_deg", "<=", 5),
    Target("invercargill_planes_pq", ">=", 0.6),
    Target("invercargill_azimuth_share", ">=", 0.94),
    Target("invercargill_azimuth_median_deg", "<=", 3),
    Target("invercargill_ridge_f1", ">=", 0.85),
    Target("invercargill_hip_f1", ">=", 0.8),
    Target("invercargill_valley_f1", ">=", 0.65),
    Target("invercargill_eave_f1", ">=", 0.9),
    Target("unseen_rid_azimuth_share", ">=", 0.75),
    Target("azimuth_error_ratio_defaults", "<=", 0.5),
    Target("class_iou_ratio_defaults", ">=", 1.6),
    Target("line_f1_gain_defaults", ">=", 0.08),
)


class Gain(NamedTuple):
    """A figure of ours over a peer.

    Attributes:
        name: Of the figure.
        value: Difference of means over seeds.
        spread: How far the furthest seed of either lies from its mean; None of a single seed.
    """

    name: str
    value: float
    spread: float | None

    @property
    def verdict(self) -> str:
        """What can be said of it."""
        if self.spread is None:
            return "one seed: may be chance"
        if abs(self.value) <= self.spread:
            return "within the spread"
        return f"{'ahead' if self.value > 0 else 'behind'} by more than the spread"


def compare_networks(results: Results) -> list[Gain]:
    """Ours over each peer that learned by the same recipe, for the same seconds.

    A seed's score is the mean over all places where both are scored.

    Args:
        results: Runs by label.
    """
    gains = []
    for peer in _PEERS:
        pair = _find_pair(results, peer)
        for metric, name in _GAINS if pair else ():
            assert pair is not None
            found = _mean_over_places(pair, metric)
            if found is None:
                continue
            ours, theirs = found
            spread = None
            if min(len(ours.values), len(theirs.values)) > 1:
                spread = max(abs(v - one.mean()) for one in found for v in one.values)
            figure = f"{name}_{peer.removeprefix('smp_')}"
            gains.append(Gain(figure, ours.mean() - theirs.mean(), spread))
    return gains


def print_gains(gains: Sequence[Gain]) -> None:
    """A table, if there is any."""
    if not gains:
        return
    print("\nours over peers by the same recipe in the same seconds, means over all places")
    rows = [
        [one.name, f"{one.value:.3f}", "-" if one.spread is None else f"{one.spread:.3f}"]
        for one in gains
    ]
    table = [[*row, one.verdict] for row, one in zip(rows, gains, strict=True)]
    print_table(["figure", "gain", "spread of seeds", ""], table)


def find_figures(results: Results) -> dict[str, float]:
    """The figures behind TARGETS that were measured, means over seeds.

    They are those of the longest runs of the best recipe, asked in all turns and flips where they
    were. Over the defaults both are asked once.

    Args:
        results: Runs by label.
    """
    ours = _longest(results, BEST.label)
    figures: dict[str, float] = {}
    if ours:
        figures |= _means(ours, _SCORES)
        figures |= _over_defaults(ours, _longest(results, _DEFAULTS, budget_s=_budget_of(ours)))
    unseen = _longest(results, BEST.label, without="rid")
    return figures | _means(unseen, {"unseen_rid_azimuth_share": f"rid/{_WITHIN}"})


def _over_defaults(ours: Runs, defaults: Runs) -> dict[str, float]:
    """Ratios and gains of the best recipe over 0.1 m throughout, means over all places."""
    pair = (ours, defaults)
    found = {
        name: _mean_over_places(pair, metric)
        for name, metric in (
            ("azimuth_error_ratio_defaults", "planes/azimuth_error_deg"),
            ("class_iou_ratio_defaults", "segments/miou_no_background"),
            ("line_f1_gain_defaults", "lines/f1_3px"),
        )
        if defaults
    }
    return {
        name: (
            both[0].mean() - both[1].mean()
            if name == "line_f1_gain_defaults"
            else both[0].mean() / both[1].mean()
        )
        for name, both in found.items()
        if both is not None
    }


def _longest(
    results: Results, recipe: str, without: str = "", budget_s: float | None = None
) -> Runs:
    """The runs of a recipe that had most seconds, or as many as asked for; empty if none."""
    found = [
        runs
        for runs in results.values()
        if runs[0].get("recipe") == recipe
        and runs[0].get("network") == OURS
        and runs[0].get("without") == without
        and budget_s in (None, _budget_of(runs))
    ]
    return max(found, key=_budget_of, default=())


def _budget_of(runs: Runs) -> float:
    return float(runs[0]["budget_s"])


def _means(runs: Runs, names: Mapping[str, str]) -> dict[str, float]:
    """Scores by figure, each the mean of all seeds; those that a seed lacks are absent."""
    figures = {}
    for figure, score in names.items():
        values = [run.get(SCORES_KEYS[8], run["scores"]).get(score) for run in runs]
        if values and None not in values:
            figures[figure] = fmean(values)
    return figures


def _find_pair(results: Results, peer: str) -> tuple[Runs, Runs] | None:
    """Runs of ours and of a peer that differ in the network alone; None if there are none."""

    def key(runs: Runs) -> tuple[object, ...]:
        return tuple(runs[0].get(name) for name in ("recipe", "budget_s", "without"))

    for theirs in results.values():
        for ours in results.values():
            names = tuple(runs[0].get("network") for runs in (ours, theirs))
            if names == (OURS, peer) and key(ours) == key(theirs):
                return ours, theirs
    return None


def _mean_over_places(pair: tuple[Runs, Runs], metric: str) -> tuple[Spread, Spread] | None:
    """A score of each seed, the mean over the places where all runs have it; None if nowhere."""
    every = [run["scores"] for runs in pair for run in runs]
    names = [f"{place}/{metric}" for place in find_places([*pair[0], *pair[1]])]
    shared = [name for name in names if all(name in scores for scores in every)]
    if not shared:
        return None
    ours, theirs = (
        Spread([fmean(run["scores"][name] for name in shared) for run in runs]) for runs in pair
    )
    return ours, theirs
