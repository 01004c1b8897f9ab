import logging
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import (
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnext50_32x4d,
    wide_resnet50_2,
)

from app.base.errors import CheckpointError
from app.model.backbone_weights import find_pretrained_weights, load_backbone_weights
from app.model.network import HybridRoofModel


@pytest.fixture(scope="module")
def weights():
    """Those of a ResNet50, none of them as a network has them before it is trained."""
    torch.manual_seed(5)
    return {
        name: value + torch.rand_like(value) if value.is_floating_point() else value
        for name, value in resnet50().state_dict().items()
    }


@pytest.fixture(scope="module")
def built():
    return HybridRoofModel(decoder_channels=32)


@pytest.fixture
def model(built):
    """Built once; each test gets it with a backbone of zeros."""
    for value in built.backbone.state_dict().values():
        value.zero_()
    return built


def named(prefix, values):
    return {prefix + name: value for name, value in values.items()}


def assert_loaded(model, weights):
    own = model.backbone.state_dict()
    assert len(own) == len(weights) - 2  # all but the classifier
    assert all(torch.equal(own[name], weights[name]) for name in own)


def refusal(model, path):
    """The error's text; the backbone must stay unchanged."""
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_backbone_weights(model, path)
    after = model.backbone.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    message = str(caught.value)
    assert message.startswith(f"backbone_weights: {path} ")
    assert "\n" not in message
    return message


def save(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "prefix",
    [
        "", "module.", "module.backbone.", "encoder.", "model.", "resnet.", "module.encoder_q.",
        "student.", "net.", "backbone.body.", "any.other.name.",
    ],
)  # fmt: skip
def test_weights_load_whatever_stands_before_their_names(tmp_path, model, weights, suffix, prefix):
    path = tmp_path / f"resnet50{suffix}"
    if suffix == ".pth":
        torch.save(named(prefix, weights), path)
    else:
        save_file(named(prefix, weights), path)
    assert load_backbone_weights(model, path) == len(weights) - 2
    assert_loaded(model, weights)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda values: {"state_dict": values},
        lambda values: {"epoch": 3, "model": values, "optimizer": {"state": {0: {"step": 1}}}},
        lambda values: {"teacher": named("backbone.", values), "args": ["x"]},
        lambda values: {"model": {"state_dict": named("module.", values)}},
        lambda values: {"state_dict": named("encoder.", values) | {"head.weight": torch.ones(2)}},
    ],
    ids=["state_dict", "model", "teacher", "two deep", "whole network"],
)
def test_weights_load_out_of_a_checkpoint(tmp_path, model, weights, wrap):
    load_backbone_weights(model, save(tmp_path, wrap(weights)))
    assert_loaded(model, weights)


def test_the_log_says_where_they_were_and_what_was_left(tmp_path, model, weights, caplog):
    caplog.set_level(logging.INFO)
    content = {**named("net.", weights), "head.weight": torch.ones(2), "head.bias": torch.ones(2)}
    path = save(tmp_path, {"state_dict": content})
    load_backbone_weights(model, path)
    assert (
        f"backbone weights: 318 of 318 tensors from {path} (under state_dict.net), 2 others in the "
        "file not used"
    ) in caplog.text


def test_old_files_have_no_counters_of_batches(tmp_path, model, weights):
    old = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    assert load_backbone_weights(model, save(tmp_path, old)) == len(old) - 2


def test_several_networks_in_a_file_are_not_chosen_from(tmp_path, model, weights):
    content = {**named("encoder_q.", weights), **named("encoder_k.", weights)}
    message = refusal(model, save(tmp_path, content))
    assert "holds 2 ResNets (encoder_q, encoder_k), and which one is meant is not clear" in message
    message = refusal(model, save(tmp_path, {"student": weights, "teacher": weights}))
    assert "(student, teacher)" in message
    message = refusal(model, save(tmp_path, weights | {"copy": weights}))
    assert "(the file's own names, copy)" in message


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (resnet18, "is a ResNet18 (2, 2, 2, 2 blocks of 2 convolutions), this network is a ResNet"),
        (resnet34, "is a ResNet34 (3, 4, 6, 3 blocks of 2 convolutions)"),
        # Every tensor that a ResNet50 has is in here, too, in its shape.
        (resnet101, "is a ResNet101 (3, 4, 23, 3 blocks of 3 convolutions)"),
        (wide_resnet50_2, "has blocks of another width (layer1.0.conv2.weight: shape (128, 128,"),
        (resnext50_32x4d, "has blocks of another width (layer1.0.conv2.weight: shape (128, 4, 3,"),
    ],
)
def test_another_resnet_is_named(tmp_path, model, build, says):
    assert says in refusal(model, save(tmp_path, build().state_dict()))


