"""`export` writes what says the same as the model, or nothing."""

import builtins
import json
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
import torch

from app.__main__ import main
from app.commands.export import _ONNX_TASKS
from app.model.export import export_model, load_exported_model
from app.model.onnx_program import ONNX_TASKS
from app.model.program import _draw
from tests.support.models import shallow_backbones, write_model

TILE_PX = 96
# In locks/dev.lock; an environment that is older than they are there still tests all else.
needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript or onnxruntime is not installed; run: make setup",
)


@pytest.fixture(scope="module")
def model_dir(module_path):
    with shallow_backbones():
        folder = write_model(module_path / "model", superstructures=True)
        description = json.loads((folder / "model.json").read_text())
        description["tasks"]["depth"]["trained"] = False
        (folder / "model.json").write_text(json.dumps(description))
        model, description = load_exported_model(folder)
        for name in ONNX_TASKS:  # all classes are as frequent, so that several are found
            last = [m for m in model.heads[name].modules() if isinstance(m, torch.nn.Conv2d)][-1]
            torch.nn.init.zeros_(last.bias)
        export_model(folder, model, description)
        yield folder


@pytest.fixture(scope="module")
def onnx_path(model_dir, module_path):
    path = module_path / "roofs.onnx"
    words = (f"--onnx={path}", f"--tile-px={TILE_PX}")
    assert main(["export", f"--model={model_dir}", *words]) == 0
    return path


def export(model_dir, path, option="torch", *words):
    return main(["export", f"--model={model_dir}", f"--{option}={path}", *words])


def error_of(capsys):
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " ERROR " in line]
    return line


