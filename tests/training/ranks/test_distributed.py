"""One process without others, and two real ones that meet over gloo."""

import signal

import pytest
import torch
from torch import nn

from app.base.errors import CommunicationError, ConfigError, PeerLostError
from app.model.devices import local_rank
from app.training.ranks import distributed
from app.training.ranks.distributed import joined_ranks
from tests.support.ranks import ask_two_ranks, run_two_ranks

CPU = torch.device("cpu")
ALL_CALLS = """
import json
import torch
from torch import nn
from app.model.devices import local_rank
from app.training.ranks import distributed as d
from app.job.signals import end_rank

found = {}
with d.joined_ranks(torch.device("cpu")):
    rank = d.rank()
    found["place"] = [rank, d.world_size(), local_rank()]
    # The sum has more digits than a float64.
    found["sums"] = d.all_reduce_sum(torch.tensor([2**53 + rank, -3])).tolist()
    found["is_any"] = [d.is_any(value) for value in (False, rank == 0, rank == 1, True)]
    long = {"names": ["\\u00fc" * 1000, None], "rank": rank}
    found["gathered"] = [
        d.gather_json(value) for value in ((0, long)[rank], (long, 0)[rank], ("", [])[rank])
    ]
    contents = (bytes(range(256)), b"the second one's is not sent")
    found["content"] = d.broadcast_bytes(contents[rank]).hex()
    found["no content"] = d.broadcast_bytes((b"", b"not sent")[rank]).hex()

    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 5.0 + rank)  # they begin with the first one's
    wrapped = d.wrap_model(layer, torch.device("cpu"))
    wrapped(torch.tensor([[1.0 + 2 * rank]])).sum().backward()
    found["weight"] = layer.weight.item()
    found["gradient"] = layer.weight.grad.item()
found["place afterwards"] = [d.rank(), d.world_size()]
print(json.dumps(found))
end_rank(0)
"""
ONE_IS_KILLED = """
import os, signal, sys
import torch
from app.base.errors import PeerLostError
from app.training.ranks import distributed as d

try:
    with d.joined_ranks(torch.device("cpu")):
        if d.rank() == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            d.is_any(True)
except PeerLostError as error:
    print(error, flush=True)
    os._exit(0)
"""
# As gloo, NCCL and the store word it.
CLOSED = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [::1]:2"
)
RESET = "[../gloo/transport/tcp/pair.cc:534] Read error [127.0.0.1]:26: Connection reset by peer"
SILENT = (
    "[../gloo/transport/tcp/unbound_buffer.cc:84] Timed out waiting 1800000ms for recv operation"
)
REMOTE = (
    "NCCL error in: ProcessGroupNCCL.cpp:3690, remote process exited or there was a network error"
)
SHM_FULL = (
    "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled system error, Error while creating shared "
    "memory segment /dev/shm/nccl-yXZv6P (size 9637888), error: No space left on device (28)"
)
OWN = "NCCL error in: ProcessGroupNCCL.cpp:94, unhandled cuda error (run with NCCL_DEBUG=INFO)"


@pytest.fixture(scope="module")
def found():
    """What each of two ranks found in ALL_CALLS."""
    return ask_two_ranks(ALL_CALLS)


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)


@pytest.mark.usefixtures("alone")
class TestOneProcess:
    @pytest.mark.parametrize("world_size", [None, "1"])
    def test_it_meets_nobody(self, monkeypatch, world_size):
        if world_size:
            monkeypatch.setenv("WORLD_SIZE", world_size)
        with joined_ranks(CPU):
            assert not torch.distributed.is_initialized()
            assert distributed.rank() == 0
            assert distributed.world_size() == 1
            assert local_rank() == 0

    def test_its_values_are_those_of_all(self):
        assert distributed.all_reduce_sum(torch.tensor([1, 2])).tolist() == [1, 2]
        assert [distributed.is_any(value) for value in (True, False)] == [True, False]
        assert distributed.gather_json({"a": 1}) == [{"a": 1}]
        assert distributed.broadcast_bytes(b"abc") == b"abc"
        layer = nn.Linear(1, 1)
        assert distributed.wrap_model(layer, CPU) is layer


@pytest.mark.parametrize(
    ("error", "when_it_worked", "before"),
    [
        (RuntimeError(CLOSED), PeerLostError, PeerLostError),
        (RuntimeError(RESET), PeerLostError, PeerLostError),
        (torch.distributed.DistBackendError(REMOTE), PeerLostError, PeerLostError),
        # It may hang; or never have come.
        (RuntimeError(SILENT), PeerLostError, CommunicationError),
        (torch.distributed.DistStoreError("wait timeout after 9ms"),
         PeerLostError, CommunicationError),
        # Nobody is gone: this process itself cannot.
        (torch.distributed.DistBackendError(OWN), CommunicationError, CommunicationError),
        (RuntimeError("[enforce fail at gloo] Unable to find address for: nosuch0"),
         CommunicationError, CommunicationError),
        # The machine's, and our own.
        (torch.distributed.DistBackendError(SHM_FULL), None, None),
        (RuntimeError("The size of tensor a must match"), None, None),
    ],
    ids=["closed", "reset", "remote", "silent", "store", "own", "interface", "shm", "ours"],
)  # fmt: skip
def test_what_an_error_says_of_other_ranks(error, when_it_worked, before):
    for has_worked, expected in ((True, when_it_worked), (False, before)):
        named = distributed.name_failure(error, has_worked=has_worked)
        assert type(named) is (expected or type(None))
        if named is not None:
            assert str(error) in str(named)


def test_an_interface_that_is_not_there_is_the_users(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nosuch0")
    with (
        pytest.raises(ConfigError, match=r"^GLOO_SOCKET_IFNAME=nosuch0: no such"),
        joined_ranks(CPU),
    ):
        raise AssertionError("they cannot have met")


@pytest.mark.slow
class TestTwoProcesses:
    def test_places(self, found):
        assert [rank["place"] for rank in found] == [[0, 2, 0], [1, 2, 1]]
        assert [rank["place afterwards"] for rank in found] == [[0, 1], [0, 1]]

    def test_sums_are_exact(self, found):
        assert [rank["sums"] for rank in found] == [[18014398509481985, -6]] * 2

    def test_any_rank_is_enough(self, found):
        assert [rank["is_any"] for rank in found] == [[False, True, True, True]] * 2

    def test_json_of_any_lengths_comes_by_rank(self, found):
        long = [{"names": ["ü" * 1000, None], "rank": rank} for rank in (0, 1)]
        expected = [[0, long[1]], [long[0], 0], ["", []]]
        assert [rank["gathered"] for rank in found] == [expected] * 2

    def test_the_first_ranks_content_counts(self, found):
        assert [rank["content"] for rank in found] == [bytes(range(256)).hex()] * 2
        assert [rank["no content"] for rank in found] == ["", ""]

    def test_gradients_become_the_mean(self, found):
        # The gradients by the weight are the inputs, 1 and 3.
        assert [rank["weight"] for rank in found] == [5.0, 5.0]
        assert [rank["gradient"] for rank in found] == [2.0, 2.0]

    @pytest.mark.parametrize("killed", [0, 1])
    def test_the_other_one_learns_that_a_rank_was_killed(self, killed):
        exit_codes, outputs = run_two_ranks(ONE_IS_KILLED, str(killed))
        assert exit_codes[killed] == -signal.SIGKILL
        assert exit_codes[1 - killed] == 0
        assert outputs[1 - killed].startswith("another training process seems to be gone: ")
