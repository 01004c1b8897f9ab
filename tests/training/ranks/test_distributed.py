"""One process without others, two of which one is killed, and the errors of those that meet."""

import signal

import pytest
import torch
from torch import nn

from app.base.errors import CommunicationError, ConfigError, PeerLostError
from app.model.devices import local_rank
from app.training.ranks import distributed
from app.training.ranks.distributed import joined_ranks
from tests.support.ranks import run_two_ranks

CPU = torch.device("cpu")
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
@pytest.mark.parametrize("killed", [0, 1])
def test_the_other_one_learns_that_a_rank_was_killed(killed):
    exit_codes, outputs = run_two_ranks(ONE_IS_KILLED, str(killed))
    assert exit_codes[killed] == -signal.SIGKILL
    assert exit_codes[1 - killed] == 0
    assert outputs[1 - killed].startswith("another training process seems to be gone: ")
