"""What networks learn in the same time: ours, and the peers with the same backbone.

    python -m bench.quality [--budget-s 900] [--seeds 3] [--real] [--also PEER] [--json FILE]
    python -m bench.quality --from bench/results/quality [--plot FILE]

Every network gets the same budget by the clock, and the same samples in the same order, outputs,
losses, optimizer, schedule, averaging and scoring; each runs at its best precision and memory
format. Nothing else should run on the machine. Results are kept in local/bench: an
interrupted comparison resumes with the runs that are missing. The first run makes .venv-peers.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from app.data.rid.dataset import RidDataset
from bench.support.environment import (
    REAL_DATA,
    describe_conditions,
    peer_versions,
    prepare_peers_python,
)
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.learning.plot import write_curves
from bench.support.learning.runs import (
    CACHE,
    Run,
    Spread,
    add_kept,
    results_folder,
    run_all,
    show_kept,
    spread_of,
    weights_path,
)
from bench.support.learning.scenes import draw_pool, draw_scenes_pool
from bench.support.learning.worker import NUM_AT_MARKS

_PEERS = ("smp_fpn", "smp_unet")
_OTHER_PEERS = ("tv_deeplabv3",)  # five times slower a step: shown where it is asked for
_NUM_RID_SAMPLES = 1536
# Shown in the table: score, digits, and whether more is better.
_COLUMNS = (
    ("miou", 3), ("roof_iou", 3), ("azimuth_error_deg", 1), ("line_f1", 3), ("eave_f1", 3),
    ("ridge_f1", 3), ("hip_f1", 3), ("valley_f1", 3), ("height_rmse_m", 2),
)  # fmt: skip
_TARGETS = tuple(
    target
    for peer in ("fpn", "unet")
    for target in (
        Target(f"miou_gain_{peer}", ">", 0),
        Target(f"line_f1_gain_{peer}", ">", 0),
        Target(f"height_rmse_ratio_{peer}", "<", 1),
        Target(f"azimuth_error_ratio_{peer}", "<", 1),
        # By how much the worst of ours is ahead of the best of the peer's, whatever the seed.
        Target(f"least_lead_{peer}", ">", 0),
    )
)

# Columns of the curves.
_CLOCKS, _CURVES = ("seconds", "steps"), ("miou", "line_f1")

# The name of a fine-tuned run is the network's name and this.
_TUNED, _FROM_RANDOM = "_after_scenes", "_from_random"

Results = dict[str, list[dict[str, Any]]]
# Where the weights of a network and a seed lie.
Weights = Mapping[tuple[str, int], Path]


def compare(results: Results) -> dict[str, float]:
    """Gains as differences and errors as ratios of means, ours over each peer."""
    figures: dict[str, float] = {}
    for peer in _PEERS:
        if not {"ours", peer} <= results.keys():
            continue
        name = peer.removeprefix("smp_")
        leads = []
        for score, figure, is_gain in (
            ("miou", "miou_gain", True),
            ("line_f1", "line_f1_gain", True),
            ("height_rmse_m", "height_rmse_ratio", False),
            ("azimuth_error_deg", "azimuth_error_ratio", False),
        ):
            ours, theirs = (_spread(results[network], score) for network in ("ours", peer))
            if is_gain:
                figures[f"{figure}_{name}"] = ours.mean() - theirs.mean()
                leads.append((min(ours.values) - max(theirs.values)) / theirs.mean())
            else:
                figures[f"{figure}_{name}"] = ours.mean() / theirs.mean()
                leads.append((min(theirs.values) - max(ours.values)) / theirs.mean())
        figures[f"least_lead_{name}"] = min(leads)
    return figures


def _spread(results: Sequence[dict[str, Any]], score: str) -> Spread:
    spread = spread_of(results, score)
    return spread if spread is not None else Spread([math.nan])


def _print_scores(results: Results) -> None:
    header = ["network", "seeds", "steps", *(name for name, _ in _COLUMNS)]
    rows = []
    for network, runs in results.items():
        cells = [network, str(len(runs)), Spread([run["steps"] for run in runs]).cell(0)]
        for name, digits in _COLUMNS:
            spread = spread_of(runs, name)
            cells.append("-" if spread is None else spread.cell(digits))
        rows.append(cells)
    print_table(header, rows)


def _print_curves(results: Results) -> None:
    print(
        f"\non the way, on {NUM_AT_MARKS} of the scenes: mean mIoU without background, and line F1 "
        "at 2 px"
    )
    rows = []
    for network, runs in results.items():
        for marks in zip(*(run["curve"][:-1] for run in runs), strict=False):
            cells = [network, *(f"{fmean(mark[name] for mark in marks):.0f}" for name in _CLOCKS)]
            for name in _CURVES:
                cells.append(f"{fmean(mark['scores'].get(name, 0.0) for mark in marks):.3f}")
            rows.append(cells)
    print_table(["network", *_CLOCKS, *_CURVES], rows)


def _train(
    networks: Sequence[str],
    budget_s: float,
    num_seeds: int,
    pool: Path,
    folder: Path,
    python: Path,
) -> tuple[Results, Weights]:
    evals = ["scenes"]
    if REAL_DATA.is_dir():
        evals += [f"{REAL_DATA}:{split}" for split in ("val", "test")]
    # Seed by seed, so that a change of the machine's pace affects all networks.
    runs = [
        Run(
            network,
            network,
            seed,
            {"pool": str(pool), "budget-s": f"{budget_s:g}", "eval": evals},
            python,
            keeps_weights=True,
        )
        for seed in range(num_seeds)
        for network in networks
    ]
    weights = {(run.label, run.seed): weights_path(folder / run.file_name()) for run in runs}
    return run_all(runs, folder), weights


def _print_real(title: str, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    print(f"\n{title}")
    rows = [
        [
            network,
            split,
            *(_cell(runs, split, score) for score in ("roof_iou", "azimuth_error_deg")),
        ]
        for network, runs in results.items()
        for split in ("rid:val", "rid:test")
        if runs and split in runs[0]["others"]
    ]
    print_table(["network", "split", "roof_iou", "azimuth_error_deg"], rows)


def _cell(runs: Sequence[Mapping[str, Any]], split: str, score: str) -> str:
    values = [run["others"][split].get(score) for run in runs]
    return "-" if None in values else Spread(values).cell(3 if score == "roof_iou" else 1)


def _fine_tune(weights: Weights, tune_s: float, folder: Path, python: Path) -> Results:
    """Train on RID's training images, from the weights learned on scenes and from random ones."""
    reader = RidDataset(REAL_DATA, "train", rid_split="release")
    pool = draw_pool(CACHE, "rid", reader, _NUM_RID_SAMPLES, 0, num_workers=2)
    arguments: dict[str, str | Sequence[str]] = {
        "pool": str(pool),
        "budget-s": f"{tune_s:g}",
        "marks": "1",
        "tasks": "segments,lines",
        "eval": [f"{REAL_DATA}:{split}" for split in ("train", "val", "test")],
    }
    gently = {**arguments, "settings": '{"learning_rate": 0.0003}'}
    runs = []
    for (network, seed), init in weights.items():
        if not init.exists():
            sys.exit(
                f"weights are not there: {init}; remove the result of {network}, seed {seed}, to "
                "train them again"
            )
        runs.append(Run(network + _TUNED, network, seed, gently, python, init))
        runs.append(Run(network + _FROM_RANDOM, network, seed, arguments, python))
    return run_all(runs, folder)