def as_deepness_does(path, photo):
    """A tile (H, W, 3) uint8 by way of an ONNX model, as Deepness 0.7 asks it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (asked,), (answer,) = session.get_inputs(), session.get_outputs()
    known = session.get_modelmeta().custom_metadata_map
    mean, std = (
        np.array(json.loads(known[f"standardization_{name}"]), np.float32)
        for name in ("mean", "std")
    )
    tile = (np.float32(photo[None, :, :, : asked.shape[-3]] / 255.0) - mean) / std
    (values,) = session.run(None, {asked.name: np.transpose(tile, (0, 3, 1, 2))})
    values[values < json.loads(known["seg_thresh"])] = 0.0
    names = json.loads(known["class_names"])
    assert (answer.shape, list(names)) == (
        list(values.shape),
        [str(number) for number in range(values.shape[1])],
    )
    return values.argmax(1)[0], list(names.values()), known


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
            assert list(got) == ["segments", "lines", "superstructures"]  # the trained ones
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
    assert "file/a.pt2: cannot be written: Not a directory; give another --torch, or" in (
        error_of(capsys)
    )


def test_a_folder_without_a_model_is_one_line(tmp_path, capsys):
    assert export(tmp_path, tmp_path / "a.pt2") == 2
    assert "got a folder without model.safetensors" in capsys.readouterr().out


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("task", ONNX_TASKS)
def test_an_onnx_model_is_the_model_in_the_eyes_of_deepness(model_dir, onnx_path, tmp_path, task):
    path = onnx_path
    if task != "segments":
        path = tmp_path / "roofs.onnx"
        assert export(model_dir, path, "onnx", f"--tile-px={TILE_PX}", f"--task={task}") == 0
    model, description = load_exported_model(model_dir)
    photo = _draw(1, TILE_PX, TILE_PX)
    with torch.inference_mode():
        expected = model.eval()(photo)[task].argmax(1)[0].numpy()
    found, names, _ = as_deepness_does(path, photo[0].permute(1, 2, 0).numpy())
    own_names = description["tasks"][task]["class_names"]
    assert names == ["background", *own_names[:-1]]
    # Numbers by the model's own order: background is its last class.
    assert ((found - 1) % len(names) == expected).mean() >= 0.9995
    assert len(np.unique(expected)) > 3


@needs_onnx
@pytest.mark.slow
def test_what_deepness_reads_in_an_onnx_model(model_dir, onnx_path):
    _, _, known = as_deepness_does(onnx_path, np.zeros((TILE_PX, TILE_PX, 3), np.uint8))
    values = {name: json.loads(text) for name, text in known.items() if "sha256" not in name}
    assert values.pop("class_names")["0"] == "background"
    assert values == {
        "model_type": "Segmentor",
        "resolution": 10.0,  # centimetres per pixel, of 0.1 m
        "tile_size": TILE_PX,
        "tiles_size": TILE_PX,
        "tiles_overlap": 50,  # the most, of so small tiles
        "standardization_mean": [0, 0, 0],
        "standardization_std": [1, 1, 1],
        "seg_thresh": 0,
        "seg_small_segment": 0,
    }
    text = onnx_path.read_bytes()
    assert b"onnx_program.py" not in text  # no lines of our code, and no folders of this machine
    assert str(model_dir).encode() not in text


@needs_onnx
@pytest.mark.slow
def test_an_onnx_model_that_says_something_else_is_not_written(
    model_dir, tmp_path, monkeypatch, capsys
):
    def turned(asked, photo):
        logits = asked.model(photo.flip(-1) * 255, (asked.name,))[asked.name]
        return logits.softmax(1).index_select(1, asked.order)

    monkeypatch.setattr("app.model.onnx_program._Asked.forward", turned)
    assert export(model_dir, tmp_path / "roofs.onnx", "onnx", f"--tile-px={TILE_PX}") == 2
    line = error_of(capsys)
    assert "the ONNX model says of segments something else than the model: the same class" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_package_that_onnx_needs_is_named(model_dir, tmp_path, monkeypatch, capsys, package):
    real = builtins.__import__

    def without(name, *rest):
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in ("onnx", "onnxruntime", "onnxscript"):  # which may not be there, either
            return ModuleType(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert export(model_dir, tmp_path / "a.onnx", "onnx") == 2
    line = error_of(capsys)
    assert "--onnx needs the packages onnx, onnxscript, onnxruntime, which are not all" in line
    assert f"(no module {package}); run: pip install onnx onnxscript onnxruntime" in line


@pytest.mark.parametrize("size", ["0", "32", "100", "4096", "-64", "half"])
def test_a_wrong_size_is_refused(model_dir, tmp_path, capsys, size):
    with pytest.raises(SystemExit) as ended:
        export(model_dir, tmp_path / "a.onnx", "onnx", f"--tile-px={size}")
    assert ended.value.code == 2
    assert f"expected a multiple of 32 from 64 to 2048, got '{size}'" in capsys.readouterr().err


@needs_onnx
def test_a_task_that_the_model_was_not_taught_is_one_line(tmp_path, capsys):
    with shallow_backbones():
        folder = write_model(tmp_path / "model")
        assert export(folder, tmp_path / "a.onnx", "onnx", "--task=superstructures") == 2
    assert "the model was not taught superstructures, expected one of segments" in error_of(capsys)


@needs_onnx
def test_an_onnx_file_that_cannot_be_written_is_one_line(model_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("app.model.onnx_program._convert", lambda *_: b"")
    monkeypatch.setattr("app.model.onnx_program._check", lambda *_: 1.0)
    (tmp_path / "file").touch()
    assert export(model_dir, tmp_path / "file/a.onnx", "onnx") == 2
    assert "file/a.onnx: cannot be written: Not a directory; give another --onnx, or" in (
        error_of(capsys)
    )


def test_words_that_write_nothing_are_refused(model_dir, tmp_path, capsys):
    assert main(["export", f"--model={model_dir}"]) == 2
    assert "got no file to write; give --torch FILE.pt2 or --onnx FILE.onnx" in error_of(capsys)
    assert export(model_dir, tmp_path / "a.pt2", "torch", "--tile-px=64") == 2
    assert "got --tile-px without --onnx, which alone reads it" in error_of(capsys)
    assert _ONNX_TASKS == ONNX_TASKS
