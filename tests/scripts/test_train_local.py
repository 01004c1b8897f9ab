"""`make train`: a tree for every choice of data and settings, whatever their names."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# Stands in for Python: says what it was asked to run, one argument a line.
PYTHON = "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"
GIVEN = ("RID", "ROOFLINE", "AIRS", "OWN", "MODEL", "SET", "HOURS")
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
    """The tree and the arguments that training gets, after the call's own check of them."""
    own = {name: value for name, value in os.environ.items() if name not in GIVEN}
    result = subprocess.run(
        ["bash", "scripts/train_local.sh"],
        cwd=repository,
        env={**own, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    calls = [call.splitlines() for call in result.stdout.split("-m\napp\n") if call]
    words = calls[-1]
    assert words[:2] == ["train", "--base-dir"]
    assert words[-2:] == ["--newest", "local/latest"]
    if variables:
        start, checked = calls[0][:4], calls[0][4:]
        assert start == ["train", "--dry-run", "--base-dir", "local/none"]
        assert words[:-2][-len(checked) :] == checked
    return Path(words[2]), words[3:-2]


def test_the_sample_and_a_few_settings_have_readable_trees(repository):
    assert train(repository) == (Path("local/ml"), [])
    folder, words = train(repository, SET="epochs=1 phase=2")
    assert folder == Path("local/runs/sample-epochs-1-phase-2")
    assert words[-4:] == ["--set", "epochs=1", "--set", "phase=2"]
    assert (repository / folder / "input/config/hyperparameters.json").exists()
    # In another order they are the same.
    assert train(repository, SET="phase=2 epochs=1")[0] == folder


def test_many_settings_make_a_short_name_and_other_settings_another(repository):
    folders = [train(repository, SET=text)[0] for text in (LONG, LONG + "1", LONG[:-1])]
    assert [folder.name.removeprefix(folders[0].name) for folder in folders] == ["", "-2", "-3"]
    for folder in folders:
        assert folder.name.startswith("sample-setting_number_0-0.0000-setting_number_1")
        assert len(folder.name) <= 64
        assert (repository / folder / "input/config/hyperparameters.json").exists()
    assert train(repository, SET=LONG)[0] == folders[0]
    assert train(repository, SET=LONG[:-1])[0] == folders[2]


def test_names_that_differ_in_what_a_folder_cannot_show(repository):
    """Else one run would resume from the other."""
    marks = (",", "/", "ü", "-")
    folders = {train(repository, SET=f"datasets=rid{mark}airs")[0] for mark in marks}
    assert len(folders) == 4
    assert all(folder.name.startswith("sample-datasets-rid-") for folder in folders)
    assert train(repository, SET="datasets=rid,airs")[0] in folders


def test_folders_of_data_that_share_a_name(repository, tmp_path):
    folders = [train(repository, RID=str(tmp_path / place / "rid"))[0] for place in "ab"]
    assert [folder.name for folder in folders] == ["rid", "rid-2"]
    data = tmp_path / ("a" * 200)
    folder, words = train(repository, RID=str(data), AIRS=str(data / "b"), SET="epochs=1")
    assert len(folder.name) <= 60
    assert words == ["--rid", str(data), "--airs", str(data / "b"), "--set", "epochs=1"]


def test_settings_on_several_lines(repository):
    _, words = train(repository, SET="epochs=1\n  phase=2\n")
    assert words[-4:] == ["--set", "epochs=1", "--set", "phase=2"]


def test_a_model_to_start_from_has_a_tree_of_its_own(repository, tmp_path):
    model = tmp_path / "first/model"
    folder, words = train(repository, MODEL=str(model))
    assert folder.name == "sample-from-first"
    sample = "local/ml/input/data"
    datasets = [f"--rid={sample}/rid", f"--roofline={sample}/roofline", f"--airs={sample}/airs"]
    pairs = [f"{name}={value}" for name, value in zip(words[::2], words[1::2], strict=True)]
    assert pairs == [*datasets, f"--initial-model={model}"]
    assert (repository / folder / "input/config/hyperparameters.json").exists()
    other, words = train(repository, MODEL=str(tmp_path / "second/model"), OWN="roofs")
    assert words == ["--own", "roofs", "--initial-model", str(tmp_path / "second/model")]
    assert other.name == "roofs-from-second"


def test_a_link_to_a_model_is_followed_before_it_moves(repository):
    (repository / "local/runs/first/model").mkdir(parents=True)
    (repository / "local/runs/first/model/model.safetensors").touch()
    (repository / "local/latest").symlink_to("runs/first")
    folder, words = train(repository, MODEL="local/latest/model")
    assert words[-1] == str(repository.resolve() / "local/runs/first/model")
    assert folder.name == "sample-from-first"
    assert train(repository, MODEL="local/latest")[0] == folder


def test_a_tree_that_an_earlier_version_has_named_resumes(repository, tmp_path):
    path = tmp_path / "rid"
    digest = hashlib.sha256(f"{path}\n".encode()).hexdigest()[:4]
    for name in (f"ml-rid-{digest}-phase=1-epochs=3", "ml-epochs=1-phase=2"):
        (repository / "local" / name).mkdir()
    folder, _ = train(repository, RID=str(path), SET="phase=1 epochs=3")
    assert folder == Path(f"local/ml-rid-{digest}-phase=1-epochs=3")
    assert train(repository, SET="epochs=1 phase=2")[0] == Path("local/ml-epochs=1-phase=2")


def test_a_call_that_is_refused_draws_and_leaves_nothing(repository):
    (repository / ".venv/bin/python").write_text('#!/bin/sh\necho "$*"; exit 2\n')
    shutil.rmtree(repository / "local")
    result = subprocess.run(
        ["bash", "scripts/train_local.sh"],
        cwd=repository,
        env={**os.environ, "SET": "epochs=x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == "-m app train --dry-run --base-dir local/none --set epochs=x\n"
    assert not (repository / "local").exists()


def best(repository, **variables):
    """The calls of `make best`, each as its words."""
    own = {name: value for name, value in os.environ.items() if name not in GIVEN}
    result = subprocess.run(
        ["bash", "scripts/train_local.sh", "best"],
        cwd=repository,
        env={**own, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return result, [call.splitlines() for call in result.stdout.split("-m\napp\n") if call]


def test_the_best_recipe_has_trees_of_its_own(repository, tmp_path):
    _, [words] = best(repository)
    tree = "local/runs/best-sample"
    assert words == ["best", "--base-dir", tree, "--newest", "local/latest"]
    assert (repository / tree / "run.txt").read_text() == "best\nsample\n"
    data = tmp_path / "roofs"
    _, [checked, words] = best(repository, OWN=str(data), HOURS="0.25", SET="seed=1")
    given = ["--own", str(data), "--hours", "0.25", "--set", "seed=1"]
    assert checked == ["best", "--dry-run", "--base-dir", "local/none", *given]
    tree = "local/runs/best-roofs-0.25-hours-seed-1"
    assert words == ["best", "--base-dir", tree, *given, "--newest", "local/latest"]
    # Other hours are another training, and the budget of `make best` is none of `make train`.
    assert best(repository, OWN=str(data), HOURS="1", SET="seed=1")[1][1][2] != tree
    assert train(repository, OWN=str(data), SET="seed=1")[0].name == "roofs-seed-1"


def test_stages_start_from_no_other_model(repository):
    result, calls = best(repository, MODEL="local/latest")
    assert result.returncode == 2
    assert "make best: MODEL=local/latest: its stages start from each other" in result.stderr
    assert not calls
    assert not (repository / "local/runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rid=DIR"], "rid: did you mean RID=...?"),
        (["DATA=DIR"], "DATA: name the dataset: RID=DIR ROOFLINE=DIR"),
        (["epochs=3"], 'epochs: unknown; settings stand in SET: SET="epochs=... ..."'),
    ],
)
def test_words_that_make_would_ignore_are_refused(words, message):
    command = ["make", "--no-print-directory", "--dry-run", "train", *words]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stdout == ""
