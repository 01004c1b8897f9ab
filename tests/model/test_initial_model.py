"""A model to start from: what is refused, and what its heads say for other classes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.base.errors import CheckpointError
from app.base.tasks import build_tasks, find_task
from app.model import initial_model
from app.model.class_shares import share_classes
from app.model.export import describe_model, export_model
from app.model.initial_model import (
    InitialModel,
    choose_start,
    map_classifier,
    read_initial_model,
)
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters
from tests.support.initial import all_classes

pytestmark = pytest.mark.usefixtures("shallow")

WIDTH = 32


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """The decoder of this program is as narrow as that of these tests' models."""
    monkeypatch.setattr(initial_model, "DECODER_CHANNELS", WIDTH)


@pytest.fixture(scope="module")
def exported(module_path):
    """The folder of a model of 16 directions."""
    folder = module_path / "exported"
    export(folder, HybridRoofModel(decoder_channels=WIDTH))
    return folder


def export(folder, model):
    export_model(folder, model, describe_model(model, Hyperparameters(), all_classes(model.tasks)))


def initial_of(azimuth_bins=16, *, superstructures=False, trained=None):
    tasks = build_tasks(azimuth_bins, superstructures=superstructures)
    model = HybridRoofModel(tasks, decoder_channels=WIDTH)
    classes = all_classes(tasks) if trained is None else trained
    description = describe_model(model, Hyperparameters(), classes)
    return InitialModel("folder", "0", model, description)


def test_a_model_is_read_with_the_sum_of_its_weights(exported, tmp_path):
    found = read_initial_model(exported, tmp_path)
    assert len(found.sha256) == 64
    assert found.trained_classes("lines") == {"eave", "ridge", "hip", "valley"}
    assert found.model.tasks == build_tasks()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format_version": 1}, r"its format_version is 1, expected \d; use the version of roof"),
        ({"architecture": {"azimuth_bins": 5}}, r"azimuth_bins is 5, expected one of 16, 8, 4, 1"),
        ({"tasks": {"lines": {}}}, r"cannot be loaded: .*; copy model\.safetensors and model\."),
        (
            {"architecture": {"azimuth_bins": 8, "superstructures": False}},
            r"model\.json names the classes of segments N, NNE, .* but its architecture has N, NE,",
        ),
    ],
)
def test_another_format_or_list_of_tasks_says_what_differs(exported, tmp_path, changes, says):
    description = json.loads((exported / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**description, **changes}))
    (tmp_path / "model.safetensors").symlink_to(exported / "model.safetensors")
    with pytest.raises(CheckpointError, match=says) as caught:
        read_initial_model(tmp_path, tmp_path)
    assert str(caught.value).startswith(f"initial_model: the model in {tmp_path} cannot be loaded")
    assert "\n" not in str(caught.value)


