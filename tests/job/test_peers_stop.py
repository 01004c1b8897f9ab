"""Hosts that are asked to stop: while they wait for each other, and when they are done."""

import threading
import time

import pytest

from app.job.inputs import Hosts
from app.job.peers import Peers
from tests.support.processes import wait_until

NAMES = ("127.0.0.1", "localhost")
LIMIT_S = 20


def never():
    return False


@pytest.fixture
def hosts(port):
    with (
        Peers(Hosts(NAMES, NAMES[0], "lo"), port) as first,
        Peers(Hosts(NAMES, NAMES[1], "lo"), port) as other,
    ):
        yield first, other


def join(peers, results, stop_requested=never):
    thread = threading.Thread(
        target=lambda: results.append(peers.join(LIMIT_S, stop_requested)), daemon=True
    )
    thread.start()
    return thread


@pytest.mark.parametrize("asked", [0, 1])
def test_one_that_is_asked_while_it_waits_stops_all(port, asked):
    """The platform asks all of them, but not at the same moment."""
    names = (*NAMES, "never-comes.invalid")
    is_asked = threading.Event()
    results: list[bool] = []
    with (
        Peers(Hosts(names, names[0], "lo"), port) as first,
        Peers(Hosts(names, names[1], "lo"), port) as other,
    ):
        requests = [never, never]
        requests[asked] = is_asked.is_set
        threads = [join(first, results, requests[0]), join(other, results, requests[1])]
        wait_until(lambda: first._links, LIMIT_S)
        is_asked.set()
        for thread in threads:
            thread.join(LIMIT_S)
        assert results == [False, False]
        assert first.failure is None
        assert other.failure is None


def test_one_that_is_done_does_not_wait_for_ever(hosts):
    first, other = hosts
    results: list[bool] = []
    for thread in (join(first, results), join(other, results)):
        thread.join(LIMIT_S)
    assert results == [True, True]
    started_s = time.monotonic()
    assert other.finish(LIMIT_S, lambda: time.monotonic() > started_s + 0.2) is True
    assert time.monotonic() < started_s + LIMIT_S


@pytest.mark.parametrize("asked", [0, 1])
def test_a_stop_of_one_is_told_to_the_other(hosts, asked):
    results: list[bool] = []
    for thread in [join(peers, results) for peers in hosts]:
        thread.join(LIMIT_S)
    hosts[asked].tell_stop()
    other = hosts[1 - asked]
    wait_until(lambda: other.are_others_stopping, LIMIT_S)
    assert other.failure is None
    assert not other.has_anyone_left


def test_a_crash_after_a_stop_is_a_failure_all_the_same(hosts):
    first, other = hosts
    results: list[bool] = []
    for thread in [join(peers, results) for peers in hosts]:
        thread.join(LIMIT_S)
    other.tell_stop()
    other.__exit__()
    wait_until(lambda: first.failure is not None, LIMIT_S)
    assert first.failure.host == NAMES[1]


def test_hosts_with_different_numbers_of_processes_are_told(port):
    """They would wait for ranks that nobody starts."""
    results: list[bool] = []
    with (
        Peers(Hosts(NAMES, NAMES[0], "lo"), port, num_processes=4) as first,
        Peers(Hosts(NAMES, NAMES[1], "lo"), port, num_processes=1) as other,
    ):
        for thread in [join(first, results), join(other, results)]:
            thread.join(LIMIT_S)
        wait_until(lambda: first.failure and other.failure, LIMIT_S)
        for peers in (first, other):
            assert peers.failure.exit_code == 2
            assert peers.failure.describe() == (
                "host localhost failed: it has 1 training processes, 127.0.0.1 has 4; set "
                "processes_per_host, or take instances of one type"
            )
