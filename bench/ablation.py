"""What each choice in HybridRoofModel and its training is worth: one thing changed at a time.

    python -m bench.ablation [--steps 300] [--seeds 3] [--only NAME ...] [--json FILE]
    python -m bench.ablation --from bench/results/ablation

Every variant takes the same number of steps on the same samples in the same order, so that other
work on the machine changes no score; the cost of a step is measured apart, in turns with ours.
Results are kept in local/bench: an interrupted comparison resumes with the runs that are missing.
"""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.support.environment import describe_conditions
from bench.support.figures import build_parser, print_table, report
from bench.support.learning.runs import (
    CACHE,
    Run,
    add_kept,
    results_folder,
    run_all,
    show_kept,
    spread_of,
)
from bench.support.learning.scenes import draw_scenes_pool
from bench.support.step.turns import Network, take_turns

_COLUMNS = (
    ("miou", 3), ("roof_iou", 3), ("azimuth_error_deg", 1), ("line_f1", 3), ("height_rmse_m", 2),
)  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A network or a training with one thing changed.

    Attributes:
        name: In the table.
        what: In words.
        design: By name; ours, or a changed network.
        settings: Hyperparameters that differ.
        arguments: Arguments of the worker that differ.
        is_left_out: Measured once and no part of the code: shown where kept runs have it.
    """

    name: str
    what: str
    design: str = "ours"
    settings: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    is_left_out: bool = False


VARIANTS = (
    Variant("ours", "the model and the defaults as they are"),
    Variant(
        "linear_pyramid", "a pyramid without non-linearity, then a 3x3 block", "linear_pyramid"
    ),
    Variant("top_down", "a 3x3 block after every merge, no branches", "top_down"),
    Variant("group_norm", "decoder and heads normalise by groups", "group_norm"),
    Variant("deeper_heads", "areas and heights have a 3x3 block each", "deeper_heads"),
    Variant("coarse_lines", "lines at stride 4, without the stem", "coarse_lines"),
    Variant("width_96", "decoder of 96 channels instead of 128", "width_96"),
    Variant("width_192", "decoder of 192 channels", "width_192"),
    Variant("zero_residuals", "residual branches start at zero", "zero_residuals"),
    Variant("uniform_start", "last layers do not start at the classes' shares", "uniform_start"),
    Variant("even_weights", "every class weighs 1", arguments={"class-weights": "even"}),
    Variant(
        "rare_often", "samples with rare classes come more often", arguments={"sampling": "rare"}
    ),
    Variant("no_smoothing", "azimuth_smoothing=0", settings={"azimuth_smoothing": 0.0}),
    Variant("no_dice", "dice_weight=0", settings={"dice_weight": 0.0}),
    Variant("dice_1", "dice_weight=1", settings={"dice_weight": 1.0}),
    Variant("no_ema", "ema_decay=0: the last weights", settings={"ema_decay": 0.0}),
    Variant("ema_0.99", "ema_decay=0.99", settings={"ema_decay": 0.99}),
    Variant("lines_2", "lines_weight=2", settings={"lines_weight": 2.0}),
    Variant("segments_2", "segments_weight=2", settings={"segments_weight": 2.0}),
    Variant("depth_2", "depth_weight=2", settings={"depth_weight": 2.0}),
    Variant(
        "uncertainty",
        "learned weights of the tasks",
        is_left_out=True,
    ),
    Variant("lr_0.0005", "learning_rate=0.0005", settings={"learning_rate": 5e-4}),
    Variant("lr_0.002", "learning_rate=0.002", settings={"learning_rate": 2e-3}),
    # These two see a quarter of the samples: to be compared with each other.
    Variant("batch_2", "batch_size=2", settings={"batch_size": 2}),
    Variant(
        "batch_2_group_norm",
        "batch_size=2, decoder and heads normalise by groups",
        "group_norm",
        {"batch_size": 2},
    ),
)


def _build_runs(
    variants: Sequence[Variant], seeds: int, steps: int, pool: Path, num_threads: int
) -> list[Run]:
    return [
        Run(
            variant.name,
            variant.design,
            seed,
            {
                "pool": str(pool),
                "steps": str(steps),
                "marks": "0.5,1",
                "eval": "scenes",
                "threads": str(num_threads),
                "settings": json.dumps(variant.settings),
                **variant.arguments,
            },
        )
        for seed in range(seeds)
        for variant in variants
    ]


def _time_steps(designs: Sequence[str], num_rounds: int) -> dict[str, float]:
    """Seconds of a step over those of ours, by design, each in turns with ours."""
    ratios = {"ours": 1.0}
    for design in designs:
        python = Path(sys.executable)
        with Network(python, "ours") as ours, Network(python, design) as changed:
            comparison = take_turns(ours, [changed], num_rounds)[0]
        ratios[design] = statistics.median(comparison.other_s) / statistics.median(
            comparison.ours_s
        )
    return ratios


def _tabulate(
    variants: Sequence[Variant],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    ratios: Mapping[str, float],
) -> dict[str, float]:
    """Print a row for each variant; its figures."""
    figures: dict[str, float] = {}
    rows = []
    for variant in variants:
        found = results[variant.name]
        cells = [variant.name, variant.what, str(len(found))]
        for name, digits in _COLUMNS:
            spread = spread_of(found, name)
            cells.append("-" if spread is None else spread.cell(digits))
            if spread is not None:
                figures[f"{variant.name}_{name}"] = spread.mean()
        # Of the same batch.
        ratio = None if "batch_size" in variant.settings else ratios.get(variant.design)
        rows.append([*cells, "" if ratio is None else f"{ratio:.2f}"])
        if ratio is not None:
            figures[f"{variant.name}_step_ratio"] = ratio
    header = ["variant", "what", "seeds", *(name for name, _ in _COLUMNS), "step / ours"]
    print_table(header, rows)
    return figures


def main() -> None:
    """Train, time, print, write."""
    names = [variant.name for variant in VARIANTS]
    parser = build_parser(__doc__)
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="of timing; 0 leaves it out")
    parser.add_argument("--parallel", type=int, default=2, help="runs at once, of one thread each")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME")
    add_kept(parser)
    options = parser.parse_args()
    variants = [v for v in VARIANTS if not options.only or v.name in ("ours", *options.only)]
    ratios: dict[str, float] = {}
    if options.kept is not None:
        results = show_kept(options.kept)
        variants = [v for v in variants if v.name in results]
    else:
        print(describe_conditions())
        variants = [v for v in variants if not v.is_left_out]
        pool = draw_scenes_pool(CACHE)
        num_threads = 1 if options.parallel > 1 else 2
        runs = _build_runs(variants, options.seeds, options.steps, pool, num_threads)
        results = run_all(runs, results_folder("ablation"), options.parallel)
        if options.rounds > 0:
            designs = dict.fromkeys(v.design for v in variants if v.design != "ours")
            ratios = _time_steps(list(designs), options.rounds)
    figures = _tabulate(variants, results, ratios)
    steps = " or ".join({str(run["steps"]) for v in variants for run in results[v.name]})
    print(f"{steps} steps of 8 samples (of 2, where it says so) of 256 px; mean ±furthest")
    report(figures, [], options.json)


if __name__ == "__main__":
    main()
