"""The self-test passes for the model that wrote it, and for no other."""

import json

import pytest
import torch

from app.base.errors import CheckpointError
from app.inference.self_test import ANSWER_FILE, PHOTO_FILE, run_self_test, write_self_test
from app.inference.trained import load_network
from app.model.devices import Compute
from tests.support.models import write_model

pytestmark = pytest.mark.usefixtures("shallow")

COMPUTE = Compute(torch.device("cpu"))


@pytest.fixture(scope="module")
def tested(module_path):
    """A model folder with its self-test, and its network."""
    folder = write_model(module_path / "model", sharpness=10)
    network = load_network(folder, 1, COMPUTE)
    write_self_test(folder, network.predictor, network.gsd_m)
    return folder, network


@pytest.fixture
def folder(tested, tmp_path):
    """The self-test of the folder, without the weights."""
    for name in (ANSWER_FILE, PHOTO_FILE):
        (tmp_path / name).write_bytes((tested[0] / name).read_bytes())
    return tmp_path


def run(folder, network):
    return run_self_test(folder, network.predictor, network.gsd_m, network.sha256)


def test_a_model_passes_its_own_in_every_precision(tested):
    folder, network = tested
    assert run(folder, network)
    assert run(folder, load_network(folder, 1, Compute(torch.device("cpu"), torch.bfloat16)))


def test_it_is_written_the_same_again(tested):
    folder, network = tested
    before = [(folder / name).read_bytes() for name in (ANSWER_FILE, PHOTO_FILE)]
    write_self_test(folder, network.predictor, network.gsd_m)
    assert [(folder / name).read_bytes() for name in (ANSWER_FILE, PHOTO_FILE)] == before


def test_other_weights_are_told_by_their_digest(tested, folder):
    _, network = tested
    with pytest.raises(CheckpointError, match=r"got the known answer of weights .*, expected that"):
        run(folder, network._replace(sha256="0" * 64))


@pytest.mark.parametrize(
    ("name", "off", "words"),
    [("segments", 0.2, "segments are off by 0.2"), ("depth", 2.0, "depth are off by 2")],
)
def test_another_answer_fails(tested, folder, name, off, words):
    document = json.loads((folder / ANSWER_FILE).read_text())
    document["means"][name][0][0][0] += off
    (folder / ANSWER_FILE).write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=f"the model fails its self-test: {words}") as got:
        run(folder, tested[1])
    assert "copy the model folder again" in str(got.value)


@pytest.mark.parametrize("has_answer", [True, False], ids=["known", "none"])
def test_weights_that_say_no_numbers_fail(tested, folder, has_answer):
    broken = load_network(tested[0], 1, COMPUTE)
    with torch.no_grad():
        next(broken.predictor.model.parameters()).fill_(float("nan"))
    if not has_answer:
        (folder / ANSWER_FILE).unlink()
    with pytest.raises(CheckpointError, match="the model fails its self-test: segments"):
        run(folder, broken)


def test_a_folder_of_an_older_version_is_asked_for_numbers(tested, folder):
    (folder / ANSWER_FILE).unlink()
    assert not run(folder, tested[1])


@pytest.mark.parametrize(
    ("name", "content"),
    [(ANSWER_FILE, b"{"), (ANSWER_FILE, b"{}"), (PHOTO_FILE, b""), (PHOTO_FILE, b"no photo")],
)
def test_an_answer_that_cannot_be_read_is_a_line(tested, folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match="got a known answer that cannot be read"):
        run(folder, tested[1])
