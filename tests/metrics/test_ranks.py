"""Scores are the same however samples are shared out over ranks and batches, in any order."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from app.base.tasks import ALL_TASKS, TASK_NAMES, build_tasks, relabelling
from app.data.loading import EvalDataset
from app.data.order import Shard
from app.data.rid.dataset import RidDataset
from app.data.transforms import EvalTransform
from app.inference.predictor import Predictor
from app.inference.scoring import Scores, check_scored, score_datasets
from app.model.devices import Compute
from app.model.losses import RoofLoss, count_known
from app.training.ranks import distributed
from tests.metrics.test_roof_metrics import LOGITS, TARGETS
from tests.support.steps import CPU

# Which of the images of test_metrics each dataset holds; image 4 is one of which nothing is known.
IMAGES = {"rid": (0, 1, 2, 3, 4), "roofline": (1, 0, 2)}
# Batches of both datasets, of one rank or of both; an empty one is that of a file that is bad.
WHOLE = {"rid": [IMAGES["rid"]], "roofline": [IMAGES["roofline"]]}
OTHERS = {
    "one by one": {"rid": [(i,) for i in range(5)], "roofline": [(1,), (0,), (2,)]},
    "uneven batches": {"rid": [(0,), (1, 2, 3), (4,)], "roofline": [(1, 0), (2,)]},
    "another order": {"rid": [(4, 2), (0, 3, 1)], "roofline": [(2, 1, 0)]},
    "a bad file between": {"rid": [(), (0, 1, 2, 3, 4), ()], "roofline": [(), (1, 0, 2)]},
}
OVER_RANKS = {
    "uneven": (
        {"rid": [(0,)], "roofline": [(1, 0), (2,)]},
        {"rid": [(1, 2), (3, 4)], "roofline": []},
    ),
    "every other one": (
        {"rid": [(0,), (2,), (4,)], "roofline": [(1,), (2,)]},
        {"rid": [(1,), (3,)], "roofline": [(0,)]},
    ),
    "backwards": (
        {"rid": [(4, 3)], "roofline": [(2,)]},
        {"rid": [(2,), (1, 0)], "roofline": [(0, 1)]},
    ),
    "one has it all": (
        {"rid": [()], "roofline": []},
        {"rid": [(3, 1, 4), (0, 2)], "roofline": [(0, 2, 1)]},
    ),
}
AZIMUTH_BINS = (16, 8)


class Remembered(nn.Module):
    """Logits that were made before, of the images whose numbers are their grey values."""

    def __init__(self, num_segments):
        super().__init__()
        self.logits = {**LOGITS, "segments": LOGITS["segments"][:, :num_segments]}

    def forward(self, image, tasks):
        indices = image[:, 0, 0, 0].long()
        return {name: self.logits[name][indices] for name in tasks}


def make_batch(indices, azimuth_bins):
    chosen = list(indices)
    targets = {name: values[chosen] for name, values in TARGETS.items()}
    labels = torch.from_numpy(relabelling(azimuth_bins))[targets["segments"].long()]
    grey = torch.tensor(chosen, dtype=torch.uint8).view(-1, 1, 1, 1)
    image = grey.expand(-1, 3, *TARGETS["depth"].shape[1:])
    names = [str(i) for i in indices]
    return {**targets, "segments": labels, "image": image, "sample_id": names, "bad_files": {}}


def score(plan, azimuth_bins=16):
    """Scores of this rank's batches alone."""
    tasks = build_tasks(azimuth_bins, superstructures=True)
    scores = Scores(tasks, list(plan))
    model = Remembered(tasks[0].num_classes)
    predictor = Predictor(model, TASK_NAMES, Compute(CPU))
    for name, batches in plan.items():
        for indices in batches:
            if indices:  # a bad file gives none
                batch = make_batch(indices, azimuth_bins)
                logits = predictor.predict(batch["image"])
                scores.metrics[name].update(logits, batch)
                for i in range(len(indices)):
                    one = {task: batch[task][i : i + 1] for task in TASK_NAMES}
                    own = {task: x[i : i + 1] for task, x in logits.items()}
                    losses = RoofLoss(tasks)(own, one)
                    known = dict(zip(TASK_NAMES, count_known(one).tolist(), strict=True))
                    scores.metrics[name].add_losses(losses, known)
                scores.num_samples[name] += len(indices)
    return scores


def describe(scores):
    """All that is reported of them, in what JSON can hold."""
    return {
        "values": {key: value.to_json() for key, value in scores.compute("val").items()},
        "confusion": scores.confusion_matrices("val"),
        "num_samples": scores.num_samples,
    }


class PointWise(nn.Module):
    """Logits that each pixel's colour alone decides."""

    def forward(self, image, tasks):
        x = image.float() / 255
        return {
            task.name: torch.cat(
                [4 * (x * (3 + 2 * k)).sin().sum(1, keepdim=True) for k in range(task.num_classes)],
                dim=1,
            )
            for task in ALL_TASKS
            if task.name in tasks
        }


def score_rid(data_dir):
    """Scores of all ranks for RID's validation images, each rank reading its part."""
    datasets = {"rid": EvalDataset(RidDataset(Path(data_dir) / "rid", "val"), EvalTransform(0.1))}
    scores = Scores(ALL_TASKS, ["rid"], RoofLoss(ALL_TASKS))
    predictor = Predictor(PointWise(), TASK_NAMES, Compute(CPU))
    shard = Shard(distributed.rank(), distributed.world_size())
    for _ in score_datasets(predictor, datasets, scores, 0, shard):
        pass
    own = dict(scores.num_samples)
    scores.add_other_ranks(distributed.all_reduce_sum)
    check_scored(scores, datasets)
    return own, describe(scores)


@pytest.mark.parametrize("azimuth_bins", AZIMUTH_BINS)
@pytest.mark.parametrize("name", OTHERS)
def test_batches_and_their_order_do_not_matter(name, azimuth_bins):
    got, expected = (describe(score(plan, azimuth_bins)) for plan in (OTHERS[name], WHOLE))
    assert got == expected
    assert got["num_samples"] == {"rid": 5, "roofline": 3}


@pytest.mark.parametrize("azimuth_bins", AZIMUTH_BINS)
def test_every_metric_that_is_compared_has_a_value(azimuth_bins):
    values = describe(score(WHOLE, azimuth_bins))["values"]
    assert [key for key, entry in values.items() if entry["value"] is None] == []


def test_the_metrics_of_all_datasets_are_those_of_their_samples_in_one():
    pooled = score(WHOLE).compute("val")
    one = score({"rid": [(0, 1, 2, 3, 4), (1, 0, 2)]}).compute("val")
    for key, value in one.items():
        assert pooled[key] == dataclasses.replace(value, dataset="rid+roofline")
