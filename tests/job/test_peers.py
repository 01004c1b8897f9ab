"""Hosts of a cluster that wait for each other, and end together."""

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.base.errors import ConfigError
from app.job import peers as peers_module
from app.job.inputs import Hosts
from app.job.peers import PeerFailure, Peers
from tests.support.peers import (
    FIRST,
    FOUR,
    GONE,
    LIMIT_S,
    THREE,
    TWO,
    connected,
    greet,
    joined,
    never,
)


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


def test_a_name_that_leads_beside_the_interface_s_first_address(port, pool):
    """As 127.0.0.2 is an address of lo, whose first one is 127.0.0.1."""
    names = (TWO, THREE)
    with Peers(Hosts(names, TWO, "lo"), port) as first, Peers(Hosts(names, THREE), port) as other:
        joining = pool.submit(first.join, LIMIT_S, never)
        assert other.join(LIMIT_S, never)
        assert joining.result()
