"""Finished runs are recognised by what they were asked for and by what they left."""

import os

import pytest

from app.job.finished import FINISHED_FILE, digest_request, note_finished, recall_finished
from app.job.paths import Paths
from app.settings.hyperparameters import Hyperparameters

LINES = ["model: local/ml/model", "took 3 min 5 s"]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "rid/masks"
    folder.mkdir(parents=True)
    (folder / "a.png").write_text("mask")
    return tmp_path / "rid"


@pytest.fixture
def finished(tmp_path, data):
    """A finished run, and the digest of what it was asked for."""
    paths = Paths(tmp_path / "ml")
    for folder in (paths.checkpoint_dir, paths.model_dir):
        folder.mkdir(parents=True)
    model = paths.model_dir / "model.safetensors"
    model.write_text("weights")
    digest = digest_request(Hyperparameters(), {"rid": data})
    note_finished(paths, digest, LINES, [model])
    return paths, digest


def test_the_same_request_gets_the_same_words(finished, data):
    paths, _ = finished
    again = digest_request(Hyperparameters(resume="force"), {"rid": data})
    assert recall_finished(paths, again) == LINES


def other_settings(data):
    return Hyperparameters(seed=1), {"rid": data}


def other_dataset(data):
    return Hyperparameters(), {"own": data}


def one_photo_more(data):
    (data / "masks/b.png").write_text("mask")
    return Hyperparameters(), {"rid": data}


def another_mask(data):
    (data / "masks/a.png").write_text("Mask")
    os.utime(data / "masks/a.png", ns=(1, 1))
    return Hyperparameters(), {"rid": data}


def a_model_to_start_from(data):
    return Hyperparameters(initial_model=str(data)), {"rid": data}


@pytest.mark.parametrize(
    "change", [other_settings, other_dataset, one_photo_more, another_mask, a_model_to_start_from]
)
def test_another_request_is_not_finished(finished, data, change):
    paths, digest = finished
    other = digest_request(*change(data))
    assert other != digest
    assert recall_finished(paths, other) is None


def test_a_model_that_changed_is_not_the_finished_one(finished):
    paths, digest = finished
    assert recall_finished(paths, digest) == LINES
    (paths.model_dir / "model.safetensors").write_text("other weights")
    assert recall_finished(paths, digest) is None
    (paths.model_dir / "model.safetensors").unlink()
    assert recall_finished(paths, digest) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"request": null, "files": {}, "lines": []}'])
def test_a_damaged_note_says_nothing(finished, text):
    paths, digest = finished
    (paths.checkpoint_dir / FINISHED_FILE).write_text(text)
    assert recall_finished(paths, digest) is None
    assert recall_finished(paths, None) is None


def test_what_cannot_be_looked_at_in_time_is_not_recognised(data, tmp_path):
    assert digest_request(Hyperparameters(), {"rid": data}, limit_s=-1) is None
    assert digest_request(Hyperparameters(), {"rid": tmp_path / "absent"}) is None
