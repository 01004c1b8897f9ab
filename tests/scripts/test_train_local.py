"""`make train`: a tree for every choice of data and settings, whatever their names."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# Stands in for Python: says what it was asked to run, one argument a line.
PYTHON = "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"
LONG = " ".join(f"setting_number_{number}=0.000{number}" for number in range(40))


@pytest.fixture
def repository(tmp_path):
    """What the script needs of one: itself, an interpreter, and the sample's settings."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/train_local.sh", tmp_path / "scripts")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    config = tmp_path / "local/ml/input/config"
    config.mkdir(parents=True)
    for name in ("resourceconfig.json", "hyperparameters.json"):
        (config / name).write_text("{}")
    return tmp_path


def train(repository, **variables):
    """The arguments that training gets."""
    given = ("RID", "AIRS", "MODEL", "SET")
    own = {name: value for name, value in os.environ.items() if name not in given}
    result = subprocess.run(
        ["bash", "scripts/train_local.sh"],
        cwd=repository,
        env={**own, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    words = result.stdout.splitlines()
    assert words[:4] == ["-m", "app", "train", "--base-dir"]
    return Path(words[4]), words[5:]


def test_the_sample_and_a_few_settings_have_readable_trees(repository):
    assert train(repository) == (Path("local/ml"), [])
    folder, words = train(repository, SET="epochs=1 phase=2")
    assert folder == Path("local/ml-epochs=1-phase=2")
    assert words[-4:] == ["--set", "epochs=1", "--set", "phase=2"]
    assert (repository / folder / "input/config/hyperparameters.json").exists()


def test_many_settings_make_a_short_name_and_other_settings_another(repository):
    folders = {train(repository, SET=text)[0] for text in (LONG, LONG + "1", LONG[:-1])}
    assert len(folders) == 3
    for folder in folders:
        assert folder.name.startswith("ml-setting_number_0=0.0000-setting_number_1")
        assert len(folder.name) < 128
        assert (repository / folder / "input/config/hyperparameters.json").exists()
    assert train(repository, SET=LONG)[0] in folders


def test_names_that_differ_in_what_a_folder_cannot_show(repository):
    """Else one run would resume from the other."""
    folders = {train(repository, SET=f"datasets=rid{mark}airs")[0] for mark in (",", "/", "ü", "-")}
    assert len(folders) == 4
    assert all(folder.name.startswith("ml-datasets=rid-") for folder in folders)


def test_folders_of_data_with_long_names(repository, tmp_path):
    data = tmp_path / ("a" * 200)
    folder, words = train(repository, RID=str(data), AIRS=str(data / "b"), SET="epochs=1")
    assert len(folder.name) < 128
    assert words == ["--rid", str(data), "--airs", str(data / "b"), "--set", "epochs=1"]


def test_settings_on_several_lines(repository):
    _, words = train(repository, SET="epochs=1\n  phase=2\n")
    assert words[-4:] == ["--set", "epochs=1", "--set", "phase=2"]


def test_a_model_to_start_from_has_a_tree_of_its_own(repository, tmp_path):
    model = tmp_path / "first/model"
    folder, words = train(repository, MODEL=str(model))
    assert folder.name.startswith("ml-model-")
    sample = "local/ml/input/data"
    datasets = [f"--rid={sample}/rid", f"--roofline={sample}/roofline", f"--airs={sample}/airs"]
    pairs = [f"{name}={value}" for name, value in zip(words[::2], words[1::2], strict=True)]
    assert pairs == [*datasets, f"--initial-model={model}"]
    assert (repository / folder / "input/config/hyperparameters.json").exists()
    other, words = train(repository, MODEL=str(tmp_path / "second/model"), OWN="roofs")
    assert words == ["--own", "roofs", "--initial-model", str(tmp_path / "second/model")]
    assert other.name.startswith("ml-roofs-")
