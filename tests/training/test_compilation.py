import copy

import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from app.model.network import HybridRoofModel
from app.training.compilation import compile_network
from tests.support.models import shallow_backbones
from tests.training.test_gradient_equality import assert_alike


def is_compiled(network):
    return network._compiled_call_impl is not None


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x, names=None):
        out = self.layer(x).relu()
        return dict.fromkeys(names or ("a",), out)


def count_calls(function):
    def call(*args, **kwargs):
        call.number += 1
        return function(*args, **kwargs)

    call.number = 0
    return call


def fail_with(error):
    def fail(*_, **__):
        raise error

    return lambda _: fail


def compile_really(function):
    return torch.compile(function, backend="aot_eager")


def test_a_compiled_network_computes_the_same_under_the_same_names():
    network = Network()
    names, x = list(network.state_dict()), torch.rand(3, 4)
    expected = network(x)["a"]
    expected.sum().backward()
    gradient = network.layer.weight.grad.clone()
    network.zero_grad()
    compile_network(network, compile_really)
    assert is_compiled(network)
    got = network(x)["a"]
    got.sum().backward()
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(network.layer.weight.grad, gradient)
    assert is_compiled(network)
    assert list(network.state_dict()) == names


def test_the_compiler_is_really_asked():
    made = []

    def compile_call(function):
        made.append(count_calls(function))
        return made[-1]

    network = Network()
    compile_network(network, compile_call)
    network(torch.rand(1, 4), ("a", "b"))
    network(torch.rand(1, 4))
    assert [call.number for call in made] == [2]


def test_a_compiler_that_fails_costs_a_warning(caplog):
    problem = "InvalidCxxCompiler: no working C++ compiler found\nlong story"

    network = Network()
    x = torch.rand(2, 4)
    expected = network(x)["a"]
    compile_network(network, fail_with(RuntimeError(problem)))
    assert is_compiled(network)
    assert torch.equal(network(x)["a"], expected)
    assert not is_compiled(network)
    assert torch.equal(network(x)["a"], expected)
    assert [record.message for record in caplog.records] == [
        "torch_compile: the compiler failed (RuntimeError: InvalidCxxCompiler: no working C++ "
        "compiler found): continuing without it"
    ]


def compile_forward_only(function):
    def fail(_graph, _inputs):
        raise RuntimeError("no kernel for this gradient")

    backend = aot_autograd(fw_compiler=lambda graph, _inputs: graph, bw_compiler=fail)
    return torch.compile(function, backend=backend)


def test_a_backward_pass_that_cannot_be_compiled_is_found_before_it_runs(caplog):
    network = Network()
    x = torch.rand(3, 4)
    network(x)["a"].sum().backward()
    expected = network.layer.weight.grad.clone()
    network.zero_grad()
    compile_network(network, compile_forward_only)
    network(x)["a"].sum().backward()
    assert not is_compiled(network)
    assert torch.equal(network.layer.weight.grad, expected)
    # Dynamo's own text begins with the name of the backend.
    ours = [
        record.message for record in caplog.records if record.name == "app.training.compilation"
    ]
    assert ours == [
        "torch_compile: the compiler failed (RuntimeError: no kernel for this gradient): "
        "continuing without it"
    ]


def test_the_network_compiles_whole_and_counts_every_batch_once():
    """With what checkpointing computes twice, and with the tasks given as training gives them."""
    with shallow_backbones():  # the compiler sees every kind of part
        plain = HybridRoofModel(checkpoint_activations=True).train()
    compiled = copy.deepcopy(plain)
    compile_network(compiled, lambda call: torch.compile(call, backend="aot_eager", fullgraph=True))
    image = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    for network in (plain, compiled):
        logits = network(image, {"segments": 1.0, "lines": 0.5})
        sum(values.square().mean() for values in logits.values()).backward()
    assert is_compiled(compiled)
    assert compiled.backbone.layer1[0].bn1.num_batches_tracked == 1
    torch.testing.assert_close(dict(compiled.named_buffers()), dict(plain.named_buffers()))
    gradients = [
        {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        for network in (compiled, plain)
    ]
    assert_alike(*gradients, limit=1e-4)


def test_a_lack_of_memory_is_not_the_compilers_fault():
    network = Network()
    compile_network(network, fail_with(torch.OutOfMemoryError("CUDA")))
    with pytest.raises(torch.OutOfMemoryError):
        network(torch.rand(2, 4))
    assert is_compiled(network)


def test_copies_are_not_compiled_with_it():
    network = Network()
    compile_network(network, fail_with(RuntimeError("called")))
    ema = copy.deepcopy(network)
    assert ema._compiled_call_impl is None
