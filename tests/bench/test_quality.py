"""The comparison of what networks learn: its budgets, its samples, its figures, its kept runs."""

import itertools
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bench.ablation import VARIANTS
from bench.quality import compare
from bench.support.environment import ROOT
from bench.support.learning.learn import Budget, weigh_classes
from bench.support.learning.runs import Run, Spread, read_runs, run_all, weights_path
from bench.support.learning.scenes import CROP_SIZE_PX, Pool, SceneReader, draw_pool
from bench.support.networks.variants import find_design


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return Pool(draw_pool(tmp_path_factory.mktemp("cache"), "few", SceneReader(3, 4), 12, 0, 0))


class TestBudget:
    def test_by_the_clock_the_schedule_follows_the_pace(self):
        budget = Budget(seconds=100.0)
        assert budget.plan_steps(10, 20.0, [2.0, 2.0, 9.0]) == 10 + 40
        assert not budget.is_spent(10, 99.9)
        assert budget.is_spent(10, 100.0)
        assert budget.share_spent(1, 25.0) == 0.25

    def test_there_is_always_a_step_to_come(self):
        assert Budget(seconds=100.0).plan_steps(10, 99.999, [2.0]) == 11

    def test_by_steps_the_clock_says_nothing(self):
        budget = Budget(steps=30)
        assert budget.plan_steps(10, 1e6, []) == 30
        assert budget.is_spent(30, 0.0)
        assert not budget.is_spent(29, 1e6)
        assert budget.share_spent(15, 0.0) == 0.5


class TestPool:
    def test_samples_have_every_label(self, pool):
        batch = pool.take(np.arange(12))
        assert batch["image"].shape == (12, 3, CROP_SIZE_PX, CROP_SIZE_PX)
        assert set(batch["lines"].unique().tolist()) == {0, 1, 255}
        assert len(batch["segments"].unique()) > 8
        assert float(batch["depth"].nan_to_num().max()) > 3

    def test_the_same_seed_gives_the_same_batches(self, pool):
        batches = [list(itertools.islice(pool.batches(4, seed), 5)) for seed in (1, 1, 2)]
        ids = [[batch["sample_id"] for batch in some] for some in batches]
        assert ids[0] == ids[1] != ids[2]
        assert torch.equal(batches[0][4]["image"], batches[1][4]["image"])
        # A pass holds every sample once.
        assert len({name for batch in ids[0][:3] for name in batch}) == 12

    def test_samples_with_rare_classes_come_more_often(self, pool):
        factors = pool.repeat_factors()
        assert len(factors) == 12
        assert factors.min() >= 1
        batch = pool.take(np.arange(12))
        has_valley = (batch["lines"][:, 3] == 1).flatten(1).any(1).numpy()
        assert 0 < has_valley.sum() < 12
        assert factors[has_valley].min() >= (1 / has_valley.mean()) ** 0.5 - 1e-9
        passes = itertools.islice(pool.batches(1, 0, True), 60)
        counts = np.bincount([int(name) for one in passes for name in one["sample_id"]])
        assert counts[factors.argmax()] > counts[factors.argmin()]

    def test_it_is_drawn_once(self, tmp_path):
        folder = draw_pool(tmp_path, "few", SceneReader(3, 2), 4, 0, 0)
        before = (folder / "image.npy").stat().st_mtime_ns
        assert draw_pool(tmp_path, "few", SceneReader(3, 2), 4, 0, 0) == folder
        assert (folder / "image.npy").stat().st_mtime_ns == before
        assert draw_pool(tmp_path, "few", SceneReader(3, 2), 8, 0, 0) != folder

    def test_classes_weigh_what_training_would_have_them_weigh(self, pool):
        weights = weigh_classes(pool.take(np.arange(12)))
        assert min(weights.lines) >= 1
        assert min(weights.segments) == weights.segments[17]  # background: the most frequent


def test_scenes_give_centre_lines_one_pixel_thick():
    sample = SceneReader(3, 1)[0]
    for line in sample["lines"].numpy():
        # Nowhere a block of 2 x 2 but where lines of one kind meet.
        blocks = cv2.erode(line, np.ones((2, 2), np.uint8))
        assert blocks.sum() <= 0.05 * line.sum()


def result(miou, line_f1, height_rmse_m, azimuth_error_deg):
    return {
        "scores": {
            "miou": miou,
            "line_f1": line_f1,
            "height_rmse_m": height_rmse_m,
            "azimuth_error_deg": azimuth_error_deg,
        }
    }


