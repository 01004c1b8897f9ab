"""Hosts of a cluster as threads, and as a process that can be killed, on loopback."""

import json
import logging
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from app.base.errors import ConfigError
from app.job import peers as peers_module
from app.job.inputs import Hosts
from app.job.peers import PeerFailure, Peers
from tests.support.paths import ROOT

FIRST = "127.0.0.1"  # stands before any letter, and only the first host's name is resolved
LIMIT_S = 30.0  # against hangs
GONE = (
    "it is gone: its connection closed, or was silent for 30 s; its container was killed, ran out "
    "of memory, or lost the network: see that host's own log"
)
HOST = """
import sys, time
from app.job.peers import Peers
from app.job.inputs import Hosts
with Peers(Hosts(("127.0.0.1", "algo-2", "algo-3"), "algo-3", "lo"), int(sys.argv[1])) as peers:
    assert peers.join(30, lambda: False)
    print("joined", flush=True)
    time.sleep(60)
"""


def never():
    return False


@pytest.fixture
def pool():
    with ThreadPoolExecutor() as pool:
        yield pool


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


def failure_of(host):
    """The failure that a host hears of; waits for it."""
    deadline_s = time.monotonic() + LIMIT_S
    while host.failure is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return host.failure


def test_one_host_has_nobody_to_wait_for():
    with Peers(Hosts()) as alone:
        assert alone.join(0, never)
        alone.tell_failure("RID: no images", 2)
        assert alone.finish(0)
        assert alone.failure is None


@pytest.mark.parametrize("others", [("algo-2",), ("algo-2", "algo-3")])
def test_hosts_join_and_end_together(port, others):
    with joined(port, *others) as hosts, ThreadPoolExecutor() as pool:
        first_done = pool.submit(hosts[0].finish, LIMIT_S)
        time.sleep(0.3)
        assert not first_done.done()
        others_done = [pool.submit(host.finish, LIMIT_S) for host in hosts[1:]]
        assert [done.result() for done in (first_done, *others_done)] == [True] * len(hosts)
    assert [host.failure for host in hosts] == [None] * len(hosts)


def test_the_last_host_to_finish_ends_the_wait_of_all(port):
    with joined(port, "algo-2", "algo-3") as hosts, ThreadPoolExecutor() as pool:
        waiting = [pool.submit(host.finish, LIMIT_S) for host in hosts[1:]]
        time.sleep(0.3)
        assert [done.done() for done in waiting] == [False, False]
        assert hosts[0].finish(LIMIT_S)
        assert [done.result() for done in waiting] == [True, True]


def test_connections_closed_after_the_end_are_no_failure(port):
    with joined(port, "algo-2", "algo-3") as hosts, ThreadPoolExecutor() as pool:
        assert all(pool.map(lambda host: host.finish(LIMIT_S), hosts))
        for host in hosts[1:]:
            host.__exit__(None, None, None)
        time.sleep(0.3)
        assert hosts[0].failure is None


