"""The folders and the table of the comparison on real roofs; the training itself is not tested."""

import json

import numpy as np
import pytest

from app.data.own.dataset import OwnDataset
from app.data.sample import View
from app.synthetic.staging import SplitParameters
from app.synthetic.write_own import write_own
from bench.real import _print_scores, _settings
from bench.support.real.recipes import RECIPES
from bench.support.real.sources import RealRoofs, merge_own, read_scores

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
    settings = _settings(RECIPES["coarse"].stages[0], roofs, 40)
    assert settings["dataset_weights"] == "own=0.8,airs=0.1"
    assert settings["steps_per_epoch"] == 10


def test_scores_of_a_file_lose_the_name_of_its_split(tmp_path):
    path = tmp_path / "scores.json"
    metrics = {"test/planes/pq": {"value": 0.5}, "test/planes/iou": {"value": None}}
    path.write_text(json.dumps({"split": "test", "metrics": metrics}))
    assert read_scores(path) == {"planes/pq": 0.5}


def test_the_table_has_a_part_for_every_place(capsys):
    runs = [
        {"scores": {"rid/segments/roof_iou": iou, "gables/planes/pq": 0.25}} for iou in (0.5, 0.7)
    ]
    _print_scores({"fine": runs})
    rid, gables = capsys.readouterr().out.split("\ngables\n")
    assert "0.600 ±0.100" in rid
    assert "0.250 ±0.000" in gables