def test_figures_are_of_means_and_the_lead_is_of_the_worst_seed():
    figures = compare(
        {
            "ours": [result(0.5, 0.8, 1.0, 20.0), result(0.4, 0.6, 2.0, 10.0)],
            "smp_fpn": [result(0.3, 0.5, 3.0, 30.0), result(0.3, 0.5, 3.0, 30.0)],
            "smp_unet": [result(0.2, 0.7, 3.0, 30.0), result(0.4, 0.7, 3.0, 30.0)],
        }
    )
    assert figures["miou_gain_fpn"] == pytest.approx(0.15)
    assert figures["line_f1_gain_unet"] == pytest.approx(0.0)
    assert figures["height_rmse_ratio_fpn"] == pytest.approx(0.5)
    assert figures["azimuth_error_ratio_fpn"] == pytest.approx(0.5)
    assert figures["least_lead_fpn"] == pytest.approx(0.2)  # lines: 0.6 over 0.5
    assert figures["least_lead_unet"] < 0


def test_spread_is_the_furthest_from_the_mean():
    assert Spread([1.0, 2.0, 6.0]).cell(1) == "3.0 ±3.0"
    assert Spread([2.0]).cell(1) == "2.0"


@pytest.mark.parametrize("name", sorted({variant.design for variant in VARIANTS}))
def test_every_variant_answers_as_the_model_does(name):
    model = find_design(name).build().eval()
    with torch.inference_mode():
        logits = model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), ["segments", "lines"])
    assert {task: tuple(values.shape) for task, values in logits.items()} == {
        "segments": (1, 18, 64, 64),
        "lines": (1, 4, 64, 64),
    }


def test_what_a_result_is_called_tells_runs_apart_and_not_machines(monkeypatch, tmp_path):
    def name(root=ROOT, steps=2, **others):
        monkeypatch.setattr("bench.support.learning.runs.ROOT", root)
        arguments = {"pool": str(root / "local" / "pool"), "eval": [str(root.parent / "shared")]}
        return Run("ours", "ours", 0, {**arguments, "steps": str(steps)}, **others).file_name()

    assert name() == name(tmp_path / "other") == name(keeps_weights=True)
    inits = [weights_path(Path(place) / "fpn-seed0-0a1b.json") for place in ("here", "there")]
    tuned = [name(init=init) for init in inits]
    assert tuned[0] == tuned[1]
    assert len({name(), name(steps=3), *tuned}) == 3


def test_kept_runs_are_read_by_label_and_seed(tmp_path):
    for label, seed in (("ours", 10), ("ours", 2), ("smp_fpn_after_scenes", 0)):
        (tmp_path / f"{label}-seed{seed}-0a1b2c3d.json").write_text(json.dumps({"seed": seed}))
    runs = read_runs(tmp_path)
    assert {label: [run["seed"] for run in found] for label, found in runs.items()} == {
        "ours": [2, 10], "smp_fpn_after_scenes": [0],
    }  # fmt: skip
    with pytest.raises(SystemExit, match="no results of runs"):
        read_runs(tmp_path / "none")
    (tmp_path / "ours-seed2-99999999.json").write_text(json.dumps({"seed": 2}))
    with pytest.raises(SystemExit, match="two runs of ours with seed 2"):
        read_runs(tmp_path)


@pytest.mark.slow
def test_a_run_is_kept_and_another_one_is_trained(tmp_path):
    folder = draw_pool(tmp_path, "few", SceneReader(3, 2), 8, 0, 0)

    def run(steps):
        arguments = {
            "pool": str(folder),
            "steps": str(steps),
            "marks": "0.5,1",
            "eval": "scenes",
            "eval-images": "1",
            "threads": "1",
        }
        return Run("ours", "ours", 0, arguments, Path(sys.executable))

    results = tmp_path / "results"
    results.mkdir()
    kept = results / run(1).file_name()
    kept.write_text('{"design": "kept"}')
    first, trained = run_all([run(1), run(2)], results)["ours"]
    assert first == {"design": "kept"}
    assert [mark["steps"] for mark in trained["curve"]] == [1, 2]
    assert 0 <= trained["scores"]["line_f1"] <= 1
    assert {path.name for path in results.iterdir()} == {kept.name, run(2).file_name()}
