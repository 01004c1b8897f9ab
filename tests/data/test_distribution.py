import json
from pathlib import Path

import numpy as np
import pytest
import torch

from app.base.errors import SampleError
from app.base.tasks import build_tasks
from app.data.distribution import (
    Distribution,
    lines_of_shares,
    measure_distribution,
    merge_distributions,
)
from app.data.order import ALONE, Shard, TrainSource
from app.data.sample import TARGETS, with_unknown
from app.data.train_samples import TrainDataset
from app.data.transforms import TrainTransform

COLOUR = (120, 100, 80)


class Quarters:
    """Photos of which a quarter is one direction, a quarter flat, the rest background."""

    name = "rid"
    span_m = 12.8
    broken = ()

    def __len__(self):
        return 40

    def pass_order(self, rng):
        return rng.permutation(40)

    def draw(self, index, _span_m, _rng):
        if index in self.broken:
            raise SampleError(str(index), Path(f"{index}.tif"), f"RID: {index}.tif: truncated")
        segments = torch.full((128, 128), 17, dtype=torch.uint8)
        segments[:64, :64] = 5
        segments[64:, :64] = 16
        lines = TARGETS["lines"].blank(128, 128)
        lines[0] = 0
        lines[0, 64] = 1
        image = torch.empty(3, 128, 128, dtype=torch.uint8)
        image[:] = torch.tensor(COLOUR, dtype=torch.uint8)[:, None, None]
        return {
            **with_unknown(image, {"segments": segments, "lines": lines}),
            "dataset": "rid",
            "sample_id": str(index),
            "gsd_m": 0.1,
        }


def measure(reader, tasks, azimuth_bins=16, shard=ALONE):
    source = TrainSource(reader, share=1.0, per_side=1, indices=None)
    dataset = TrainDataset([source], TrainTransform(128, 0.1, azimuth_bins), seed=0)
    return measure_distribution(dataset, tasks, 0, shard)


def test_turns_make_one_direction_all_sixteen():
    tasks = build_tasks()
    distribution = measure(Quarters(), tasks)
    shares = distribution.to_json(tasks)["segments"]
    assert distribution.num_samples == 128
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert shares["background"] == pytest.approx(0.5, abs=0.05)
    assert shares["flat"] == pytest.approx(0.25, abs=0.04)
    directions = np.array(list(shares.values())[:16])
    assert directions.sum() == pytest.approx(0.25, abs=0.04)
    assert (directions > 0).sum() >= 14  # from one class on disk
    assert "some roof" not in shares


def test_lines_count_on_and_off_and_what_nobody_labelled_is_nothing():
    tasks = build_tasks()
    distribution = measure(Quarters(), tasks)
    lines = distribution.counts["lines"]
    assert lines.shape == (4, 2)
    assert 0.01 < lines[0, 1] / lines[0].sum() < 0.05
    assert (lines[1:] == 0).all()
    assert "superstructures" not in distribution.counts


def test_labels_are_those_of_the_task():
    tasks = build_tasks(4, superstructures=True)
    distribution = measure(Quarters(), tasks, azimuth_bins=4)
    assert distribution.counts["segments"].shape == (tasks[0].num_labels,)
    shares = distribution.to_json(tasks)["segments"]
    assert {"N", "flat", "background"} <= shares.keys()
    assert any(" or " in name for name in shares)
    assert distribution.counts["superstructures"].sum() == 0


def test_colours_are_those_before_training_changes_the_light():
    distribution = measure(Quarters(), build_tasks())
    assert len(distribution.colours["rid"]) == 128
    described = distribution.describe_colours()["rid"]
    assert (described["num_samples"], described["mean"]) == (128, list(COLOUR))
    assert described["std"] == [0, 0, 0]
    parts = [measure(Quarters(), build_tasks(), shard=Shard(rank, 3)) for rank in range(3)]
    assert merge_distributions(parts).describe_colours() == distribution.describe_colours()


def test_what_cannot_be_read_meanwhile_is_named():
    reader = Quarters()
    reader.broken = (3, 4)
    distribution = measure(reader, build_tasks())
    assert {bad.sample_id for bad in distribution.bad_files["rid"]} == {"3", "4"}
    assert distribution.num_samples == 128


def test_processes_count_parts_that_add_up_to_what_one_counts():
    reader = Quarters()
    reader.broken = (3, 4)
    tasks = build_tasks()
    alone = measure(reader, tasks)
    parts = [measure(reader, tasks, shard=Shard(rank, 3)) for rank in range(3)]
    assert [part.num_samples for part in parts] == [43, 43, 42]
    # As they reach other processes.
    received = [Distribution.from_plain(json.loads(json.dumps(p.to_plain()))) for p in parts]
    together = merge_distributions(received)
    assert together.num_samples == alone.num_samples
    for name, counts in alone.counts.items():
        assert (together.counts[name] == counts).all()
    assert sorted(together.bad_files["rid"], key=str) == sorted(alone.bad_files["rid"], key=str)


def test_it_reads_as_one_line_per_task():
    lines = lines_of_shares({"segments": {"N": 0.25, "background": 0.75}})
    assert lines == ["segments: background 75.0 %, N 25.0 %"]
