"""Who may speak for a host: who knows the job, and comes from where that host is.

A cluster's network is not the job's alone. A stranger who was taken for a host could stop the job,
or choose the words and the exit code that it fails with.
"""

import contextlib
import hmac
import ipaddress
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

import psutil

from app.job.environments import read_interfaces
from app.job.inputs import Hosts

# Connections that have not said yet who they are: of all, and from one address.
MAX_PENDING: Final = 64
MAX_PENDING_OF_ONE: Final = 8

Role = Literal["hello", "welcome"]


def prove(hosts: Hosts, role: Role, name: str) -> str:
    """What only a host of this job can say; differs by role, so that nobody can echo it.

    Args:
        hosts: Of the job.
        role: "hello" of one that comes, "welcome" of the one that lets it in.
        name: The host that says it.
    """
    key = json.dumps([hosts.job, *hosts.names]).encode()
    return hmac.new(key, json.dumps([role, name]).encode(), "sha256").hexdigest()


def is_proof(given: object, hosts: Hosts, role: Role, name: str) -> bool:
    """Whether a host that says so much is of this job."""
    return isinstance(given, str) and hmac.compare_digest(
        given.encode("utf-8", "backslashreplace"), prove(hosts, role, name).encode()
    )


def find_foreign(address: str, name: str) -> str | None:
    """Why an address is not that of a host, in words; None if it is.

    On one machine, as in tests, all of its addresses are alike: the system chooses among them.
    """
    resolved = resolve(name)
    if not resolved:
        return "whose name cannot be resolved"
    if address in resolved or (_is_own(address) and any(map(_is_own, resolved))):
        return None
    return f"which is at {', '.join(sorted(resolved))}"


def resolve(name: str) -> set[str]:
    """The addresses of a host; none where its name cannot be resolved."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return set()
    return {str(address[4][0]) for address in found}


def find_listening_addresses(hosts: Hosts) -> list[str]:
    """Where others look for this host: at its interface, and where its name leads.

    Empty where no such interface is known, since its name may lead to itself alone, as in Debian's
    /etc/hosts.
    """
    found = read_interfaces().get(hosts.interface or "", [])
    return list(dict.fromkeys([*found, *sorted(resolve(hosts.current))])) if found else []


class Pending:
    """Counts connections that wait to be let in, so that strangers do not use up threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_address: Counter[str] = Counter()

    def take(self, address: str) -> bool:
        """Count one more; False if there are too many."""
        with self._lock:
            is_too_many = (
                self._by_address.total() >= MAX_PENDING
                or self._by_address[address] >= MAX_PENDING_OF_ONE
            )
            if not is_too_many:
                self._by_address[address] += 1
            return not is_too_many

    @contextlib.contextmanager
    def giving_back(self, address: str) -> Iterator[None]:
        """Count one less after the block."""
        try:
            yield
        finally:
            with self._lock:
                self._by_address[address] -= 1
                self._by_address += Counter()  # leaves out those with none


def _is_own(address: str) -> bool:
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            return True
    own = (one.address for found in psutil.net_if_addrs().values() for one in found)
    return address in own
