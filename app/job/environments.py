"""What each training process is told about the others: its rank, where to meet, the interface."""

import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

import psutil

from app.base.errors import ConfigError
from app.job.inputs import Hosts
from app.resources.cores import num_cores
from app.resources.gpus import Gpus

logger = logging.getLogger(__name__)

# The port of AWS's own containers; the hosts of a job run nothing else that could take it.
_STORE_PORT: Final = 7777
_NCCL_VARIABLE: Final = "NCCL_SOCKET_IFNAME"
_INTERFACE_VARIABLES: Final = ("GLOO_SOCKET_IFNAME", _NCCL_VARIABLE)


def choose_num_processes(asked: int | None, device: str, gpus: Gpus) -> int:
    """Training processes of this host: as many as asked for, else one per GPU, else one.

    Raises:
        ConfigError: If more are asked for than there are GPUs for them.
    """
    on_gpus = device != "cpu" and bool(gpus.names)
    if asked is None:
        return len(gpus.names) if on_gpus else 1
    if on_gpus and asked > len(gpus.names):
        raise ConfigError(
            f"processes_per_host={asked}, but this host has {len(gpus.names)} GPUs; lower it, or "
            "leave it out for one process per GPU"
        )
    return asked


def build_environments(hosts: Hosts, num_processes: int) -> list[dict[str, str]]:
    """Environment variables for each training process of this host, as torchrun names them.

    Args:
        hosts: The job's hosts; all have the same number of processes.
        num_processes: Training processes of this host.
    """
    world_size = len(hosts.names) * num_processes
    first_rank = hosts.index * num_processes
    is_alone = len(hosts.names) == 1
    common = {
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1" if is_alone else hosts.first,
        "MASTER_PORT": str(_find_free_port() if is_alone and num_processes > 1 else _STORE_PORT),
        # torch would take all cores of the machine in each process, whatever the container's limit.
        "OMP_NUM_THREADS": str(max(1, num_cores() // num_processes)),
    }
    if is_alone:
        common["GLOO_SOCKET_IFNAME"] = _find_loopback()
    elif interface := _choose_interface(hosts):
        common |= dict.fromkeys(_INTERFACE_VARIABLES, interface)
    # Keep variables the user has already set.
    chosen = {
        name: value
        for name, value in common.items()
        if name not in os.environ or name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")
    }
    return [
        {**chosen, "RANK": str(first_rank + i), "LOCAL_RANK": str(i)} for i in range(num_processes)
    ]


def check_interfaces(variables: Mapping[str, str], *, with_nccl: bool) -> None:
    """Check that the interfaces that variables name are there: gloo and NCCL say it in riddles.

    Args:
        variables: This process's environment.
        with_nccl: Whether NCCL is used, too.

    Raises:
        ConfigError: If one is not there, or has no address.
    """
    addresses = {
        name: [one for one in found if one.family in (socket.AF_INET, socket.AF_INET6)]
        for name, found in psutil.net_if_addrs().items()
    }
    there = [name for name, found in addresses.items() if found]
    problems = []
    for variable in _INTERFACE_VARIABLES[: 2 if with_nccl else 1]:
        value = variables.get(variable, "")
        is_nccl = variable == _NCCL_VARIABLE
        if is_nccl and value.startswith("^"):  # all but these
            continue
        # gloo takes names; NCCL takes beginnings of names, and a name after an equals sign.
        is_exact = not is_nccl or value.startswith("=")
        names = [name.strip() for name in value.removeprefix("=" if is_nccl else "").split(",")]
        known = [
            [one for one in there if one == name or (not is_exact and one.startswith(name))]
            for name in names
        ]
        # NCCL is content with one of them, gloo wants all.
        if value and not (any(known) if is_nccl else all(known)):
            problems.append(f"{variable}={value}")
    if problems:
        raise ConfigError(
            f"{' and '.join(problems)}: no such network interface, or none with an address: this "
            f"host has {', '.join(there) or 'none'}; correct the variable, or leave it out"
        )


def _choose_interface(hosts: Hosts) -> str | None:
    """The interface named by the platform, or else the one that leads to another host."""
    interfaces = read_interfaces()
    if hosts.interface in interfaces:
        return hosts.interface
    address = _own_address_towards(next(name for name in hosts.names if name != hosts.current))
    found = next((name for name, own in interfaces.items() if address in own), None)
    logger.warning(
        "resourceconfig.json names the network interface %s, but there are %s; using %s",
        hosts.interface,
        ", ".join(interfaces) or "none",
        f"{found}, which leads to the other hosts" if found else "what torch chooses",
    )
    return found


def _own_address_towards(host: str) -> str:
    """The address from which this host would send to another; empty where there is no route.

    The host's own name may resolve to a loopback address, as in Debian's /etc/hosts.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, _STORE_PORT))  # a datagram socket sends nothing here
        return str(probe.getsockname()[0])
    return ""


def _find_loopback() -> str:
    return next((name for name, own in read_interfaces().items() if "127.0.0.1" in own), "lo")


def _find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def read_interfaces() -> dict[str, list[str]]:
    """IPv4 addresses by the names of this host's network interfaces."""
    return {
        name: [address.address for address in addresses if address.family == socket.AF_INET]
        for name, addresses in psutil.net_if_addrs().items()
    }
