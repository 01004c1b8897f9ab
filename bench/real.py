"""What recipes of training learn about real roofs in the same time, scored on hidden ones.

    python -m bench.real [--recipes NAME...] [--budget-s 900] [--seeds 1] [--without PART]
    python -m bench.real --model NAME DIR
    python -m bench.real --from bench/results/real

A recipe trains on all real roofs in ../shared/data and on synthetic villages, by `app train`, for
as many steps as the seconds hold by the pace of a short job (--step-s where others use the machine,
too). Its model is scored by `app evaluate --vectors` on the photos of each place that nothing was
trained on: RID's for validation and test, and the test splits of the others. --without leaves a
place out of training. --model scores a model folder as it is, under a name. Results are kept in
local/bench: an interrupted comparison resumes.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.model.export import MODEL_FILE
from app.settings.recipes import Recipe, Stage, count_steps, pace_settings_of, settings_of
from bench.support.environment import (
    SHARED_DATA,
    describe_conditions,
    describe_machine,
    load_average,
)
from bench.support.figures import build_parser, print_table
from bench.support.learning.runs import CACHE, add_kept, results_folder, show_kept, spread_of
from bench.support.real.recipes import RECIPES
from bench.support.real.sources import RealRoofs, prepare_real_roofs, read_scores
from bench.support.tuning import RID_SETTINGS, TuningJob, run_app

_PARTS: Final = ("rid", "invercargill", "gables")
# Scores in the table: metric, title, digits, factor.
_COLUMNS: Final = (
    ("segments/roof_iou", "roof IoU", 3, 1),
    ("segments/azimuth_error_deg", "pixels, deg", 1, 1),
    # What pixels say by themselves of the planes that were found, and what is made of them.
    ("planes/azimuth_error_pixels_deg", "theirs, deg", 1, 1),
    ("planes/azimuth_error_deg", "planes, deg", 1, 1),
    ("planes/azimuth_error_median_deg", "median, deg", 1, 1),
    ("planes/azimuth_within_22_5_deg", "within 22.5, %", 1, 100),
    ("planes/recall", "found, %", 1, 100),
    ("planes/pq", "PQ", 3, 1),
    ("lines/ridge_f1_3px", "ridge F1", 3, 1),
    ("lines/hip_f1_3px", "hip F1", 3, 1),
    ("lines/valley_f1_3px", "valley F1", 3, 1),
    ("lines/eave_f1_3px", "eave F1", 3, 1),
)

Results = Mapping[str, Sequence[Mapping[str, Any]]]


def _settings(stage: Stage, roofs: RealRoofs, steps: int) -> dict[str, object]:
    return {**RID_SETTINGS, **settings_of(stage, list(roofs.train), steps)}


def _measure_pace(stage: Stage, roofs: RealRoofs, folder: Path) -> float:
    """Seconds of a step, of the first time that they were asked for."""
    path = folder / "pace.json"
    paces: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    key = json.dumps(sorted(stage.settings.items()))
    if key not in paces:
        settings = {**RID_SETTINGS, **pace_settings_of(stage, list(roofs.train))}
        base_dir = folder / "pace"
        metrics = TuningJob("pace", 0, roofs.train, settings).train(base_dir)
        shutil.rmtree(base_dir)
        paces[key] = metrics["step_time"]["step_s"]
        path.write_text(json.dumps(paces, indent=1) + "\n")
    return paces[key]


def _train(
    recipe: Recipe, seed: int, roofs: RealRoofs, base_dir: Path, steps: Sequence[int]
) -> Path:
    """The model of a recipe, trained stage by stage where it is not there."""
    model_dir = Path()
    for number, (stage, num_steps) in enumerate(zip(recipe.stages, steps, strict=True)):
        start = {"initial_model": model_dir} if number else {}
        settings = _settings(stage, roofs, num_steps)
        stage_dir = base_dir / f"stage-{number}"
        TuningJob(recipe.label, seed, roofs.train, settings, start).train(stage_dir)
        model_dir = stage_dir / "model"
    return model_dir


def score_hidden(model_dir: Path, roofs: RealRoofs, scratch_dir: Path) -> dict[str, float]:
    """Scores of a model on all hidden parts, as PART/METRIC."""
    scores = {}
    for part in roofs.hidden:
        out = scratch_dir / f"scores-{part.label}.json"
        words = ["evaluate", "--model", str(model_dir), f"--{part.dataset}", str(part.folder)]
        words += ["--split", "test", "--vectors", "--out", str(out)]
        settings = {"max_val_samples": 500, **part.settings}
        run_app([*words, *(f"--set={key}={value}" for key, value in settings.items())])
        scores |= {f"{part.label}/{name}": value for name, value in read_scores(out).items()}
    return scores


def _run(
    recipe: Recipe, seed: int, roofs: RealRoofs, steps: Sequence[int], result: Path
) -> Mapping[str, Any]:
    """The result of a recipe and a seed, kept in a file; its model lies beside it."""
    if result.exists():
        found: dict[str, Any] = json.loads(result.read_text())
        return found
    base_dir = result.with_suffix("")
    model_dir = _train(recipe, seed, roofs, base_dir, steps)
    about = {"label": result.name.rpartition("-seed")[0], "seed": seed, "steps": list(steps)}
    return _score(about, model_dir, roofs, result)


def _score(
    about: Mapping[str, object], model_dir: Path, roofs: RealRoofs, result: Path
) -> Mapping[str, Any]:
    """The result of a model, which is written into a file."""
    base_dir = result.with_suffix("")
    base_dir.mkdir(exist_ok=True)
    document = {
        **about,
        "scores": score_hidden(model_dir, roofs, base_dir),
        "load": os.getloadavg()[1],
        "machine": describe_machine(),
    }
    unfinished = result.with_suffix(".tmp")
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.rename(result)
    return document


def _print_scores(results: Results) -> None:
    first = next(iter(results.values()))[0]["scores"]
    parts = list(dict.fromkeys(name.partition("/")[0] for name in first))
    for part in parts:
        print(f"\n{part}")
        rows = []
        for label, runs in results.items():
            cells = [label, str(len(runs))]
            for metric, _, digits, factor in _COLUMNS:
                spread = spread_of(runs, f"{part}/{metric}")
                scaled = spread and type(spread)([factor * value for value in spread.values])
                cells.append("-" if scaled is None else scaled.cell(digits))
            rows.append(cells)
        print_table(["recipe", "seeds", *(title for _, title, _, _ in _COLUMNS)], rows)


def _compare(options: argparse.Namespace) -> Results:
    folder = results_folder("real")
    folder.mkdir(parents=True, exist_ok=True)
    roofs = prepare_real_roofs(CACHE / "real", options.without or "")
    results: dict[str, list[Mapping[str, Any]]] = {}
    for seed in range(options.seeds):
        for name in options.recipes:
            recipe = RECIPES[name]
            steps = []
            for stage in recipe.stages:
                pace_s = options.step_s or _measure_pace(stage, roofs, folder)
                steps.append(count_steps(stage, options.budget_s, pace_s))
            label = f"{name}-without-{options.without}" if options.without else name
            result = folder / f"{label}-{options.budget_s:g}s-seed{seed}.json"
            results.setdefault(label, []).append(_run(recipe, seed, roofs, steps, result))
            print(f"{label}, seed {seed}: {steps} steps; load {load_average()}", flush=True)
    return results


def _score_given(name: str, model_dir: Path) -> Results:
    folder = results_folder("real")
    folder.mkdir(parents=True, exist_ok=True)
    roofs = prepare_real_roofs(CACHE / "real")
    digest = hashlib.sha256((model_dir / MODEL_FILE).read_bytes()).hexdigest()
    result = folder / f"{name}-seed0-{digest[:8]}.json"
    if result.exists():
        return {name: [json.loads(result.read_text())]}
    return {name: [_score({"label": name, "seed": 0, "steps": []}, model_dir, roofs, result)]}


def main() -> None:
    """Train, score, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--budget-s", type=float, default=900, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=1, help="default: %(default)s")
    parser.add_argument(
        "--step-s", type=float, metavar="S", help="seconds of a step, in place of measuring them"
    )
    parser.add_argument("--without", choices=_PARTS, help="leave its photos out of training")
    parser.add_argument(
        "--model", nargs=2, metavar=("NAME", "DIR"), help="score a model folder, and train nothing"
    )
    add_kept(parser)
    options = parser.parse_args()
    if options.kept is not None:
        results: Results = show_kept(options.kept)
    else:
        if not SHARED_DATA.is_dir():
            sys.exit(f"the real roofs are not in {SHARED_DATA}")
        print(describe_conditions())
        if options.model is not None:
            results = _score_given(options.model[0], Path(options.model[1]))
        else:
            results = _compare(options)
    _print_scores(results)


if __name__ == "__main__":
    main()
