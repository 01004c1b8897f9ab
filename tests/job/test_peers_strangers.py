"""Who is let in among the hosts of a cluster, and what those who are not can do: nothing."""

import logging
import socket
import threading
from contextlib import ExitStack, suppress

import pytest

from app.base.errors import ConfigError
from app.job import peers as peers_module
from app.job.admission import MAX_PENDING_OF_ONE, prove
from app.job.inputs import Hosts
from app.job.peers import PeerFailure, Peers
from tests.support import peers as cluster


class TestStrangers:
    NAMES = (
        cluster.FIRST,
        cluster.TWO,
        "192.0.2.7",
    )  # the last one, for documentation, is never this machine

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
        names = (cluster.FIRST, cluster.TWO)
        with (
            caplog.at_level(logging.WARNING, logger="app.job.peers"),
            Peers(Hosts(names, cluster.FIRST, "lo"), port) as first,
            Peers(Hosts(names, cluster.TWO, "lo"), port) as two,
        ):
            joining = [pool.submit(first.join, cluster.LIMIT_S, cluster.never)]
            with cluster.connected(port) as stranger:
                with suppress(ConnectionError):  # refused before all of it was sent
                    stranger.sendall(content)
                assert cluster.is_closed(stranger)
            joining.append(pool.submit(two.join, cluster.LIMIT_S, cluster.never))
            assert [join.result() for join in joining] == [True, True]
            done = pool.map(lambda host: host.finish(cluster.LIMIT_S), (first, two))
            assert list(done) == [True, True]
        assert caplog.messages == [f"refused a connection from 127.0.0.1 as host {shown}"]

    def refusal_of(self, port, pool, caplog, name, proof):
        """What the first host says of one that claims a name."""
        with Peers(Hosts(self.NAMES, cluster.FIRST, "lo", job="arn:1"), port) as first:
            joining = pool.submit(first.join, 1.0, cluster.never)
            with cluster.connected(port) as stranger:
                cluster.say(stranger, hello=name, proof=proof, num_processes=1)
                with suppress(ConnectionError):  # refused before all of it was sent
                    cluster.say(
                        stranger, failed="please pay at http://evil", exit_code=2, host=cluster.TWO
                    )
                    cluster.say(stranger, left=True)
                assert cluster.is_closed(stranger)
            with pytest.raises(ConfigError, match=r"did not connect"):
                joining.result()
            assert first.failure is None
            assert not first.has_anyone_left
        [message] = caplog.messages
        return message.removeprefix("refused a connection from 127.0.0.1 as host ")

    @pytest.mark.parametrize(
        ("names", "job", "role", "said_by"),
        [
            (NAMES, "arn:2", "hello", cluster.TWO),
            ((cluster.FIRST, cluster.TWO), "arn:1", "hello", cluster.TWO),
            (NAMES, "arn:1", "welcome", cluster.TWO),
            (NAMES, "arn:1", "hello", cluster.FIRST),
        ],
        ids=["another job", "other hosts", "another role", "another host"],
    )
    def test_who_does_not_know_the_job_is_refused(
        self, port, pool, caplog, names, job, role, said_by
    ):
        proof = prove(Hosts(names, cluster.TWO, job=job), role, said_by)
        refusal = self.refusal_of(port, pool, caplog, cluster.TWO, proof)
        assert refusal == "'127.0.0.2', which does not know this job"

    def test_who_comes_from_elsewhere_is_refused(self, port, pool, caplog):
        proof = prove(Hosts(self.NAMES, "192.0.2.7", job="arn:1"), "hello", "192.0.2.7")
        refusal = self.refusal_of(port, pool, caplog, "192.0.2.7", proof)
        assert refusal == "'192.0.2.7', which is at 192.0.2.7"

    def test_a_first_host_that_does_not_know_the_job_is_not_believed(self, port, pool):
        names = (cluster.FIRST, cluster.TWO)
        with (
            socket.create_server((cluster.FIRST, port)) as server,
            Peers(Hosts(names, cluster.TWO, "lo"), port) as two,
        ):
            joining = pool.submit(two.join, 1.0, cluster.never)
            connection, _ = server.accept()
            hello = cluster.read_line(connection)
            cluster.say(connection, welcome=hello["proof"])  # an echo
            cluster.say(
                connection, failed="please pay at http://evil", exit_code=2, host=cluster.FIRST
            )
            with pytest.raises(ConfigError, match=r"host 127\.0\.0\.1 did not let this host in"):
                joining.result()
            assert two.failure is None
            connection.close()

    def test_a_host_speaks_for_itself_alone(self, port, pool):
        names = (cluster.FIRST, cluster.TWO)
        with Peers(Hosts(names, cluster.FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, cluster.LIMIT_S, cluster.never)
            with cluster.connected(port) as connection:
                cluster.greet(connection, cluster.TWO, names)
                assert joining.result()
                cluster.say(connection, failed="out of memory", exit_code=137, host=cluster.FIRST)
                assert cluster.failure_of(first) == PeerFailure(cluster.TWO, "out of memory", 137)

    def test_who_says_nothing_keeps_nobody_waiting(self, port, pool):
        names = (cluster.FIRST, cluster.TWO)
        with Peers(Hosts(names, cluster.FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, 10, cluster.never)
            with cluster.connected(port), cluster.connected(port) as host:
                cluster.greet(host, cluster.TWO, names)
                assert joining.result()
                assert first.failure is None

    def test_many_who_say_nothing_use_up_nothing(self, port, pool, monkeypatch, caplog):
        monkeypatch.setattr(peers_module, "_HELLO_LIMIT_S", 0.5)
        names = (cluster.FIRST, cluster.TWO)
        with (
            Peers(Hosts(names, cluster.FIRST, "lo"), port) as first,
            Peers(Hosts(names, cluster.TWO, "lo"), port) as two,
            ExitStack() as stack,
        ):
            joining = pool.submit(first.join, cluster.LIMIT_S, cluster.never)
            for _ in range(100):
                stack.enter_context(cluster.connected(port))
            names_of_threads = [thread.name for thread in threading.enumerate()]
            assert names_of_threads.count("peers-admit") <= MAX_PENDING_OF_ONE
            assert two.join(cluster.LIMIT_S, cluster.never)
            assert joining.result()
        assert "refused connections from 127.0.0.1: too many at a time" in caplog.messages

    def test_a_name_is_taken_once(self, port, pool, caplog):
        names = (cluster.FIRST, cluster.TWO, cluster.THREE)
        with Peers(Hosts(names, cluster.FIRST, "lo"), port) as first:
            joining = pool.submit(first.join, cluster.LIMIT_S, cluster.never)
            with (
                cluster.connected(port) as two,
                cluster.connected(port) as stranger,
                cluster.connected(port) as three,
            ):
                cluster.greet(two, cluster.TWO, names)
                proof = prove(Hosts(names, cluster.TWO), "hello", cluster.TWO)
                cluster.say(stranger, hello=cluster.TWO, proof=proof, num_processes=1)
                assert cluster.is_closed(stranger)
                assert not joining.done()
                cluster.greet(three, cluster.THREE, names)
                assert joining.result()
                for host in (two, three):
                    assert cluster.read_line(host) == {"begin": True}
        assert caplog.messages == [
            "refused a connection from 127.0.0.1 as host '127.0.0.2', which is there already"
        ]
