"""What recipes of training learn about real roofs in the same time, scored on hidden ones.

    python -m bench.real [--recipes NAME...] [--budget-s 900] [--seeds 1] [--tta]
    python -m bench.real --recipes coarse_to_fine --also fpn unet --seeds 3
    python -m bench.real --recipes coarse_to_fine --without none rid invercargill gables
    python -m bench.real --model NAME DIR [--tta]
    python -m bench.real --from bench/results/real

A recipe trains on all real roofs in ../shared/data and on synthetic villages, by `app train`, for
as many steps as the seconds hold by the pace of a short job (--step-s where others use the machine,
too). Its model is scored by `app evaluate --vectors` on the photos of each place that nothing was
trained on: RID's for validation and test, and the test splits of the others. --also trains networks
of segmentation-models-pytorch by the same recipe, each for the same seconds. --without leaves
places out of training, one at a time. --tta scores in eight turns and flips, too. --model scores a
model folder as it is, under a name.

Everything is kept in local/bench: an interrupted comparison resumes in the stage, or with the
photos, where it ended. The first run with --also makes .venv-peers.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.support.environment import (
    SHARED_DATA,
    describe_conditions,
    load_average,
    peer_versions,
    prepare_peers_python,
)
from bench.support.figures import build_parser, report
from bench.support.learning.runs import CACHE, add_kept, results_folder, show_kept
from bench.support.real.gains import TARGETS, compare_networks, find_figures, print_gains
from bench.support.real.recipes import RECIPES
from bench.support.real.runs import (
    OURS,
    Learner,
    RealRun,
    count_all_steps,
    finish_run,
    score_given,
)
from bench.support.real.sources import PLACES, RealRoofs, prepare_real_roofs
from bench.support.real.tables import Results, print_tables

_PEERS: Final = ("fpn", "unet")
_NOWHERE: Final = "none"
# Beside the code that any run depends on: what finds roofs in predictions.
_SOURCES: Final = ("app/roofs/**/*.py",)


def _plan(options: argparse.Namespace) -> list[RealRun]:
    """All runs, seed by seed, so that a change of the machine's pace affects all recipes."""
    learners = [Learner(OURS, Path(sys.executable))]
    if options.also:
        python = prepare_peers_python()
        learners += [Learner(f"smp_{name}", python) for name in options.also]
    return [
        RealRun(RECIPES[name], learner, seed, options.budget_s, without)
        for seed in range(options.seeds)
        for name in options.recipes
        for without in ["" if place == _NOWHERE else place for place in options.without]
        for learner in learners
    ]


def _compare(options: argparse.Namespace, folder: Path, poses: Sequence[int]) -> Results:
    runs = _plan(options)
    places = {run.without for run in runs}
    roofs = {place: prepare_real_roofs(CACHE / "real", place) for place in places}
    # All paces before any training, one after the other: the machine is the same for all then.
    steps = [count_all_steps(run, roofs[run.without], folder, options.step_s) for run in runs]
    results: dict[str, list[Mapping[str, Any]]] = {}
    for run, num_steps in zip(runs, steps, strict=True):
        found = finish_run(run, roofs[run.without], num_steps, folder, poses)
        results.setdefault(run.label, []).append(found)
        print(f"{run.label}, seed {run.seed}: {num_steps} steps; load {load_average()}", flush=True)
    print(f"all runs of this code so far: python -m bench.real --from {folder}")
    return results


def _score_given(options: argparse.Namespace, folder: Path, poses: Sequence[int]) -> Results:
    name, model_dir = options.model[0], Path(options.model[1])
    roofs: RealRoofs = prepare_real_roofs(CACHE / "real")
    return {name: [score_given(name, model_dir, roofs, folder, poses)]}


def _measure(options: argparse.Namespace) -> Results:
    if not SHARED_DATA.is_dir():
        sys.exit(f"the real roofs are not in {SHARED_DATA}")
    print(describe_conditions(*([peer_versions()] if options.also else [])))
    folder = results_folder("real", _SOURCES)
    folder.mkdir(parents=True, exist_ok=True)
    poses = (1, 8) if options.tta else (1,)
    if options.model is not None:
        return _score_given(options, folder, poses)
    return _compare(options, folder, poses)


def main() -> None:
    """Train, score, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--budget-s", type=float, default=900, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=1, help="default: %(default)s")
    parser.add_argument(
        "--step-s", type=float, metavar="S", help="seconds of a step, in place of measuring them"
    )
    parser.add_argument(
        "--also", nargs="+", choices=_PEERS, default=[], help="networks of other people"
    )
    parser.add_argument(
        "--without",
        nargs="+",
        choices=(_NOWHERE, *PLACES),
        default=[_NOWHERE],
        help="places to leave out of training, one at a time (default: %(default)s)",
    )
    parser.add_argument("--tta", action="store_true", help="score in eight turns and flips, too")
    parser.add_argument(
        "--model", nargs=2, metavar=("NAME", "DIR"), help="score a model folder, and train nothing"
    )
    add_kept(parser)
    options = parser.parse_args()
    results: Results = show_kept(options.kept) if options.kept is not None else _measure(options)
    print_tables(results)
    gains = compare_networks(results)
    print_gains(gains)
    figures = find_figures(results)
    print()
    report(
        {**figures, **{gain.name: gain.value for gain in gains}},
        [target for target in TARGETS if target.key in figures],
        options.json,
    )


if __name__ == "__main__":
    main()
