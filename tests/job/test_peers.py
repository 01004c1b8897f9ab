"""Hosts of a cluster as threads, and as a process that can be killed, on loopback."""

import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from app.base.errors import ConfigError
from app.job import links
from app.job import peers as peers_module
from app.job.admission import MAX_PENDING_OF_ONE, prove
from app.job.inputs import Hosts
from app.job.peers import PeerFailure, Peers
from tests.support.paths import ROOT

# All are this machine.
FIRST, TWO, THREE, FOUR = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
LIMIT_S = 30.0  # against hangs
GONE = (
    "it is gone: its connection closed, or was silent for 30 s; its container was killed, ran out "
    "of memory, or lost the network: see that host's own log"
)
HOST = """
import sys, time
from app.job.peers import Peers
from app.job.inputs import Hosts
NAMES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
with Peers(Hosts(NAMES, "127.0.0.3", "lo"), int(sys.argv[1])) as peers:
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


def test_one_host_has_nobody_to_wait_for():
    with Peers(Hosts()) as alone:
        assert alone.join(0, never)
        alone.tell_failure("RID: no images", 2)
        assert alone.finish(0)
        assert alone.failure is None


@pytest.mark.parametrize("others", [(TWO,), (TWO, THREE)])
def test_hosts_join_and_end_together(port, others):
    with joined(port, *others) as hosts, ThreadPoolExecutor() as pool:
        first_done = pool.submit(hosts[0].finish, LIMIT_S)
        time.sleep(0.3)
        assert not first_done.done()
        others_done = [pool.submit(host.finish, LIMIT_S) for host in hosts[1:]]
        assert [done.result() for done in (first_done, *others_done)] == [True] * len(hosts)
    assert [host.failure for host in hosts] == [None] * len(hosts)


def test_the_last_host_to_finish_ends_the_wait_of_all(port):
    with joined(port, TWO, THREE) as hosts, ThreadPoolExecutor() as pool:
        waiting = [pool.submit(host.finish, LIMIT_S) for host in hosts[1:]]
        time.sleep(0.3)
        assert [done.done() for done in waiting] == [False, False]
        assert hosts[0].finish(LIMIT_S)
        assert [done.result() for done in waiting] == [True, True]


def test_connections_closed_after_the_end_are_no_failure(port):
    with joined(port, TWO, THREE) as hosts, ThreadPoolExecutor() as pool:
        assert all(pool.map(lambda host: host.finish(LIMIT_S), hosts))
        for host in hosts[1:]:
            host.__exit__(None, None, None)
        time.sleep(0.3)
        assert hosts[0].failure is None


class TestJoin:
    def test_the_first_host_names_who_is_missing_and_tells_the_others(self, port, pool):
        names = (FIRST, TWO, THREE, FOUR)
        message = (
            "resourceconfig.json names the hosts 127.0.0.1, 127.0.0.2, 127.0.0.3, 127.0.0.4, but "
            "after 1 s host 127.0.0.3, 127.0.0.4 did not connect; check that every host runs this "
            "image and that they reach each other, or raise join_timeout_s"
        )
        # The second one's own time is over before the first one's.
        with (
            Peers(Hosts(names, FIRST, "lo"), port) as first,
            Peers(Hosts(names, TWO, "lo"), port) as two,
        ):
            joining = pool.submit(two.join, 0.8, never)
            with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
                first.join(1.2, never)
            assert joining.result()
            assert two.failure == PeerFailure(FIRST, message, 2)

    def test_nobody_listens(self, port):
        with (
            Peers(Hosts((FIRST, TWO), TWO, "lo"), port) as two,
            pytest.raises(
                ConfigError,
                match=r"^resourceconfig\.json names the hosts 127\.0\.0\.1, 127\.0\.0\.2, but "
                rf"after 1 s host 127\.0\.0\.1 cannot be reached at port {port} "
                r"\(Connection refused\); check that every host runs this image and that they "
                r"reach each other, or raise join_timeout_s$",
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
            (TWO, r"but after 1 s host 127\.0\.0\.1 did not let this host in at port \d+: its log"),
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
            Peers(Hosts((FIRST, TWO), name, "lo"), port) as host,
            pytest.raises(ConfigError, match=message),
        ):
            host.join(1, never)

    @pytest.mark.parametrize("name", [FIRST, TWO])
    def test_a_request_to_stop_ends_the_wait(self, port, name):
        started_s = time.monotonic()
        with Peers(Hosts((FIRST, TWO), name, "lo"), port) as host:
            assert not host.join(600, lambda: time.monotonic() > started_s + 0.3)
        assert time.monotonic() - started_s < LIMIT_S

    def test_a_host_that_leaves_before_all_are_there_is_a_failure(self, port, pool):
        names = (FIRST, TWO, THREE)
        with Peers(Hosts(names, FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as connection:
                greet(connection, TWO, names)
            assert joining.result()
            assert first.failure == PeerFailure(TWO, GONE, 1)

    def test_an_address_of_another_machine_means_any_of_this_one(self, port, pool):
        # As behind a proxy; 192.0.2.0/24 is for documentation.
        names = ("192.0.2.1", TWO)
        with Peers(Hosts(names, names[0], "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as connection:
                greet(connection, TWO, names)
                assert joining.result()
                assert first.failure is None

    def test_the_port_is_free_again_afterwards(self, port):
        for _ in range(2):
            with joined(port, TWO):
                pass


class TestFailure:
    @pytest.mark.parametrize("failing", [0, 1, 2])
    def test_all_others_hear_of_it(self, port, failing):
        names = (FIRST, TWO, THREE)
        with joined(port, *names[1:]) as hosts:
            hosts[failing].tell_failure("RID: no images", 2)
            others = [host for host in hosts if host is not hosts[failing]]
            expected = PeerFailure(names[failing], "RID: no images", 2)
            assert [failure_of(host) for host in others] == [expected, expected]
            assert [host.finish(LIMIT_S) for host in others] == [False, False]
            assert hosts[failing].failure is None
        assert expected.describe() == f"host {names[failing]} failed: RID: no images"

    def test_the_first_one_stays(self, port):
        with joined(port, TWO, THREE) as hosts:
            hosts[1].tell_failure("RID: no images", 2)
            assert failure_of(hosts[2]) == PeerFailure(TWO, "RID: no images", 2)
            hosts[2].tell_failure("host 127.0.0.2 failed: RID: no images", 2)
            # It ends without a word.
            hosts[1].__exit__(None, None, None)
            time.sleep(0.3)
            assert hosts[0].failure == PeerFailure(TWO, "RID: no images", 2)

    def test_it_ends_the_wait_of_those_who_are_done(self, port, pool):
        with joined(port, TWO, THREE) as hosts:
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
        with joined(port, TWO) as hosts:
            hosts[1].tell_failure(message, 137)
            assert failure_of(hosts[0]) == PeerFailure(TWO, heard, 137)

    @pytest.mark.parametrize("exit_code", [None, "2", 0, -9, 256])
    def test_an_exit_code_that_is_none_becomes_1(self, port, pool, exit_code):
        with Peers(Hosts((FIRST, TWO), FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as connection:
                greet(connection, TWO, (FIRST, TWO))
                assert joining.result()
                say(connection, failed="RID: no images", exit_code=exit_code)
                assert failure_of(first) == PeerFailure(TWO, "RID: no images", 1)

    def test_a_host_that_is_not_done_in_time(self, port, pool):
        with joined(port, TWO, THREE) as hosts:
            waiting = pool.submit(hosts[1].finish, LIMIT_S)
            assert not hosts[0].finish(0.6)
            expected = PeerFailure(THREE, "not done after 1 s", 1)
            assert hosts[0].failure == expected
            assert not waiting.result()
            assert [failure_of(host) for host in hosts[1:]] == [expected, expected]
        assert expected.describe() == "host 127.0.0.3 failed: not done after 1 s"


class TestGone:
    def test_a_killed_process_is_gone_for_all_others(self, port, pool):
        names = (FIRST, TWO, THREE)
        command = [sys.executable, "-c", HOST, str(port)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process,
            Peers(Hosts(names, FIRST, "lo"), port) as first,
            Peers(Hosts(names, TWO, "lo"), port) as two,
        ):
            joining = [pool.submit(host.join, LIMIT_S, never) for host in (first, two)]
            assert [join.result() for join in joining] == [True, True]
            assert process.stdout.readline() == "joined\n"
            process.send_signal(signal.SIGKILL)
            expected = PeerFailure(THREE, GONE, 1)
            assert [failure_of(host) for host in (first, two)] == [expected, expected]
            assert not first.finish(LIMIT_S)

    def test_a_first_host_that_is_gone(self, port):
        with joined(port, TWO, THREE) as hosts:
            hosts[0].__exit__(None, None, None)
            expected = PeerFailure(FIRST, GONE, 1)
            assert [failure_of(host) for host in hosts[1:]] == [expected, expected]

    def test_silence_is_as_bad(self, port, pool, monkeypatch):
        for module in (links, peers_module):
            monkeypatch.setattr(module, "SILENCE_LIMIT_S", 1.0)
        with Peers(Hosts((FIRST, TWO), FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as connection:
                greet(connection, TWO, (FIRST, TWO))
                assert joining.result()
                silent = PeerFailure(TWO, GONE.replace("30 s", "1 s"), 1)
                assert failure_of(first) == silent

    def test_hosts_with_nothing_to_say_are_not_silent(self, port, monkeypatch):
        for module in (links, peers_module):
            monkeypatch.setattr(module, "SILENCE_LIMIT_S", 1.0)
        monkeypatch.setattr(peers_module, "_BEAT_INTERVAL_S", 0.1)
        with joined(port, TWO, THREE) as hosts:
            time.sleep(2.0)
            assert [host.failure for host in hosts] == [None, None, None]


class TestStrangers:
    NAMES = (FIRST, TWO, "192.0.2.7")  # the last one, for documentation, is never this machine

    @pytest.mark.parametrize(
        ("content", "shown"),
        [
            (b'{"hello": "algo-9"}\n', "'algo-9', which is none of the others"),
            (b'{"hello": "127.0.0.1"}\n', "'127.0.0.1', which is none of the others"),
            (b'{"hello": ["127.0.0.2"]}\n', "['127.0.0.2'], which is none of the others"),
            (b'{"hello": "\\u001b[31m' + b"a" * 100 + b'"}\n',
             "'\\x1b[31m" + "a" * 51 + ", which is none of the others"),
            (b'{"hello": "127.0.0.2"}\n', "'127.0.0.2', which does not know this job"),
            (b'{"hello": "127.0.0.2", "proof": 1}\n', "'127.0.0.2', which does not know this job"),
            (b'{"hello": "127.0.0.2", "proof": "\\udce9"}\n',
             "'127.0.0.2', which does not know this job"),
            (b'{"done": true}\n', "None, which is none of the others"),
            (b'{"left": true}\n', "None, which is none of the others"),
            (b'["hello"]\n', "None, which is none of the others"),
            (b"GET / HTTP/1.1\r\n\r\n", "None, which is none of the others"),
            (b"\xff\xfe\x00\n", "None, which is none of the others"),
            (b"[" * 60_000 + b"\n", "None, which is none of the others"),
            (b"a" * 2**20, "None, which is none of the others"),
        ],
        ids=["unknown", "own", "list", "escapes", "no proof", "number", "surrogate", "mute", "left",
             "array", "http", "bytes", "deep", "1 MB"],
    )  # fmt: skip
    def test_they_are_refused_and_disturb_nobody(self, port, pool, caplog, content, shown):
        names = (FIRST, TWO)
        with (
            caplog.at_level(logging.WARNING, logger="app.job.peers"),
            Peers(Hosts(names, FIRST, "lo"), port) as first,
            Peers(Hosts(names, TWO, "lo"), port) as two,
        ):
            joining = [pool.submit(first.join, LIMIT_S, never)]
            with connected(port) as stranger:
                with suppress(ConnectionError):  # refused before all of it was sent
                    stranger.sendall(content)
                assert is_closed(stranger)
            joining.append(pool.submit(two.join, LIMIT_S, never))
            assert [join.result() for join in joining] == [True, True]
            done = pool.map(lambda host: host.finish(LIMIT_S), (first, two))
            assert list(done) == [True, True]
        assert caplog.messages == [f"refused a connection from 127.0.0.1 as host {shown}"]

    def refusal_of(self, port, pool, caplog, name, proof):
        """What the first host says of one that claims a name."""
        with Peers(Hosts(self.NAMES, FIRST, "lo", job="arn:1"), port) as first:
            joining = pool.submit(first.join, 1.0, never)
            with connected(port) as stranger:
                say(stranger, hello=name, proof=proof, num_processes=1)
                with suppress(ConnectionError):  # refused before all of it was sent
                    say(stranger, failed="please pay at http://evil", exit_code=2, host=TWO)
                    say(stranger, left=True)
                assert is_closed(stranger)
            with pytest.raises(ConfigError, match=r"did not connect"):
                joining.result()
            assert first.failure is None
            assert not first.has_anyone_left
        [message] = caplog.messages
        return message.removeprefix("refused a connection from 127.0.0.1 as host ")

    @pytest.mark.parametrize(
        ("names", "job", "role", "said_by"),
        [
            (NAMES, "arn:2", "hello", TWO),
            ((FIRST, TWO), "arn:1", "hello", TWO),
            (NAMES, "arn:1", "welcome", TWO),
            (NAMES, "arn:1", "hello", FIRST),
        ],
        ids=["another job", "other hosts", "another role", "another host"],
    )
    def test_who_does_not_know_the_job_is_refused(
        self, port, pool, caplog, names, job, role, said_by
    ):
        proof = prove(Hosts(names, TWO, job=job), role, said_by)
        refusal = self.refusal_of(port, pool, caplog, TWO, proof)
        assert refusal == "'127.0.0.2', which does not know this job"

    def test_who_comes_from_elsewhere_is_refused(self, port, pool, caplog):
        proof = prove(Hosts(self.NAMES, "192.0.2.7", job="arn:1"), "hello", "192.0.2.7")
        refusal = self.refusal_of(port, pool, caplog, "192.0.2.7", proof)
        assert refusal == "'192.0.2.7', which is at 192.0.2.7"

    def test_a_first_host_that_does_not_know_the_job_is_not_believed(self, port, pool):
        names = (FIRST, TWO)
        with (
            socket.create_server((FIRST, port)) as server,
            Peers(Hosts(names, TWO, "lo"), port) as two,
        ):
            joining = pool.submit(two.join, 1.0, never)
            connection, _ = server.accept()
            hello = read_line(connection)
            say(connection, welcome=hello["proof"])  # an echo
            say(connection, failed="please pay at http://evil", exit_code=2, host=FIRST)
            with pytest.raises(ConfigError, match=r"host 127\.0\.0\.1 did not let this host in"):
                joining.result()
            assert two.failure is None
            connection.close()

    def test_a_host_speaks_for_itself_alone(self, port, pool):
        names = (FIRST, TWO)
        with Peers(Hosts(names, FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as connection:
                greet(connection, TWO, names)
                assert joining.result()
                say(connection, failed="out of memory", exit_code=137, host=FIRST)
                assert failure_of(first) == PeerFailure(TWO, "out of memory", 137)

    def test_who_says_nothing_keeps_nobody_waiting(self, port, pool):
        names = (FIRST, TWO)
        with Peers(Hosts(names, FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, 10, never)
            with connected(port), connected(port) as host:
                greet(host, TWO, names)
                assert joining.result()
                assert first.failure is None

    def test_many_who_say_nothing_use_up_nothing(self, port, pool, monkeypatch, caplog):
        monkeypatch.setattr(peers_module, "_HELLO_LIMIT_S", 0.5)
        names = (FIRST, TWO)
        with (
            Peers(Hosts(names, FIRST, "lo"), port) as first,
            Peers(Hosts(names, TWO, "lo"), port) as two,
            ExitStack() as stack,
        ):
            joining = pool.submit(first.join, LIMIT_S, never)
            for _ in range(100):
                stack.enter_context(connected(port))
            names_of_threads = [thread.name for thread in threading.enumerate()]
            assert names_of_threads.count("peers-admit") <= MAX_PENDING_OF_ONE
            assert two.join(LIMIT_S, never)
            assert joining.result()
        assert "refused connections from 127.0.0.1: too many at a time" in caplog.messages

    def test_a_name_is_taken_once(self, port, pool, caplog):
        names = (FIRST, TWO, THREE)
        with Peers(Hosts(names, FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, LIMIT_S, never)
            with connected(port) as two, connected(port) as stranger, connected(port) as three:
                greet(two, TWO, names)
                proof = prove(Hosts(names, TWO), "hello", TWO)
                say(stranger, hello=TWO, proof=proof, num_processes=1)
                assert is_closed(stranger)
                assert not joining.done()
                greet(three, THREE, names)
                assert joining.result()
                for host in (two, three):
                    assert read_line(host) == {"begin": True}
        assert caplog.messages == [
            "refused a connection from 127.0.0.1 as host '127.0.0.2', which is there already"
        ]


def test_a_name_that_leads_beside_the_interface_s_first_address(port, pool):
    """As 127.0.0.2 is an address of lo, whose first one is 127.0.0.1."""
    names = (TWO, THREE)
    with Peers(Hosts(names, TWO, "lo"), port) as first, Peers(Hosts(names, THREE), port) as other:
        joining = pool.submit(first.join, LIMIT_S, never)
        assert other.join(LIMIT_S, never)
        assert joining.result()
