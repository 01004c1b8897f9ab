"""A process that trains one network for a budget and writes how well it did.

Each run has a process of its own: nothing that one run leaves behind meets the next.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from torch import nn

from app.base.logs import ignore_expected_warnings
from app.base.tasks import TaskName
from app.data.loading import Batch, EvalDataset, build_eval_loader
from app.data.reader import Reader
from app.data.rid.dataset import RidDataset
from app.data.transforms import EvalTransform
from app.settings.hyperparameters import Hyperparameters
from bench.support import learning
from bench.support.environment import describe_machine
from bench.support.scenes import GSD_M, Pool, SceneReader
from bench.support.variants import find_design

_EVAL_SEED = 999_983  # no training scene has it
NUM_AT_MARKS = 16  # scenes scored on the way; all of them at the end


def read_eval_batches(source: str, num_images: int) -> list[Batch]:
    """Whole images that were never trained on: "scenes", or "DIR:split" of a RID release."""
    reader: Reader
    if source == "scenes":
        reader = SceneReader(_EVAL_SEED, num_images)
    else:
        root, _, split = source.rpartition(":")
        reader = RidDataset(Path(root), split, rid_split="release")  # type: ignore[arg-type]
    dataset = EvalDataset(reader, EvalTransform(GSD_M))
    return list(build_eval_loader(dataset, num_workers=0))


def main() -> None:
    """Train, score, write."""
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
    options = parser.parse_args()

    ignore_expected_warnings()
    torch.set_num_threads(options.threads)
    hyperparameters = Hyperparameters(**json.loads(options.settings))
    design = find_design(options.design)
    torch.manual_seed(options.seed)
    model = design.build().to(memory_format=design.memory_format)
    if options.init is not None:
        model.load_state_dict(torch.load(options.init, weights_only=True))
    names: list[TaskName] = options.tasks.split(",")
    weights = {name: float(getattr(hyperparameters, f"{name}_weight")) for name in names}
    pool = Pool(options.pool)
    dtype = learning.autocast_dtype_of(design)
    if options.class_weights == "even":
        class_weights = learning.weigh_evenly()
    else:
        class_weights = learning.weigh_classes(pool.first(learning.NUM_WEIGHED))
    settings = learning.build_settings(hyperparameters, weights, class_weights, dtype)
    eval_batches = {name: read_eval_batches(name, options.eval_images) for name in options.eval}
    first = options.eval[0]
    state = learning.build_state(model, hyperparameters)

    def score_at(averaged: nn.Module, is_end: bool) -> dict[str, float]:
        chosen = eval_batches[first] if is_end else eval_batches[first][:NUM_AT_MARKS]
        return learning.score(averaged, chosen, weights, dtype)

    curve = learning.learn(
        design,
        state,
        pool.batches(hyperparameters.micro_batch_size, options.seed, options.sampling == "rare"),
        settings,
        hyperparameters.warmup_fraction,
        learning.Budget(options.budget_s, options.steps),
        [float(mark) for mark in options.marks.split(",")],
        score_at,
    )
    averaged = state.ema.module
    others = {
        Path(name).name: learning.score(averaged, batches, weights, dtype)
        for name, batches in eval_batches.items()
        if name != first
    }
    result = {
        "design": design.name,
        "seed": options.seed,
        "curve": learning.to_json(curve),
        "scores": dict(curve[-1].scores),
        "others": others,
        "steps": state.step,
        "train_s": curve[-1].seconds,
        "load": os.getloadavg()[1],
        "machine": describe_machine(),
    }
    if options.weights is not None:
        options.weights.parent.mkdir(parents=True, exist_ok=True)
        torch.save(averaged.state_dict(), options.weights)
    options.result.parent.mkdir(parents=True, exist_ok=True)
    unfinished = options.result.with_suffix(".tmp")
    unfinished.write_text(json.dumps(result, indent=1) + "\n")
    unfinished.rename(options.result)


if __name__ == "__main__":
    main()