def test_a_decoder_of_another_width(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(initial_model, "DECODER_CHANNELS", 128)
    with pytest.raises(
        CheckpointError,
        match=r"^initial_model: the decoder of \S+ is 32 channels wide, this program trains one of "
        r"128; start from a model",
    ):
        read_initial_model(exported, tmp_path)


def test_weights_that_are_no_numbers(exported, tmp_path):
    tensors = load_file(exported / "model.safetensors")
    tensors["heads.depth.bias"][0] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "model.json").write_bytes((exported / "model.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"are not finite: heads\.depth\.bias; start from a"):
        read_initial_model(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [("x" * 5000, "cannot be read: File name too long; "), ("a\0b", r"a\\x00b is not there; ")],
)
def test_a_name_that_no_file_can_have(tmp_path, name, says):
    with pytest.raises(CheckpointError, match=f"^initial_model: .*{says}give a model") as caught:
        read_initial_model(tmp_path / name, tmp_path)
    assert len(str(caught.value)) < 1000


def test_a_pickle_is_never_opened(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        read_initial_model(tmp_path, tmp_path)


def probabilities(weight, bias, features):
    return (features @ weight.flatten(1).T + bias).double().softmax(dim=1)


@pytest.mark.parametrize("new_bins", [4, 8, 16])
def test_roof_that_is_split_keeps_its_probability_exactly(new_bins):
    """Each direction and flat have a part of one old class, roof."""
    old, new = (find_task("segments", build_tasks(bins)) for bins in (1, new_bins))
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 6, 1, 1, generator=generator)
    bias, features = torch.randn(2, generator=generator), torch.randn(50, 6, generator=generator)
    before = probabilities(weight, bias, features)
    after = probabilities(*map_classifier(weight, bias, old, new), features)
    expected = before @ torch.from_numpy(share_classes(old, new)).T
    assert torch.allclose(after, expected, atol=1e-6)


@pytest.mark.parametrize(("old_bins", "new_bins"), [(16, 8), (16, 4), (16, 1), (8, 4), (8, 16)])
def test_classes_that_are_merged_touch_the_sum_of_probabilities(old_bins, new_bins):
    """Where features are 0, logits are biases; elsewhere the tangent lies below."""
    old, new = (find_task("segments", build_tasks(bins)) for bins in (old_bins, new_bins))
    bias = HybridRoofModel((old,), WIDTH).heads["segments"].bias.detach()  # the priors
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(old.num_classes, 6, 1, 1, generator=generator)
    features = torch.randn(50, 6, generator=generator)
    features[0] = 0
    shares = torch.from_numpy(share_classes(old, new))
    logits = (features @ weight.flatten(1).T + bias).double()
    exact = (shares @ logits.exp().T).T.log()
    mapped_weight, mapped_bias = map_classifier(weight, bias, old, new)
    mapped = features @ mapped_weight.flatten(1).T + mapped_bias
    assert torch.allclose(mapped[0].double(), exact[0], atol=1e-5)
    assert bool((mapped <= exact + 1e-4).all())
    background = new.background_class
    assert torch.allclose(mapped[:, background].double(), exact[:, background], atol=1e-4)


def test_a_line_that_the_model_does_not_know_begins_at_its_prior():
    old = find_task("lines")
    new = initial_model.Task(
        "lines", "multilabel", (*old.class_names, "rake"), (*old.colours, (0, 0, 0)), 2
    )
    weight, bias = torch.randn(4, 6, 1, 1), torch.randn(4)
    mapped_weight, mapped_bias = map_classifier(weight, bias, old, new)
    assert torch.equal(mapped_weight[:4], weight)
    assert torch.equal(mapped_bias[:4], bias)
    assert not mapped_weight[4].any()
    assert mapped_bias[4].sigmoid().item() == pytest.approx(0.02)


def test_equal_classes_are_copied_to_the_last_bit_and_new_tasks_begin_afresh():
    initial = initial_of()
    tasks = build_tasks(superstructures=True)
    start = choose_start(initial, tasks, all_classes(tasks))
    assert start.copied == ("segments", "lines", "depth")
    assert start.fresh == ("superstructures",)
    assert start.known == {"backbone", "pyramid", "segments", "lines", "depth"}
    model = HybridRoofModel(tasks, WIDTH)
    fresh = {k: v.clone() for k, v in model.heads["superstructures"].state_dict().items()}
    model.load_state_dict(start.tensors, strict=False)
    image = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        said, expected = (one.eval()(image, start.copied) for one in (model, initial.model))
    assert all(torch.equal(said[name], expected[name]) for name in start.copied)
    left = model.heads["superstructures"].state_dict()
    assert all(torch.equal(left[name], value) for name, value in fresh.items())


def test_heads_that_were_not_taught_what_is_to_be_taught_are_not_known():
    lines = ("eave", "ridge", "hip")  # Roofline draws no valleys
    initial = initial_of(trained={"segments": find_task("segments").class_names, "lines": lines})
    taught = all_classes(build_tasks())
    start = choose_start(initial, build_tasks(), taught)
    assert start.copied == ("segments", "lines")
    assert start.fresh == ("depth",)  # the model has a head for it, at its first weights
    assert start.known == {"backbone", "pyramid", "segments"}
    start = choose_start(initial, build_tasks(8), {**taught, "lines": lines})
    assert (start.copied, start.mapped) == (("lines",), ("segments",))
    assert start.known == {"backbone", "pyramid", "lines", "segments"}
    assert start.describe() == (
        "backbone and decoder; the heads of lines; brought to other classes, segments; not taken, "
        "and new, depth"
    )
