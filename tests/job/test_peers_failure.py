"""Hosts of a cluster that fail, or are gone: all others hear of it."""

import signal
import subprocess
import sys
import time

import pytest

from app.job import links
from app.job import peers as peers_module
from app.job.inputs import Hosts
from app.job.peers import PeerFailure, Peers
from tests.support.paths import ROOT
from tests.support.peers import (
    FIRST,
    GONE,
    LIMIT_S,
    THREE,
    TWO,
    connected,
    failure_of,
    greet,
    joined,
    never,
    say,
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
