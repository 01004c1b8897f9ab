"""What a model of synthetic villages brings to a dozen real photos, beside starting without it.

    python -m bench.fine_tune [--village-s 300] [--tune-s 90] [--seeds 3] [--rid DIR] [--json FILE]
    python -m bench.fine_tune --from bench/results/fine_tune

A model learns on villages in the layout of own roofs. Then the same number of steps on RID's
training photos starts from it, from its backbone alone, and from random weights, and is scored on
RID's photos for validation and test. Every job is `app train` with its defaults, but for windows of
128 px at 0.2 m, of which two cores see four times as many roofs in the same time; steps are as many
as the seconds hold, by the pace of a short job, or by --step-s where others use the machine, too.
Results are kept in local/bench: an interrupted comparison resumes.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.model.export import MODEL_FILE
from app.synthetic.staging import SplitParameters
from app.synthetic.write_own import write_own
from bench.support.environment import REAL_DATA, describe_conditions, describe_machine
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.learning.runs import (
    CACHE,
    Spread,
    add_kept,
    results_folder,
    show_kept,
    spread_of,
)
from bench.support.tuning import RID_SETTINGS, TuningJob, run_job, score_on_rid

_VILLAGES: Final = SplitParameters(120, 8, 8, seed=7, size_px=512)
_SCALE: Final = {"gsd_m": 0.2, "crop_size_px": 128, "batch_size": 32}
_PACE_STEPS: Final = 12
# Validations of a job: the best of them is exported.
_NUM_EPOCHS: Final = 3
_LEAST_STEPS: Final = _NUM_EPOCHS
_TUNED, _BACKBONE, _RANDOM = "from_villages", "from_backbone", "from_random"
_BEFORE: Final = "villages_alone"
_SCORES: Final = ("roof_iou", "val_roof_iou", "test_roof_iou")
_TARGETS: Final = (
    Target("finetune_gain_random", ">=", 0.10),
    Target("finetune_gain_backbone", ">=", 0.10),
    # By the score that chooses the best validation; of the worst seed.
    Target("finetune_over_step0", ">=", 0),
)

Results = Mapping[str, Sequence[Mapping[str, Any]]]


def compare(results: Results) -> dict[str, float]:
    """Gains of the means, and by how much the worst seed ended above the model it started from."""
    tuned = spread_of(results[_TUNED], "roof_iou")
    figures = {}
    for label, key in ((_RANDOM, "finetune_gain_random"), (_BACKBONE, "finetune_gain_backbone")):
        other = spread_of(results[label], "roof_iou")
        if tuned is not None and other is not None:
            figures[key] = tuned.mean() - other.mean()
    over = [run["score"] - run["step0_score"] for run in results[_TUNED]]
    return {**figures, "finetune_over_step0": min(over)}


def _print_scores(results: Results) -> None:
    rows = []
    for label, runs in results.items():
        spreads = [spread_of(runs, score) for score in _SCORES]
        cells = ["-" if spread is None else spread.cell(3) for spread in spreads]
        chosen = [run["score"] for run in runs if "score" in run]
        cells.append(Spread(chosen).cell(3) if chosen else "-")
        steps = " or ".join(sorted({str(run["steps"]) for run in runs}))
        rows.append([label, str(len(runs)), steps, f"{runs[0]['train_s']:.0f}", *cells])
    print_table(["start", "seeds", "steps", "seconds", *_SCORES, "val_score"], rows)


def _measure_pace(folder: Path, rid: Path) -> float:
    """Seconds of a step of training on RID, of the first time that it was asked for."""
    path = folder / "pace.json"
    if not path.exists():
        settings = {
            **RID_SETTINGS,
            **_SCALE,
            "epochs": 1,
            "steps_per_epoch": _PACE_STEPS,
            "keep": "last",
        }
        metrics = TuningJob("pace", 0, {"rid": rid}, settings).train(folder / "pace")
        path.write_text(json.dumps({"step_s": metrics["step_time"]["step_s"]}) + "\n")
    step_s: float = json.loads(path.read_text())["step_s"]
    return step_s


def _settings(seconds: float, step_s: float) -> dict[str, object]:
    steps = max(_LEAST_STEPS, round(seconds / step_s))
    return {**_SCALE, "epochs": _NUM_EPOCHS, "steps_per_epoch": steps // _NUM_EPOCHS}


def _train_villages(folder: Path, settings: Mapping[str, object]) -> Path:
    """The folder of a model of villages, which is trained where it is not there."""
    villages = CACHE / f"villages-{_VILLAGES.num_photos}x{_VILLAGES.size_px}"
    write_own(villages, _VILLAGES)
    # RID's setting has no effect on villages, but is told apart where their model is scored on RID.
    job = TuningJob("villages", 0, {"own": villages}, {**RID_SETTINGS, **settings})
    job.train(folder / _name(job))
    return folder / _name(job) / "model"


def _name(job: TuningJob) -> str:
    """Tells a job from others of the same label and seed."""
    settings = json.dumps(sorted((key, str(value)) for key, value in job.settings.items()))
    identity = f"{settings} {sorted(job.start)} {job.start and _digest(*job.start.values())}"
    return f"{job.label}-seed{job.seed}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def _digest(start: Path) -> str:
    path = start if start.is_file() else start / MODEL_FILE
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tune(options: argparse.Namespace, folder: Path, rid: Path) -> Results:
    step_s = options.step_s or _measure_pace(folder, rid)
    print(f"a step is taken as {step_s:.2f} s", flush=True)
    model_dir = options.village
    if model_dir is None:
        model_dir = _train_villages(folder, _settings(options.village_s, step_s))
    starts: dict[str, dict[str, Path]] = {
        _TUNED: {"initial_model": model_dir},
        _BACKBONE: {"backbone_weights": model_dir / MODEL_FILE},
        _RANDOM: {},
    }
    settings = {**RID_SETTINGS, **_settings(options.tune_s, step_s)}
    results: dict[str, list[Mapping[str, Any]]] = {}
    # Seed by seed, so that a change of the machine's pace affects all starts.
    for seed in range(options.seeds):
        for label, start in starts.items():
            job = TuningJob(label, seed, {"rid": rid}, settings, start)
            result = run_job(job, rid, folder / f"{_name(job)}.json")
            results.setdefault(label, []).append(result)
            print(f"{label}, seed {seed}: {result['scores']['roof_iou']:.3f}", flush=True)
    before = folder / f"{_BEFORE}-seed0-{_digest(model_dir)[:8]}.json"
    if not before.exists():
        scores = score_on_rid(model_dir, rid, folder)
        alone = {"seed": 0, "scores": scores, "steps": 0, "train_s": 0.0}
        before.write_text(json.dumps({**alone, "machine": describe_machine()}, indent=1) + "\n")
    return {_BEFORE: [json.loads(before.read_text())], **results}


def main() -> None:
    """Train, score, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--village-s", type=float, default=300, help="default: %(default)s")
    parser.add_argument("--tune-s", type=float, default=90, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--step-s", type=float, metavar="S", help="seconds of a step, in place of measuring them"
    )
    parser.add_argument(
        "--village", type=Path, metavar="DIR", help="a model folder, in place of one trained here"
    )
    parser.add_argument("--rid", type=Path, metavar="DIR", default=REAL_DATA, help="RID's photos")
    add_kept(parser)
    options = parser.parse_args()
    if options.kept is not None:
        results: Results = show_kept(options.kept)
    else:
        if not options.rid.is_dir():
            sys.exit(f"RID's photos are not in {options.rid}; name their folder with --rid")
        print(describe_conditions())
        folder = results_folder("fine_tune")
        folder.mkdir(parents=True, exist_ok=True)
        results = _tune(options, folder, options.rid.resolve())
    _print_scores(results)
    print()
    report(compare(results), _TARGETS, options.json)


if __name__ == "__main__":
    main()
