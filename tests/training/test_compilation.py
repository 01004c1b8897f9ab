import copy
import logging

import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from app.model.network import HybridRoofModel
from app.training import compilation
from app.training.compilation import CompileTrial
from tests.training.test_gradient_equality import assert_alike

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NUM_STEPS = compilation.NUM_WARM_UP_STEPS + compilation.NUM_TIMED_STEPS


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
    trial = CompileTrial(network, "on", CPU, 1, compile_really)
    assert trial.is_compiled
    got = network(x)["a"]
    got.sum().backward()
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(network.layer.weight.grad, gradient)
    assert trial.is_compiled
    assert list(network.state_dict()) == names


def test_the_compiler_is_really_asked():
    made = []

    def compile_call(function):
        made.append(count_calls(function))
        return made[-1]

    network = Network()
    CompileTrial(network, "on", CPU, 1, compile_call)
    network(torch.rand(1, 4), ("a", "b"))
    network(torch.rand(1, 4))
    assert [call.number for call in made] == [2]


@pytest.mark.parametrize(("choice", "device"), [("off", CUDA), ("auto", CPU)])
def test_where_nothing_is_compiled(choice, device):
    network = Network()
    trial = CompileTrial(network, choice, device, 10**6, compile_really)
    for _ in range(3 * NUM_STEPS):
        trial.see_step(1.0)
    assert not trial.is_compiled


@pytest.mark.parametrize(("compiled_s", "kept"), [(0.5, True), (0.99, False), (2.0, False)])
def test_a_trial_keeps_what_is_faster(compiled_s, kept, caplog):
    caplog.set_level(logging.INFO)
    network = Network()
    trial = CompileTrial(network, "auto", CUDA, 10**6, lambda function: function)
    for step in range(NUM_STEPS):
        assert not trial.is_compiled
        trial.see_step(9.0 if step < compilation.NUM_WARM_UP_STEPS else 1.0)
    for step in range(NUM_STEPS):
        assert trial.is_compiled
        trial.see_step(60.0 if step < compilation.NUM_WARM_UP_STEPS else compiled_s)
    assert trial.is_compiled is kept
    trial.see_step(1.0)
    [line] = [record.message for record in caplog.records]
    state = "on" if kept else "off"
    expected = f"{state}, since a step takes {1000 * compiled_s:.0f} ms compiled and 1000 ms as it"
    assert expected in line


def test_a_short_run_is_not_worth_a_trial(caplog):
    caplog.set_level(logging.INFO)
    trial = CompileTrial(Network(), "auto", CUDA, 499, lambda function: function)
    for _ in range(NUM_STEPS):
        trial.see_step(1.0)
    assert not trial.is_compiled
    assert "off, since 499 steps are too few" in caplog.text


def test_a_compiler_that_fails_costs_a_warning(caplog):
    problem = "InvalidCxxCompiler: no working C++ compiler found\nlong story"

    network = Network()
    x = torch.rand(2, 4)
    expected = network(x)["a"]
    trial = CompileTrial(network, "auto", CUDA, 10**6, fail_with(RuntimeError(problem)))
    for _ in range(NUM_STEPS):
        trial.see_step(1.0)
    assert torch.equal(network(x)["a"], expected)
    trial.see_step(1.0)
    assert not trial.is_compiled
    assert torch.equal(network(x)["a"], expected)
    assert [record.message for record in caplog.records] == [
        "torch_compile: the compiler failed (RuntimeError: InvalidCxxCompiler: no working C++ "
        "compiler found): going on without it"
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
    trial = CompileTrial(network, "on", CPU, 1, compile_forward_only)
    network(x)["a"].sum().backward()
    assert not trial.is_compiled
    assert torch.equal(network.layer.weight.grad, expected)
    # Dynamo's own text begins with the name of the backend.
    ours = [
        record.message for record in caplog.records if record.name == "app.training.compilation"
    ]
    assert ours == [
        "torch_compile: the compiler failed (RuntimeError: no kernel for this gradient): going on "
        "without it"
    ]


def test_the_network_compiles_whole_and_counts_every_batch_once():
    """With what checkpointing computes twice, and with the tasks given as training gives them."""
    plain = HybridRoofModel(checkpoint_activations=True).train()
    compiled = copy.deepcopy(plain)
    trial = CompileTrial(
        compiled,
        "on",
        CPU,
        1,
        lambda call: torch.compile(call, backend="aot_eager", fullgraph=True),
    )
    image = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    for network in (plain, compiled):
        logits = network(image, {"segments": 1.0, "lines": 0.5})
        sum(values.square().mean() for values in logits.values()).backward()
    assert trial.is_compiled
    assert compiled.backbone.layer1[0].bn1.num_batches_tracked == 1
    torch.testing.assert_close(dict(compiled.named_buffers()), dict(plain.named_buffers()))
    gradients = [
        {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        for network in (compiled, plain)
    ]
    assert_alike(*gradients, limit=1e-4)


def test_a_lack_of_memory_is_not_the_compilers_fault():
    network = Network()
    trial = CompileTrial(network, "on", CUDA, 1, fail_with(torch.OutOfMemoryError("CUDA")))
    with pytest.raises(torch.OutOfMemoryError):
        network(torch.rand(2, 4))
    assert trial.is_compiled


def test_copies_are_not_compiled_with_it():
    network = Network()
    CompileTrial(network, "on", CPU, 1, fail_with(RuntimeError("called")))
    ema = copy.deepcopy(network)
    assert ema._compiled_call_impl is None
