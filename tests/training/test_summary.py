"""The end of a run: reached, where, how long, what next."""

import sys
from pathlib import Path

import pytest

from app.job.paths import Paths
from app.training.results import Validation
from app.training.summary import Ending, describe_end

METRICS = {"val/segments/roof_iou": {"value": 0.5}}
SHOWN = Validation(2, 20, 0.4, METRICS)


@pytest.fixture(autouse=True)
def venv(monkeypatch):
    """A virtual environment in the working directory, as make has one."""
    monkeypatch.setattr(sys, "prefix", str(Path.cwd() / ".venv"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")


def test_a_run_ends_with_what_a_person_asks_next():
    ending = Ending(Paths(Path("local/my run")), SHOWN, {"rid": 3}, "file:///report.html", 725.0)
    lines = describe_end(ending)
    assert lines[0] == "reached on validation photos, which were not trained on:"
    assert lines[-4:] == [
        "model: local/my run/model",
        "report: file:///report.html",
        "took 12 min",
        "next: .venv/bin/python -m app predict --model 'local/my run/model' --out predictions "
        "PHOTO.tif",
    ]


def test_scores_on_drawn_photos_are_called_synthetic():
    ending = Ending(Paths(Path("ml")), SHOWN, {"rid": 3}, None, 30.0, drawn=["rid"])
    assert describe_end(ending)[1].strip() == "RID (synthetic)"


def test_a_stopped_run_says_how_it_resumes():
    ending = Ending(Paths(Path("ml")), None, {"rid": 3}, None, 30.0, is_stopped=True)
    assert describe_end(ending) == ["model: ml/model", "took 30 s so far; the same command resumes"]


def test_on_the_platform_nobody_is_told_to_type():
    assert describe_end(Ending(Paths(), None, {}, None, 61.0)) == [
        "model: /opt/ml/model",
        "took 1 min 1 s",
    ]
