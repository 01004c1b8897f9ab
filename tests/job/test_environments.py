import logging
import os
import socket
from types import SimpleNamespace

import pytest

from app.base.errors import ConfigError
from app.job import environments as cluster
from app.job.environments import build_environments, check_interfaces, choose_num_processes
from app.job.inputs import Hosts
from app.resources.gpus import Gpus

TWO_GPUS = Gpus(names=("A", "A"), memory_gib=(16.0, 16.0))
VARIABLES = (
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "OMP_NUM_THREADS",
    "GLOO_SOCKET_IFNAME",
    "NCCL_SOCKET_IFNAME",
)


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cluster, "num_cores", lambda: 8)


@pytest.mark.parametrize(
    ("asked", "device", "gpus", "num_processes"),
    [
        (None, "auto", TWO_GPUS, 2),
        (None, "cuda", TWO_GPUS, 2),
        (None, "cpu", TWO_GPUS, 1),
        (None, "auto", Gpus(), 1),
        (1, "auto", TWO_GPUS, 1),
        (2, "auto", TWO_GPUS, 2),
        (3, "cpu", TWO_GPUS, 3),
        (3, "auto", Gpus(), 3),
        (None, "auto", Gpus(problem="Unknown Error"), 1),
    ],
)
def test_number_of_processes(asked, device, gpus, num_processes):
    assert choose_num_processes(asked, device, gpus) == num_processes


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_more_processes_than_gpus(device):
    with pytest.raises(
        ConfigError,
        match=r"^processes_per_host=3, but this host has 2 GPUs; lower it, or leave it out for one "
        r"process per GPU$",
    ):
        choose_num_processes(3, device, TWO_GPUS)


class TestBuildEnvironments:
    def test_one_process(self):
        assert build_environments(Hosts(), 1) == [
            {
                "WORLD_SIZE": "1",
                "LOCAL_WORLD_SIZE": "1",
                "RANK": "0",
                "LOCAL_RANK": "0",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": "7777",
                "OMP_NUM_THREADS": "8",
                "GLOO_SOCKET_IFNAME": "lo",
            }
        ]

    def test_several_processes_of_one_host_meet_at_a_free_port(self):
        environments = build_environments(Hosts(("algo-1",), "algo-1", "eth0"), 3)
        assert [env["RANK"] for env in environments] == ["0", "1", "2"]
        assert [env["LOCAL_RANK"] for env in environments] == ["0", "1", "2"]
        assert {env["WORLD_SIZE"] for env in environments} == {"3"}
        assert {env["LOCAL_WORLD_SIZE"] for env in environments} == {"3"}
        assert {env["MASTER_ADDR"] for env in environments} == {"127.0.0.1"}
        assert {env["GLOO_SOCKET_IFNAME"] for env in environments} == {"lo"}
        assert {env["OMP_NUM_THREADS"] for env in environments} == {"2"}  # 8 cores // 3
        [port] = {env["MASTER_PORT"] for env in environments}
        socket.create_server(("127.0.0.1", int(port))).close()

    def test_several_hosts(self):
        hosts = Hosts(("algo-1", "algo-2", "algo-3"), "algo-2", "lo")
        common = {
            "WORLD_SIZE": "6",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "algo-1",
            "MASTER_PORT": "7777",
            "OMP_NUM_THREADS": "4",
            "GLOO_SOCKET_IFNAME": "lo",
            "NCCL_SOCKET_IFNAME": "lo",
        }
        assert build_environments(hosts, 2) == [
            {**common, "RANK": "2", "LOCAL_RANK": "0"},
            {**common, "RANK": "3", "LOCAL_RANK": "1"},
        ]

    def test_more_processes_than_cores_have_a_thread_each(self):
        assert {env["OMP_NUM_THREADS"] for env in build_environments(Hosts(), 9)} == {"1"}

    def test_what_a_person_has_set_stays(self, monkeypatch):
        # A rank that is wrong would hang the job; the rest a person may know better.
        for name in VARIABLES:
            monkeypatch.setenv(name, "99")
        assert build_environments(Hosts(), 1) == [
            {"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
        ]
        assert os.environ["MASTER_PORT"] == "99"

    def test_an_interface_that_is_not_there(self, caplog):
        hosts = Hosts(("127.0.0.1", "localhost"), "localhost", "eth9")
        with caplog.at_level(logging.WARNING, logger="app.job.environments"):
            [environment] = build_environments(hosts, 1)
        assert environment["GLOO_SOCKET_IFNAME"] == environment["NCCL_SOCKET_IFNAME"] == "lo"
        [record] = caplog.records
        message = record.getMessage()
        assert message.startswith(
            "resourceconfig.json names the network interface eth9, but there are "
        )
        assert message.endswith("; using lo, which leads to the other hosts")

    def test_no_interface_at_all(self, caplog):
        # Nobody can say which one, so torch decides.
        hosts = Hosts(("a", "host.invalid"), "host.invalid")
        with caplog.at_level(logging.WARNING, logger="app.job.environments"):
            [environment] = build_environments(hosts, 1)
        assert "GLOO_SOCKET_IFNAME" not in environment
        assert "NCCL_SOCKET_IFNAME" not in environment
        [record] = caplog.records
        message = record.getMessage()
        assert message.startswith(
            "resourceconfig.json names the network interface None, but there are "
        )
        assert message.endswith("; using what torch chooses")


@pytest.mark.parametrize(
    ("gloo", "nccl", "problem"),
    [
        ("", "", None),
        ("lo", "lo", None),
        ("lo,eth7", "", "GLOO_SOCKET_IFNAME=lo,eth7"),
        ("l", "l", "GLOO_SOCKET_IFNAME=l"),  # only NCCL takes the beginning of a name
        ("", "=l", "NCCL_SOCKET_IFNAME==l"),
        ("", "eth7,lo", None),  # one of them is enough for NCCL
        ("", "^docker0", None),
        ("bare0", "ib", "GLOO_SOCKET_IFNAME=bare0 and NCCL_SOCKET_IFNAME=ib"),
    ],
)
def test_interfaces_that_variables_name(monkeypatch, gloo, nccl, problem):
    address = SimpleNamespace(family=socket.AF_INET, address="127.0.0.1")
    found = {"lo": [address], "bare0": []}
    monkeypatch.setattr(cluster.psutil, "net_if_addrs", lambda: found)
    variables = {"GLOO_SOCKET_IFNAME": gloo, "NCCL_SOCKET_IFNAME": nccl}
    if problem is None:
        check_interfaces(variables, with_nccl=True)
        return
    with pytest.raises(ConfigError) as caught:
        check_interfaces(variables, with_nccl=True)
    assert str(caught.value) == (
        f"{problem}: no such network interface, or none with an address: this host has lo; correct "
        "the variable, or leave it out"
    )