@pytest.mark.parametrize(
    ("num_bands", "says"),
    [
        (4, "has 4 input bands (RGB and infrared?), this network reads 3: red, green, blue; give"),
        (12, "has 12 input bands, this network reads 3"),
        (1, "has 1 input band, this network reads 3"),
    ],
)
def test_other_bands_are_named(tmp_path, model, weights, num_bands, says):
    content = {**weights, "conv1.weight": torch.zeros(64, num_bands, 7, 7)}
    assert says in refusal(model, save(tmp_path, content))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda w: {("conv1.0.weight" if k == "conv1.weight" else k): v for k, v in w.items()},
            "begins with several small convolutions (conv1.0.weight, as timm's resnet50d)",
        ),
        (
            lambda w: {**w, "layer1.0.se.fc1.weight": torch.zeros(1)},
            "of torchvision, layer1.0.se.fc1.weight: not in this network",
        ),
        (
            lambda w: {k: v for k, v in w.items() if k != "layer2.1.bn1.running_var"},
            "of torchvision, layer2.1.bn1.running_var: missing; give the state_dict",
        ),
        (
            lambda w: {**w, "bn1.weight": torch.zeros(32)},
            "of torchvision, bn1.weight: shape (32,), expected (64,); give",
        ),
        (
            lambda w: {**w, "bn1.bias": torch.full((64,), torch.nan)},
            "of torchvision, bn1.bias: not finite; give",
        ),
        (
            lambda w: {k: v for k, v in w.items() if not k.startswith("layer3.5.")},
            "is another ResNet (3, 4, 5, 3 blocks of 3 convolutions)",
        ),
    ],
    ids=["deep stem", "squeeze", "missing", "shape", "nan", "a block less"],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path, model, weights, change, says):
    assert says in refusal(model, save(tmp_path, change(weights)))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet.embedder.embedder.convolution.weight", "the names of Hugging Face's transformers"),
        ("stem.conv.weight", "the names of a timm network other than its resnet50"),
        ("encoder.4.0.conv1.weight", "numbers its layers, as nn.Sequential does; rename 0, 1, 4"),
        (
            "patch_embed.proj.weight",
            "holds no ResNet: none of its 1 tensors is called layer1",
        ),
        # The end of another word is no layer1.
        ("mylayer1.0.conv1.weight", "holds no ResNet: none of its 1 tensors"),
    ],
)
def test_other_names_are_explained(tmp_path, model, name, says):
    assert says in refusal(model, save(tmp_path, {name: torch.zeros(1)}))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "none of its 0 tensors is called layer1.0.conv1.weight (it begins with nothing)"),
        ([torch.zeros(1)], "holds a list, expected a dict of tensors; save model.state_dict()"),
    ],
)
def test_files_without_a_network(tmp_path, model, content, says):
    assert says in refusal(model, save(tmp_path, content))


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickled_code_is_not_run(tmp_path, model, capsys):
    assert "cannot be read" in refusal(model, save(tmp_path, {"x": Harmful()}))
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(Harmful()))
    assert "cannot be read" in refusal(model, tmp_path / "weights.pth")
    assert "executed" not in capsys.readouterr().out


def test_the_pretrained_channel_must_hold_one_file(tmp_path):
    with pytest.raises(CheckpointError, match="got none"):
        find_pretrained_weights(tmp_path)
    (tmp_path / "a.pth").touch()
    (tmp_path / "README.md").touch()
    (tmp_path / "._a.pth").touch()  # as archives of macOS hold
    assert find_pretrained_weights(tmp_path).name == "a.pth"
    (tmp_path / "a.pth").rename(tmp_path / "a.PTH")
    assert find_pretrained_weights(tmp_path).name == "a.PTH"
    (tmp_path / "a.PTH").rename(tmp_path / "a.pth")
    (tmp_path / "b.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"got a\.pth, b\.safetensors"):
        find_pretrained_weights(tmp_path)