def _print_all(results: Results, plot: Path | None) -> None:
    scenes = {label: runs for label, runs in results.items() if not _is_tuned(label)}
    print()
    _print_scores(scenes)
    _print_curves(scenes)
    if plot is not None:
        write_curves(plot, scenes)
    if all(run["others"] for runs in scenes.values() for run in runs):
        _print_real("real photos (RID), after scenes alone", scenes)
    tuned = {label: runs for label, runs in results.items() if _is_tuned(label)}
    if tuned:
        seconds = next(iter(tuned.values()))[0]["train_s"]
        _print_real(f"real photos, after {seconds:.0f} s on 12 training photos of RID", tuned)


def _is_tuned(label: str) -> bool:
    return label.endswith((_TUNED, _FROM_RANDOM))


def main() -> None:
    """Train, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--budget-s", type=float, default=900, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--also", nargs="+", default=[], choices=_OTHER_PEERS, help="more peers")
    parser.add_argument(
        "--real", action="store_true", help="fine-tune on RID's training images as well"
    )
    parser.add_argument("--tune-s", type=float, default=180, help="default: %(default)s")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves")
    add_kept(parser)
    options = parser.parse_args()
    if options.real and options.kept is None and not REAL_DATA.is_dir():
        parser.error(f"--real needs RID's images in {REAL_DATA}, which is not there")
    if options.kept is not None:
        results = show_kept(options.kept)
    else:
        print(describe_conditions(peer_versions()))
        python = prepare_peers_python()
        pool = draw_scenes_pool(CACHE)
        folder = results_folder("quality")
        networks = ("ours", *_PEERS, *options.also)
        results, weights = _train(networks, options.budget_s, options.seeds, pool, folder, python)
        if options.real:
            results |= _fine_tune(weights, options.tune_s, folder, python)
    _print_all(results, options.plot)
    print()
    figures = compare(results)
    report(figures, [t for t in _TARGETS if t.key in figures], options.json)


if __name__ == "__main__":
    main()
