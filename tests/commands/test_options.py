"""What several commands read alike."""

import pytest

from app.base.errors import ConfigError
from app.commands.options import MODEL_FILES, find_model_dir
from app.model.export import DESCRIPTION_FILE, MODEL_FILE


def test_a_model_is_found_where_people_point_at(tmp_path):
    """At its folder, one level up, at a link to that, and at its files."""
    model_dir = tmp_path / "run/model"
    model_dir.mkdir(parents=True)
    for name in MODEL_FILES:
        (model_dir / name).touch()
    (tmp_path / "latest").symlink_to("run")
    pointed = [model_dir, tmp_path / "run", *(model_dir / name for name in MODEL_FILES)]
    assert {find_model_dir(path) for path in pointed} == {model_dir}
    assert find_model_dir(tmp_path / "latest").resolve() == model_dir


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("empty", "got a folder without model.safetensors, in it and in its model/"),
        ("model.tar.gz", "got a file that is no model, expected a model folder"),
        ("absent", "got nothing there, expected a model folder with model.safetensors and model"),
    ],
)
def test_what_is_no_model_is_told(tmp_path, name, got):
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.tar.gz").touch()
    with pytest.raises(ConfigError) as raised:
        find_model_dir(tmp_path / name)
    assert str(raised.value).startswith(f"--model {tmp_path / name}: {got}")


def test_the_files_of_a_model_are_those_that_are_exported():
    assert MODEL_FILES == (MODEL_FILE, DESCRIPTION_FILE)
