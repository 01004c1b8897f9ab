"""`export` writes what says the same as the model, or nothing."""

import json

import pytest
import torch

from app.__main__ import main
from app.model.export import load_exported_model
from app.model.program import _draw
from tests.support.models import shallow_backbones, write_model


@pytest.fixture(scope="module")
def model_dir(module_path):
    with shallow_backbones():
        folder = write_model(module_path / "model")
        description = json.loads((folder / "model.json").read_text())
        description["tasks"]["depth"]["trained"] = False
        (folder / "model.json").write_text(json.dumps(description))
        yield folder


def export(model_dir, path):
    return main(["export", f"--model={model_dir}", f"--torch={path}"])


@pytest.mark.slow
def test_the_program_is_the_model_at_other_sizes_and_batches(model_dir, tmp_path):
    path = tmp_path / "roofs.pt2"
    assert export(model_dir, path) == 0
    files = {"model.json": ""}
    program = torch.export.load(path, extra_files=files).module()
    assert files["model.json"] == (model_dir / "model.json").read_text()
    model, _ = load_exported_model(model_dir)
    with torch.inference_mode():
        for size in ((1, 64, 64), (4, 96, 192)):
            image = _draw(*size)
            got, expected = program(image), model.eval()(image)
            assert list(got) == ["segments", "lines"]  # the trained ones
            for name, values in got.items():
                assert values.shape == expected[name].shape
                assert torch.allclose(values, expected[name], atol=1e-4)
        with pytest.raises(Exception, match="32"):
            program(_draw(1, 65, 64))


def test_a_program_that_says_something_else_is_not_written(
    model_dir, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "roofs.pt2"
    monkeypatch.setattr("app.model.program._MAX_OFF", -1.0)
    assert export(model_dir, path) == 2
    assert "the exported program says of segments something else" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(model_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("app.model.program._check", lambda *_: None)
    (tmp_path / "file").touch()
    assert export(model_dir, tmp_path / "file/a.pt2") == 2
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " ERROR " in line]
    assert "file/a.pt2: cannot be written: Not a directory; give another --torch, or" in line


def test_a_folder_without_a_model_is_one_line(tmp_path, capsys):
    assert export(tmp_path, tmp_path / "a.pt2") == 2
    assert "got a folder without model.safetensors" in capsys.readouterr().out
