"""code/ of a model folder: other servers say the same as ours, with its requirements alone."""

import asyncio
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
import types
import zipfile
from pathlib import Path

import pytest
from starlette.requests import Request

from app.roofs.adapters import write_code
from app.roofs.answers.answerer import load_answerer
from app.roofs.answers.question import read_question
from app.roofs.answers.refusal import Refusal
from tests.inference.test_predict import write_photo
from tests.support.models import write_model
from tests.support.paths import ROOT

HEADER = "X-Amzn-SageMaker-Custom-Attributes"
# As a server of AWS's calls the four functions, in a process that sees what is required alone.
ASK = """
import sys
sys.path[:0] = [{packages!r}, {code!r}]
import inference

class Context:
    def get_request_header(self, index, name):
        return {{"{header}": "layer=lines"}}.get(name)

model = inference.model_fn({model!r})
asked = inference.input_fn(open({photo!r}, "rb").read(), "image/tiff", Context())
content, content_type = inference.output_fn(inference.predict_fn(asked, model), "*/*")
assert content_type == "application/geo+json", content_type
import app
assert {archive!r} in app.__file__, app.__file__
sys.stdout.buffer.write(content)
"""


@pytest.fixture(scope="module")
def model_dir(module_path):
    folder = write_model(module_path / "model")
    write_code(folder)
    return folder


@pytest.fixture(scope="module")
def photo(module_path):
    return write_photo(module_path / "photo.tif")


@pytest.fixture(scope="module")
def expected(model_dir, photo):
    """What `serve` answers, by layer."""
    answerer = load_answerer(model_dir)
    content = photo.read_bytes()
    return {
        layer: answerer.answer(content, "image/tiff", read_question(None, f"layer={layer}")).content
        for layer in ("planes", "lines")
    }


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def inference():
    return load("inference", ROOT / "app/roofs/adapters/inference.py")


def test_the_four_functions_say_what_serve_says(inference, model_dir, photo, expected):
    model = inference.model_fn(str(model_dir))
    asked = inference.input_fn(photo.read_bytes(), "image/tiff")
    found = inference.predict_fn(asked, model)
    assert inference.output_fn(found, "application/geo+json") == (
        expected["planes"],
        "application/geo+json",
    )
    content, _ = inference.output_fn(found, "application/json")
    assert json.loads(content)["format"] == "roof-takeoff"
    with pytest.raises(Refusal, match="Accept: got image/png, expected application/geo"):
        inference.output_fn(found, "image/png")


def test_the_four_functions_refuse_what_serve_refuses(inference):
    with pytest.raises(Refusal, match="Content-Type: got 'text/csv'"):
        inference.input_fn(b"", "text/csv")


def test_aws_toolkit_is_told_the_status(inference, monkeypatch):
    class BaseInferenceToolkitError(Exception):
        def __init__(self, status_code, message, phrase):
            super().__init__(status_code, message, phrase)

    errors = types.ModuleType("sagemaker_inference.errors")
    errors.BaseInferenceToolkitError = BaseInferenceToolkitError
    monkeypatch.setitem(sys.modules, "sagemaker_inference", types.ModuleType("sagemaker_inference"))
    monkeypatch.setitem(sys.modules, "sagemaker_inference.errors", errors)
    with pytest.raises(BaseInferenceToolkitError) as got:
        inference.input_fn(b"", "text/csv")
    status, message, phrase = got.value.args
    assert (status, phrase) == (415, "Unsupported Media Type")
    assert message.startswith("Content-Type: got 'text/csv', expected one of image/tiff")


def test_code_is_written_the_same_again(model_dir, tmp_path):
    write_code(tmp_path)
    for path in (model_dir / "code").iterdir():
        assert (tmp_path / "code" / path.name).read_bytes() == path.read_bytes()
    with zipfile.ZipFile(model_dir / "code/roof_model.zip") as archive:
        names = archive.namelist()
        assert archive.read("app/roofs/found.py") == (ROOT / "app/roofs/found.py").read_bytes()
    assert not [name for name in names if not name.startswith("app/") or "__pycache__" in name]


def test_requirements_are_those_of_the_project(model_dir):
    lines = (model_dir / "code/requirements.txt").read_text().splitlines()
    required = [line for line in lines if not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert required == [line for line in project if line in required]
    assert len(required) == 13


def closure(names):
    """Distributions that these need, themselves among them."""
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub("[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for other systems, or an extra
        found.add(name)
        waiting += [re.match(r"[\w.-]+", line)[0] for line in requires if "extra ==" not in line]
    return found


def link_packages(folder, names):
    """A folder with what these distributions installed, and nothing else."""
    for name in names:
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or [] if ".." not in file.parts}
        for top in tops - {"__pycache__"}:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))


@pytest.mark.slow
def test_it_runs_with_its_requirements_alone(model_dir, photo, expected, tmp_path):
    lines = (model_dir / "code/requirements.txt").read_text().splitlines()
    names = [re.match(r"[\w-]+", line)[0] for line in lines if not line.startswith("#")]
    link_packages(tmp_path, closure(names))
    script = ASK.format(
        packages=str(tmp_path),
        code=str(model_dir / "code"),
        header=HEADER,
        model=str(model_dir),
        photo=str(photo),
        archive="roof_model.zip",
    )
    # -I and -S: neither the environment, nor the folder, nor site-packages.
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        capture_output=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout == expected["lines"]


def load_ray_serve(monkeypatch, model_dir):
    """The deployment's class, without Ray: its decorator passes classes through."""
    bound = []

    def deployment(**options):
        assert options == {"max_ongoing_requests": 1, "max_queued_requests": 16}

        def decorate(cls):
            cls.bind = classmethod(lambda _, *arguments: bound.append(arguments))
            return cls

        return decorate

    ray = types.ModuleType("ray")
    ray.serve = types.ModuleType("ray.serve")
    ray.serve.deployment = deployment
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.serve", ray.serve)
    module = load("ray_serve", model_dir / "code/ray_serve.py")
    return module.Roofs, bound


def ask_ray(roofs, content, **headers):
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(key.replace("_", "-").lower().encode(), value.encode())
                    for key, value in headers.items()],
    }  # fmt: skip

    async def receive():
        return {"type": "http.request", "body": content, "more_body": False}

    return asyncio.run(roofs(Request(scope, receive)))


def test_ray_serve_says_what_serve_says(monkeypatch, model_dir, photo, expected):
    cls, bound = load_ray_serve(monkeypatch, model_dir)
    assert bound == [(str(model_dir),)]
    roofs = cls(str(model_dir))
    reply = ask_ray(roofs, photo.read_bytes(), content_type="image/tiff", **{HEADER: "layer=lines"})
    assert (reply.status_code, reply.media_type) == (200, "application/geo+json")
    assert reply.body == expected["lines"]
    refused = ask_ray(roofs, b"no photo", content_type="image/tiff")
    assert refused.status_code == 400
    assert refused.body.startswith(b"body: got bytes that are no TIFF, PNG or JPEG, expected")
