"""The comparison on real roofs: folders, what is done again and what is not, tables, figures."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from app.data.own.dataset import OwnDataset
from app.data.sample import View
from app.synthetic.staging import SplitParameters
from app.synthetic.write_own import write_own
from bench.support.real import runs as real_runs
from bench.support.real.gains import Gain, compare_networks, find_figures
from bench.support.real.recipes import RECIPES
from bench.support.real.runs import (
    Learner,
    RealRun,
    count_all_steps,
    finish_run,
    score_given,
    stage_settings,
)
from bench.support.real.sources import RealRoofs, ScoredPart, merge_own, read_scores
from bench.support.real.tables import print_tables

_WHOLE = View(np.array([[1.0, 0, 0], [0, 1, 0]]), (192, 192), 0, False, 0.1)


def test_roofs_are_read_as_from_their_own_folder(tmp_path):
    write_own(tmp_path / "village", SplitParameters(2, 1, 1, seed=1, size_px=192))
    merge_own({"north": tmp_path / "village"}, tmp_path / "all")
    for split, num_photos in (("train", 2), ("val", 1), ("test", 1)):
        merged, alone = (OwnDataset(tmp_path / name, split) for name in ("all", "village"))
        assert len(merged) == num_photos
        assert not merged.bad_features
        assert list(merged.sample_ids) == [f"north_{name}" for name in alone.sample_ids]
        for ours, theirs in zip(merged, alone, strict=True):
            assert np.array_equal(ours["image"], theirs["image"])
            assert np.array_equal(ours["depth"], theirs["depth"], equal_nan=True)
            drawn = [sample["drawing"].draw(_WHOLE) for sample in (ours, theirs)]
            for task in ("segments", "lines"):
                # Corners move by nanometres from one reference system to the other.
                assert np.mean(drawn[0][task].numpy() != drawn[1][task].numpy()) < 1e-3


def test_a_folder_that_is_there_is_not_written_again(tmp_path):
    merge_own({}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_shares_of_a_recipe_make_its_budget():
    for recipe in RECIPES.values():
        assert sum(stage.share for stage in recipe.stages) == pytest.approx(1)


def test_settings_name_only_datasets_that_are_trained_on(tmp_path):
    roofs = RealRoofs({"own": tmp_path, "airs": tmp_path}, ())
    settings = stage_settings(RECIPES["coarse"].stages[0], roofs, 40)
    assert settings["dataset_weights"] == "own=0.8,airs=0.1"
    assert settings["steps_per_epoch"] == 10


def test_scores_of_a_file_lose_the_name_of_its_split(tmp_path):
    path = tmp_path / "scores.json"
    metrics = {"test/planes/pq": {"value": 0.5}, "test/planes/iou": {"value": None}}
    path.write_text(json.dumps({"split": "test", "metrics": metrics}))
    assert read_scores(path) == {"planes/pq": 0.5}


class App:
    """In place of the commands: notes their words, and leaves the files that they would."""

    def __init__(self, ends_before=None):
        self.calls, self.ends_before = [], ends_before

    def __call__(self, words, program=()):
        if len(self.calls) == self.ends_before:
            raise SystemExit("interrupted")
        self.calls.append((words, program))
        options = dict(itertools.pairwise(words))
        if words[0] == "evaluate":
            values = {"test/planes/pq": {"value": 0.5}}
            Path(options["--out"]).write_text(json.dumps({"split": "test", "metrics": values}))
            return
        model_dir = Path(options["--base-dir"]) / "model"
        model_dir.mkdir(parents=True)
        steps = 4 * next(
            int(word.rpartition("=")[2]) for word in words if word.startswith("--set=steps_per")
        )
        metrics = {"steps": steps, "stopped": False, "step_time": {"step_s": 0.5}}
        (model_dir / "metrics.json").write_text(json.dumps(metrics))
        (model_dir / "model.safetensors").write_bytes(b"weights")
        (model_dir.parent / "checkpoints").mkdir()

    def words(self):
        return [words[0] for words, _ in self.calls]


@pytest.fixture
def roofs(tmp_path):
    parts = [ScoredPart(name, "own", tmp_path / name) for name in ("rid", "gables")]
    return RealRoofs({"own": tmp_path}, parts)


def put_in_place(monkeypatch, app):
    monkeypatch.setattr(real_runs, "run_app", app)
    monkeypatch.setattr("bench.support.tuning.run_app", app)
    return app


def run_of(network="ours", seed=0, without=""):
    learner = Learner(network, Path("peers/python"))
    return RealRun(RECIPES["coarse_to_fine"], learner, seed, 60, without)


def test_a_run_resumes_where_it_was_interrupted(tmp_path, roofs, monkeypatch):
    run = run_of()
    for ends_before in (1, 2, 1, 1):
        put_in_place(monkeypatch, App(ends_before))
        with pytest.raises(SystemExit, match="interrupted"):
            finish_run(run, roofs, [8, 4], tmp_path, (1, 8))
    app = put_in_place(monkeypatch, App())
    result = finish_run(run, roofs, [8, 4], tmp_path, (1, 8))
    assert app.words() == ["evaluate"]  # of two stages, and two places asked in two ways
    assert result["train_s"] == 6
    assert not list(tmp_path.glob("*/*/checkpoints"))
    assert result["scores"] == {"rid/planes/pq": 0.5, "gables/planes/pq": 0.5}
    assert result["scores_tta8"] == result["scores"]
    assert json.loads((tmp_path / "coarse_to_fine-60s-seed0.json").read_text()) == result


def test_poses_are_added_to_a_result_that_lacks_them(tmp_path, roofs, monkeypatch):
    app = put_in_place(monkeypatch, App())
    finish_run(run_of(), roofs, [8, 4], tmp_path, (1,))
    finish_run(run_of(), roofs, [8, 4], tmp_path, (1, 8))
    finish_run(run_of(), roofs, [8, 4], tmp_path, (1,))
    assert app.words() == ["train"] * 2 + ["evaluate"] * 4
    poses = [words[words.index("--tta") + 1] for words, _ in app.calls[2:]]
    assert poses == ["1", "1", "8", "8"]


def test_a_stopped_or_other_stage_is_not_trained_on(tmp_path, roofs, monkeypatch):
    put_in_place(monkeypatch, App())
    finish_run(run_of(), roofs, [8, 4], tmp_path, (1,))
    (tmp_path / "coarse_to_fine-60s-seed0.json").unlink()
    with pytest.raises(SystemExit, match=r"run\.json: another recipe or steps; give the same --s"):
        finish_run(run_of(), roofs, [12, 4], tmp_path, (1,))
    metrics = tmp_path / "coarse_to_fine-60s-seed0/stage-1/model/metrics.json"
    metrics.write_text(metrics.read_text().replace("false", "true"))
    put_in_place(monkeypatch, lambda *_: None)  # stopped again
    with pytest.raises(SystemExit, match="stopped in stage fine; the same command resumes"):
        finish_run(run_of(), roofs, [8, 4], tmp_path, (1,))


def test_a_recipe_that_has_changed_is_another_one(tmp_path, roofs, monkeypatch):
    put_in_place(monkeypatch, App())
    finish_run(run_of(), roofs, [8, 4], tmp_path, (1,))
    changed = RECIPES["coarse_to_fine_new_ground"]._replace(label="coarse_to_fine")
    run = RealRun(changed, Learner("ours", Path("python")), 0, 60)
    with pytest.raises(SystemExit, match=r"seed0\.json: of another recipe of that name; move it"):
        finish_run(run, roofs, [8, 4], tmp_path, (1,))


def test_a_peer_is_trained_and_scored_by_its_own_program(tmp_path, roofs, monkeypatch):
    app = put_in_place(monkeypatch, App())
    finish_run(run_of("smp_fpn", without="rid"), roofs, [8, 4], tmp_path, (1,))
    program = ("peers/python", "-m", "bench.support.real.as_peer", "smp_fpn")
    assert {found for _, found in app.calls} == {program}
    result = json.loads(
        (tmp_path / "coarse_to_fine-smp_fpn-without-rid-60s-seed0.json").read_text()
    )
    assert (result["network"], result["without"]) == ("smp_fpn", "rid")


def test_the_pace_of_each_network_is_measured_once(tmp_path, roofs, monkeypatch):
    app = put_in_place(monkeypatch, App())
    (tmp_path / "pace/model").mkdir(parents=True)  # of a call that was killed
    # 60 s in two stages, 0.7 and 0.3 of it, at half a second a step; whole epochs of four.
    for network in ("ours", "smp_fpn", "ours", "smp_fpn"):
        assert count_all_steps(run_of(network), roofs, tmp_path) == [84, 36]
    assert app.words() == ["train"] * 4
    assert [program[-1] for _, program in app.calls] == ["app"] * 2 + ["smp_fpn"] * 2
    assert count_all_steps(run_of(), roofs, tmp_path, step_s=1) == [40, 16]


def test_a_model_folder_is_scored_once(tmp_path, roofs, monkeypatch):
    app = put_in_place(monkeypatch, App())
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = score_given("mine", tmp_path, roofs, tmp_path, (1,))
    assert score_given("mine", tmp_path, roofs, tmp_path, (1,)) == first
    assert app.words() == ["evaluate"] * 2


def result_of(run, scores, **more):
    return {**run.describe(), "steps": [8, 4], "scores": scores, **more}


def test_every_place_and_way_of_asking_has_a_row(capsys):
    runs = [
        result_of(
            run_of(seed=seed),
            {"rid/segments/roof_iou": iou, "gables/planes/pq": 0.25},
            scores_tta8={"rid/segments/roof_iou": iou + 0.1},
        )
        for seed, iou in enumerate((0.5, 0.7))
    ]
    print_tables({runs[0]["label"]: runs})
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["RID", "coarse_to_fine-60s", "2", "0.600", "±0.100"] in [row[:5] for row in rows]
    assert ["RID", "coarse_to_fine-60s,", "8", "poses", "2", "0.700"] in [row[:6] for row in rows]
    assert any(row[:2] == ["German", "gables"] and "0.250" in row for row in rows)


def test_a_place_left_out_stands_beside_the_place_trained_on(capsys):
    runs = [
        result_of(run_of(without=place), {"rid/planes/pq": pq})
        for place, pq in (("", 0.5), ("rid", 0.25))
    ]
    print_tables({run["label"]: [run] for run in runs})
    table = capsys.readouterr().out.partition("places left out of training")[2]
    rows = [line for line in table.splitlines() if line.startswith("RID")]
    assert "all places" in rows[0]
    assert "0.500" in rows[0]
    assert "all but this" in rows[1]
    assert "0.250" in rows[1]


def test_protocols_of_others_are_printed_where_there_are_scores(capsys):
    scores = {"rid/segments/per_image_miou": 0.25}
    print_tables({"mine": [{"label": "mine", "seed": 3, "steps": [], "scores": scores}]})
    assert "mine, seed 3: RID: mIoU 0.250, mean over images" in capsys.readouterr().out


def test_gains_over_a_peer_are_held_against_the_spread_of_seeds():
    def runs(network, *values):
        # Enschede has scores of one network alone, and does not count.
        return [
            result_of(
                run_of(network, seed),
                {"rid/planes/pq": pq, "gables/planes/pq": 0.5, f"{network}/planes/pq": 1.0},
            )
            for seed, pq in enumerate(values)
        ]

    results = {"a": runs("ours", 0.6, 0.8), "b": runs("smp_fpn", 0.3, 0.5)}
    [gain] = compare_networks(results)
    # (0.55 + 0.65) / 2 - (0.4 + 0.5) / 2; each seed is 0.05 off its mean.
    assert gain.name == "planes_pq_gain_fpn"
    assert (gain.value, gain.spread) == (pytest.approx(0.15), pytest.approx(0.05))
    assert gain.verdict == "ahead by more than the spread"
    assert Gain("", 0.05, 0.05).verdict == "within the spread"
    assert Gain("", -0.1, 0.05).verdict == "behind by more than the spread"
    [single] = compare_networks({"a": runs("ours", 0.6), "b": runs("smp_fpn", 0.3)})
    assert single.verdict == "one seed: may be chance"
    assert compare_networks({"a": results["a"]}) == []


def test_figures_are_those_of_the_longest_runs_of_the_best_recipe():
    names = {"rid/segments/roof_iou": 0.5, "rid/planes/azimuth_error_deg": 10.0}
    best = result_of(run_of(), names, scores_tta8={"rid/segments/roof_iou": 0.75})
    shorter = {**best, "budget_s": 30, "scores_tta8": {}}
    unseen = result_of(run_of(without="rid"), {"rid/planes/azimuth_within_22_5_deg": 0.5})
    fine = {**best, "recipe": "fine", "scores": {**names, "rid/planes/azimuth_error_deg": 40.0}}
    results = {str(number): [run] for number, run in enumerate((shorter, best, unseen, fine))}
    assert find_figures(results) == {
        "rid_roof_iou": 0.75,
        "azimuth_error_ratio_defaults": 0.25,
        "unseen_rid_azimuth_share": 0.5,
    }
    assert find_figures({"kept": [{"label": "old", "seed": 0, "steps": [], "scores": names}]}) == {}
