"""Hosts of a cluster as threads on loopback, and connections to them by hand."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

from app.job.admission import prove
from app.job.inputs import Hosts
from app.job.peers import Peers

# All are this machine.
FIRST, TWO, THREE, FOUR = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
LIMIT_S = 30.0  # against hangs
GONE = (
    "it is gone: its connection closed, or was silent for 30 s; its container was killed, ran out "
    "of memory, or lost the network: see that host's own log"
)


def never():
    return False


@contextmanager
def joined(port, *others):
    """All hosts of a cluster, each in a thread of its own while they join."""
    names = (FIRST, *others)
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        hosts = [stack.enter_context(Peers(Hosts(names, name, "lo"), port)) for name in names]
        assert list(pool.map(lambda host: host.join(LIMIT_S, never), hosts)) == [True] * len(names)
        yield hosts


@contextmanager
def connected(port):
    """A connection by hand, as soon as there is somebody to connect to."""
    for _ in range(1000):
        with suppress(ConnectionRefusedError):
            connection = socket.create_connection((FIRST, port), timeout=LIMIT_S)
            break
        time.sleep(0.02)
    yield connection
    connection.close()


def is_closed(connection):
    """Whether the other end closes it; waits for that."""
    try:
        return connection.recv(4096) == b""
    except ConnectionResetError:
        return True


def say(connection, **message):
    connection.sendall(json.dumps(message).encode() + b"\n")


def greet(connection, name, names):
    """Come in as a host of the job, and wait for the welcome."""
    hosts = Hosts(names, name)
    say(connection, hello=name, proof=prove(hosts, "hello", name), num_processes=1)
    welcome = read_line(connection)["welcome"]
    assert welcome == prove(hosts, "welcome", names[0])


def read_line(connection):
    """The next message, and nothing of what follows it."""
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(1)
    return json.loads(line)


def failure_of(host):
    """The failure that a host hears of; waits for it."""
    deadline_s = time.monotonic() + LIMIT_S
    while host.failure is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return host.failure
