"""A process that trains one network for a budget and writes how well it did.

Each run has a process of its own, so that no run affects the next one.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.base.logs import ignore_expected_warnings
from app.base.tasks import TaskName
from app.data.loading import EvalDataset, read_photos
from app.data.photos import Photo
from app.data.reader import Reader
from app.data.rid.dataset import RidDataset
from app.data.transforms import EvalTransform
from app.settings.hyperparameters import Hyperparameters
from bench.support.environment import describe_machine
from bench.support.learning.learn import (
    NUM_WEIGHED,
    Budget,
    Course,
    autocast_dtype_of,
    build_settings,
    build_state,
    learn,
    score,
    to_json,
    weigh_classes,
    weigh_evenly,
)
from bench.support.learning.scenes import GSD_M, Pool, SceneReader
from bench.support.networks.variants import find_design

_EVAL_SEED = 999_983  # no training scene has it
NUM_AT_MARKS = 16  # scenes scored on the way; all of them at the end


def read_eval_photos(source: str, num_images: int) -> list[Photo]:
    """Whole images that were never trained on: "scenes", or "DIR:split" of a RID release."""
    reader: Reader
    if source == "scenes":
        reader = SceneReader(_EVAL_SEED, num_images)
    else:
        root, _, split = source.rpartition(":")
        reader = RidDataset(Path(root), split, rid_split="release")  # type: ignore[arg-type]
    dataset = EvalDataset(reader, EvalTransform(GSD_M))
    return [photo for photo, _ in read_photos(dataset, num_workers=0) if photo is not None]


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("design")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--budget-s", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--marks", default="0.167,0.333,0.5,0.667,0.833,1")
    parser.add_argument(
        "--eval", action="append", required=True, help="the first one has the curve"
    )
    parser.add_argument("--eval-images", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tasks", default="segments,lines,depth")
    parser.add_argument("--settings", default="{}", help="hyperparameters other than the defaults")
    parser.add_argument("--class-weights", choices=("measured", "even"), default="measured")
    parser.add_argument("--sampling", choices=("even", "rare"), default="even")
    parser.add_argument("--init", type=Path, help="weights to start from")
    parser.add_argument("--weights", type=Path, help="where to leave the averaged weights")
    parser.add_argument("--result", type=Path, required=True)
    return parser


def _train(options: argparse.Namespace) -> tuple[dict[str, Any], nn.Module]:
    """The result of the run, as JSON types, and the averaged network."""
    hyperparameters = Hyperparameters(**json.loads(options.settings))
    design = find_design(options.design)
    torch.manual_seed(options.seed)
    model = design.build().to(memory_format=design.memory_format)
    if options.init is not None:
        model.load_state_dict(torch.load(options.init, weights_only=True))
    names: list[TaskName] = options.tasks.split(",")
    weights = {name: float(getattr(hyperparameters, f"{name}_weight")) for name in names}
    pool = Pool(options.pool)
    dtype = autocast_dtype_of(design)
    if options.class_weights == "even":
        class_weights = weigh_evenly()
    else:
        class_weights = weigh_classes(pool.first(NUM_WEIGHED))
    settings = build_settings(hyperparameters, weights, class_weights, dtype)
    eval_photos = {name: read_eval_photos(name, options.eval_images) for name in options.eval}
    first = options.eval[0]
    state = build_state(model, hyperparameters)

    def score_at(averaged: nn.Module, is_end: bool) -> dict[str, float]:
        chosen = eval_photos[first] if is_end else eval_photos[first][:NUM_AT_MARKS]
        return score(averaged, chosen, weights, dtype)

    course = Course(
        Budget(options.budget_s, options.steps),
        hyperparameters.warmup_fraction,
        [float(mark) for mark in options.marks.split(",")],
    )
    curve = learn(
        design,
        state,
        pool.batches(hyperparameters.micro_batch_size, options.seed, options.sampling == "rare"),
        settings,
        course,
        score_at,
    )
    averaged = state.ema.module
    others = {
        Path(name).name: score(averaged, photos, weights, dtype)
        for name, photos in eval_photos.items()
        if name != first
    }
    result = {
        "design": design.name,
        "seed": options.seed,
        "curve": to_json(curve),
        "scores": dict(curve[-1].scores),
        "others": others,
        "steps": state.step,
        "train_s": curve[-1].seconds,
        "load": os.getloadavg()[1],
        "machine": describe_machine(),
    }
    return result, averaged


def main() -> None:
    """Train, score, write."""
    options = _build_parser().parse_args()
    ignore_expected_warnings()
    torch.set_num_threads(options.threads)
    result, averaged = _train(options)
    if options.weights is not None:
        options.weights.parent.mkdir(parents=True, exist_ok=True)
        torch.save(averaged.state_dict(), options.weights)
    options.result.parent.mkdir(parents=True, exist_ok=True)
    unfinished = options.result.with_suffix(".tmp")
    unfinished.write_text(json.dumps(result, indent=1) + "\n")
    unfinished.rename(options.result)


if __name__ == "__main__":
    main()
