"""With batch_size=auto a process of its own looks at the labels, before memory is measured."""

import json
import shutil
from dataclasses import replace

import cv2
import pytest

from app.__main__ import main
from app.base.errors import DataError
from app.commands.probe.labels import LookRequest, ask_for_looks, look_apart
from app.job.job import Job
from app.job.paths import Paths
from app.settings.hyperparameters import Hyperparameters


def make_job(tmp_path, rid):
    settings = Hyperparameters(batch_size="auto", global_batch_size=6, phase=3)
    return Job(Paths(tmp_path / "ml"), settings, {"rid": rid}, lambda: False)


@pytest.fixture
def blurred(small_ml, tmp_path):
    root = shutil.copytree(small_ml / "input/data/rid", tmp_path / "rid")
    for path in (root / "masks_segments_reviewed").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), cv2.resize(mask[::2, ::2], mask.shape[::-1]))
    return root


def test_the_child_tells_its_looks_as_metrics_json_has_them(small_ml, tmp_path, capsys):
    job = make_job(tmp_path, small_ml / "input/data/rid")
    channels = {name: str(path) for name, path in job.channels.items()}
    request = LookRequest(job.hyperparameters.to_texts(), channels, str(tmp_path / "scratch"))
    look_apart(LookRequest.from_json(json.dumps(vars(request))))
    [line] = capsys.readouterr().out.splitlines()
    look = {"dataset": "rid", "num_samples": 12, "heights": None, "findings": []}
    assert json.loads(line) == {"kind": "looks", "values": {"rid": look}}


def test_what_the_child_finds_stops_the_job(blurred, tmp_path):
    with pytest.raises(DataError, match="class numbers of segments are mixed in 11 of 11 samples"):
        ask_for_looks(make_job(tmp_path, blurred))


def test_a_stop_ends_the_child_and_leaves_the_rest_to_the_ranks(small_ml, tmp_path):
    job = make_job(tmp_path, small_ml / "input/data/rid")
    assert ask_for_looks(replace(job, stop_requested=lambda: True)) is None


def test_the_look_comes_before_memory_is_measured(small_ml, tmp_path, monkeypatch):
    def refuse(*_):
        raise DataError("labels are upside down")

    monkeypatch.setattr("app.commands.probe.labels.ask_for_looks", refuse)
    monkeypatch.setattr("app.resources.batch_size.find_largest_pass", None)
    ml = shutil.copytree(small_ml, tmp_path / "ml")
    command = ["train", "--in-process", "--base-dir", str(ml), "--set", "batch_size=auto"]
    assert main(command) == 2
    assert "labels are upside down" in (ml / "output/failure").read_text()
