import logging
import subprocess
import sys

import pytest

from app.job.paths import Paths
from app.job.script_mode import find_script
from tests.support.paths import ROOT

WITHOUT_THE_PACKAGE = """
import sys
from pathlib import Path
sys.modules["sagemaker_training"] = None  # as if it were not installed, also in the image
from app.base.errors import ConfigError
from app.job.paths import Paths
from app.job.script_mode import run_script
try:
    run_script(Paths(Path(sys.argv[1])))
except ConfigError as error:
    print(error)
"""


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.delenv("SAGEMAKER_PROGRAM", raising=False)
    paths = Paths(tmp_path)
    paths.code_dir.mkdir()
    return paths


@pytest.mark.parametrize(
    ("variable", "settings", "script"),
    [
        (None, {"sagemaker_program": "train.py"}, "train.py"),
        (None, {"sagemaker_program": '"sub/train.sh"'}, "sub/train.sh"),
        ("run.py", {}, "run.py"),
        ("run.py", {"sagemaker_program": '"train.py"'}, "run.py"),
        ("", {"sagemaker_program": '"train.py"'}, "train.py"),
        (None, {"sagemaker_program": ""}, None),
        (None, {"sagemaker_program": None}, None),
        (None, {"epochs": "3"}, None),
    ],
)
def test_a_script_is_what_the_job_asks_for(paths, monkeypatch, caplog, variable, settings, script):
    if variable is not None:
        monkeypatch.setenv("SAGEMAKER_PROGRAM", variable)
    assert find_script(paths, settings) == script
    assert caplog.records == []


def test_code_that_nobody_asked_for_is_named(paths, caplog):
    (paths.code_dir / "train.py").write_text("")
    with caplog.at_level(logging.WARNING, logger="app.job.script_mode"):
        assert find_script(paths, {"sagemaker_program": "train.py"}) == "train.py"
        assert caplog.records == []
        assert find_script(paths, {}) is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{paths.code_dir} holds code that is not run; set the hyperparameter sagemaker_program to "
        "the script's name to run it instead of this image's own training"
    ]


def test_no_folder_of_code(paths, caplog):
    paths.code_dir.rmdir()
    assert find_script(paths, {}) is None
    assert caplog.records == []


def test_without_the_package_that_runs_it(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert result.stdout == (
        "a script of one's own (sagemaker_program) needs the package sagemaker-training, which the "
        "image has; run it there\n"
    )