class TestJoin:
    def test_the_first_host_names_who_is_missing_and_tells_the_others(self, port, pool):
        names = (FIRST, "algo-2", "algo-3", "algo-4")
        message = (
            "resourceconfig.json names the hosts 127.0.0.1, algo-2, algo-3, algo-4, but after 1 s "
            "host algo-3, algo-4 did not connect; check that every host runs this image and that "
            "they reach each other, or raise join_timeout_s"
        )
        # The second one's own time is over before the first one's.
        with (
            Peers(Hosts(names, FIRST, "lo"), port) as first,
            Peers(Hosts(names, "algo-2", "lo"), port) as two,
        ):
            joining = pool.submit(two.join, 0.8, never)
            with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
                first.join(1.2, never)
            assert joining.result()
            assert two.failure == PeerFailure(FIRST, message, 2)

    def test_nobody_listens(self, port):
        with (
            Peers(Hosts((FIRST, "algo-2"), "algo-2", "lo"), port) as two,
            pytest.raises(
                ConfigError,
                match=r"^resourceconfig\.json names the hosts 127\.0\.0\.1, algo-2, but after 1 s "
                rf"host 127\.0\.0\.1 cannot be reached at port {port} \(Connection refused\); "
                "check that every host runs this image and that they reach each other, or raise "
                "join_timeout_s$",
            ),
        ):
            two.join(1, never)

    def test_name_that_cannot_be_resolved(self, port):
        with (
            Peers(Hosts(("host.invalid", "me"), "me", "lo"), port) as me,
            pytest.raises(
                ConfigError,
                match=r"but after 1 s host host\.invalid cannot be resolved \((Name or service not "
                r"known|Temporary failure in name resolution)\); check that",
            ),
        ):
            me.join(1, never)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("algo-2", r"but after 1 s host 127\.0\.0\.1 did not let all of the others in; check"),
            (
                FIRST,
                r"^host 127\.0\.0\.1 cannot listen on 127\.0\.0\.1, port \d+: Address already in "
                r"use.*; end what else listens there$",
            ),
        ],
    )
    def test_something_else_that_listens_there(self, port, monkeypatch, name, message):
        monkeypatch.setattr(peers_module, "_NEWS_MARGIN_S", 0.2)
        with (
            socket.create_server((FIRST, port)),
            Peers(Hosts((FIRST, "algo-2"), name, "lo"), port) as host,
            pytest.raises(ConfigError, match=message),
        ):
            host.join(1, never)

    @pytest.mark.parametrize("name", [FIRST, "algo-2"])
    def test_a_request_to_stop_ends_the_wait(self, port, name):
        started_s = time.monotonic()
        with Peers(Hosts((FIRST, "algo-2"), name, "lo"), port) as host:
            assert not host.join(600, lambda: time.monotonic() > started_s + 0.3)
        assert time.monotonic() - started_s < LIMIT_S

    def test_a_host_that_leaves_before_all_are_there_is_a_failure(self, port, pool):
        with Peers(Hosts((FIRST, "algo-2", "algo-3"), FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as connection:
                say(connection, hello="algo-2", num_processes=1)
            assert joining.result()
            assert first.failure == PeerFailure("algo-2", GONE, 1)

    def test_an_address_of_another_machine_means_any_of_this_one(self, port, pool):
        # As behind a proxy; 192.0.2.0/24 is for documentation.
        names = ("192.0.2.1", "algo-2")
        with Peers(Hosts(names, names[0], "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as connection:
                say(connection, hello="algo-2", num_processes=1)
                assert joining.result()
                assert first.failure is None

    def test_the_port_is_free_again_afterwards(self, port):
        for _ in range(2):
            with joined(port, "algo-2"):
                pass


class TestFailure:
    @pytest.mark.parametrize("failing", [0, 1, 2])
    def test_all_others_hear_of_it(self, port, failing):
        names = (FIRST, "algo-2", "algo-3")
        with joined(port, *names[1:]) as hosts:
            hosts[failing].tell_failure("RID: no images", 2)
            others = [host for host in hosts if host is not hosts[failing]]
            expected = PeerFailure(names[failing], "RID: no images", 2)
            assert [failure_of(host) for host in others] == [expected, expected]
            assert [host.finish(LIMIT_S) for host in others] == [False, False]
            assert hosts[failing].failure is None
        assert expected.describe() == f"host {names[failing]} failed: RID: no images"

    def test_the_first_one_stays(self, port):
        with joined(port, "algo-2", "algo-3") as hosts:
            hosts[1].tell_failure("RID: no images", 2)
            assert failure_of(hosts[2]) == PeerFailure("algo-2", "RID: no images", 2)
            hosts[2].tell_failure("host algo-2 failed: RID: no images", 2)
            # It ends without a word.
            hosts[1].__exit__(None, None, None)
            time.sleep(0.3)
            assert hosts[0].failure == PeerFailure("algo-2", "RID: no images", 2)

    def test_it_ends_the_wait_of_those_who_are_done(self, port, pool):
        with joined(port, "algo-2", "algo-3") as hosts:
            waiting = [pool.submit(host.finish, LIMIT_S) for host in hosts[:2]]
            hosts[2].tell_failure("RID: no images", 2)
            assert [done.result() for done in waiting] == [False, False]

    @pytest.mark.parametrize(
        ("message", "heard"),
        [
            ("bad \udcff.tif\n\x1b[31m", "bad \\udcff.tif\\n\\x1b[31m"),
            ("a" * 100_000, "a" * 4000),
            ("\U0001f3e0" * 5000, "\U0001f3e0" * 4000),
        ],
        ids=["unprintable", "long", "long as JSON"],
    )
    def test_any_message_arrives(self, port, message, heard):
        with joined(port, "algo-2") as hosts:
            hosts[1].tell_failure(message, 137)
            assert failure_of(hosts[0]) == PeerFailure("algo-2", heard, 137)

    @pytest.mark.parametrize("exit_code", [None, "2", 0, -9, 256])
    def test_an_exit_code_that_is_none_becomes_1(self, port, pool, exit_code):
        with Peers(Hosts((FIRST, "algo-2"), FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as connection:
                say(connection, hello="algo-2", num_processes=1)
                assert joining.result()
                say(connection, failed="RID: no images", exit_code=exit_code)
                assert failure_of(first) == PeerFailure("algo-2", "RID: no images", 1)

    def test_a_host_that_is_not_done_in_time(self, port, pool):
        with joined(port, "algo-2", "algo-3") as hosts:
            waiting = pool.submit(hosts[1].finish, LIMIT_S)
            assert not hosts[0].finish(0.6)
            expected = PeerFailure("algo-3", "not done after 1 s", 1)
            assert hosts[0].failure == expected
            assert not waiting.result()
            assert [failure_of(host) for host in hosts[1:]] == [expected, expected]
        assert expected.describe() == "host algo-3 failed: not done after 1 s"


class TestGone:
    def test_a_killed_process_is_gone_for_all_others(self, port, pool):
        names = (FIRST, "algo-2", "algo-3")
        command = [sys.executable, "-c", HOST, str(port)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process,
            Peers(Hosts(names, FIRST, "lo"), port) as first,
            Peers(Hosts(names, "algo-2", "lo"), port) as two,
        ):
            joining = [pool.submit(host.join, LIMIT_S, never) for host in (first, two)]
            assert [join.result() for join in joining] == [True, True]
            assert process.stdout.readline() == "joined\n"
            process.send_signal(signal.SIGKILL)
            expected = PeerFailure("algo-3", GONE, 1)
            assert [failure_of(host) for host in (first, two)] == [expected, expected]
            assert not first.finish(LIMIT_S)

    def test_a_first_host_that_is_gone(self, port):
        with joined(port, "algo-2", "algo-3") as hosts:
            hosts[0].__exit__(None, None, None)
            expected = PeerFailure(FIRST, GONE, 1)
            assert [failure_of(host) for host in hosts[1:]] == [expected, expected]

    def test_silence_is_as_bad(self, port, pool, monkeypatch):
        monkeypatch.setattr(peers_module, "SILENCE_LIMIT_S", 1.0)
        with Peers(Hosts((FIRST, "algo-2"), FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as connection:
                say(connection, hello="algo-2", num_processes=1)
                assert joining.result()
                silent = PeerFailure("algo-2", GONE.replace("30 s", "1 s"), 1)
                assert failure_of(first) == silent

    def test_hosts_with_nothing_to_say_are_not_silent(self, port, monkeypatch):
        monkeypatch.setattr(peers_module, "SILENCE_LIMIT_S", 1.0)
        monkeypatch.setattr(peers_module, "_BEAT_INTERVAL_S", 0.1)
        with joined(port, "algo-2", "algo-3") as hosts:
            time.sleep(2.0)
            assert [host.failure for host in hosts] == [None, None, None]


class TestStrangers:
    @pytest.mark.parametrize(
        ("content", "shown"),
        [
            (b'{"hello": "algo-9"}\n', "'algo-9'"),
            (b'{"hello": "127.0.0.1"}\n', "'127.0.0.1'"),
            (b'{"hello": ["algo-2"]}\n', r"['algo-2']"),
            (b'{"hello": "\\u001b[31m' + b"a" * 100 + b'"}\n', "'\\x1b[31m" + "a" * 51),
            (b'{"done": true}\n', "None"),
            (b'["hello"]\n', "None"),
            (b"GET / HTTP/1.1\r\n\r\n", "None"),
            (b"\xff\xfe\x00\n", "None"),
            (b"[" * 60_000 + b"\n", "None"),
            (b"a" * 2**20, "None"),
        ],
        ids=["unknown", "own", "list", "escapes", "mute", "array", "http", "bytes", "deep", "1 MB"],
    )
    def test_they_are_refused_and_disturb_nobody(self, port, pool, caplog, content, shown):
        names = (FIRST, "algo-2")
        with (
            caplog.at_level(logging.WARNING, logger="app.job.peers"),
            Peers(Hosts(names, FIRST, "lo"), port) as first,
            Peers(Hosts(names, "algo-2", "lo"), port) as two,
        ):
            joining = [pool.submit(first.join, LIMIT_S, never)]
            with connected(port) as stranger:
                with suppress(ConnectionError):  # refused before all of it was sent
                    stranger.sendall(content)
                assert is_closed(stranger)
            joining.append(pool.submit(two.join, LIMIT_S, never))
            assert [join.result() for join in joining] == [True, True]
            with connected(port) as stranger:  # and later
                stranger.sendall(b'{"hello": "algo-2", "num_processes": 1}\n')
                assert is_closed(stranger)
            done = pool.map(lambda host: host.finish(LIMIT_S), (first, two))
            assert list(done) == [True, True]
        assert [record.getMessage() for record in caplog.records] == [
            f"refused a connection from 127.0.0.1 as host {shown}",
            "refused a connection from 127.0.0.1 as host 'algo-2'",
        ]

    def test_who_says_nothing_keeps_nobody_waiting(self, port, pool):
        with Peers(Hosts((FIRST, "algo-2"), FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, 10, never)
            with connected(port), connected(port) as host:
                say(host, hello="algo-2", num_processes=1)
                assert joining.result()
                assert first.failure is None

    def test_a_name_is_taken_once(self, port, pool):
        names = (FIRST, "algo-2", "algo-3")
        with Peers(Hosts(names, FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as two, connected(port) as stranger, connected(port) as three:
                say(two, hello="algo-2", num_processes=1)
                time.sleep(0.3)
                say(stranger, hello="algo-2", num_processes=1)
                assert is_closed(stranger)
                assert not joining.done()
                say(three, hello="algo-3", num_processes=1)
                assert joining.result()
                for host in (two, three):
                    assert host.makefile().readline() == '{"begin": true}\n'
