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
from tests.support.peers import (
    FIRST,
    LIMIT_S,
    THREE,
    TWO,
    connected,
    failure_of,
    greet,
    is_closed,
    never,
    read_line,
    say,
)


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
