import copy
import logging

import pytest
import torch
from torch import nn

from app import compilation
from app.compilation import CompileTrial

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
        "torch_compile: the compiler failed (InvalidCxxCompiler: no working C++ compiler found): "
        "going on without it"
    ]


def test_a_lack_of_memory_is_not_the_compilers_fault():
    network = Network()
    trial = CompileTrial(network, "on", CUDA, 1, fail_with(torch.OutOfMemoryError("CUDA")))
    with pytest.raises(torch.OutOfMemoryError):
        network(torch.rand(2, 4))
    assert trial.is_compiled


def test_copies_are_not_compiled_with_it():
    network = Network()
    ema = copy.deepcopy(network)
    CompileTrial(network, "on", CPU, 1, compile_really)
    assert ema._compiled_call_impl is None
