"""Requests of all kinds against a server whose answers take as long as a test wants."""

import contextlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest

from app.base.errors import CheckpointError, ConfigError
from tests.support.serving import LIMITS, TIFF, served, served_slowly, until

HEAD = b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: image/tiff\r\n"


def photo_of(number):
    return b"II*\0" + bytes([number])


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [r.getMessage() for r in caplog.records if "/invocations" in r.getMessage()]


def test_nothing_is_taken_on_until_the_model_is_there():
    may_load = threading.Event()
    with served(lambda: may_load.wait(60)) as server:
        assert server.ping() == 503
        reply = server.ask()
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert reply.line == "the model is being loaded; ask again in some seconds"
        may_load.set()
        server.wait_until_ready()


def test_a_model_that_cannot_be_used_ends_the_server():
    load = mock.Mock(side_effect=CheckpointError("the model fails its self-test"))
    with served(load) as server:
        server.join()
    assert isinstance(server.error, CheckpointError)


def test_requests_wait_in_their_order_and_too_many_are_refused():
    with served_slowly() as (server, answerer), ThreadPoolExecutor(3) as clients:
        answerer.may_answer.clear()
        taken = []
        for number in range(3):
            taken.append(clients.submit(server.ask, photo_of(number)))
            until(lambda n=number: server.num_open() > n)
        refused = server.ask(photo_of(9))
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert refused.line.startswith("got one request more than the 3 that are under way")
        assert server.ping() == 200
        answerer.may_answer.set()
        assert [reply.result().content for reply in taken] == [photo_of(n) for n in range(3)]
        assert answerer.begun == [photo_of(n) for n in range(3)]
        assert server.ask(photo_of(4)).status == 200


def test_a_hundred_at_once_are_answered_or_refused_and_the_next_one_works():
    with served_slowly() as (server, _), ThreadPoolExecutor(100) as clients:
        replies = list(clients.map(server.ask, [photo_of(n) for n in range(100)]))
        assert {reply.status for reply in replies} <= {200, 429}
        for number, reply in enumerate(replies):
            assert reply.status == 429 or reply.content == photo_of(number)
        assert any(reply.status == 200 for reply in replies)
        assert server.ask(photo_of(7)).content == photo_of(7)


def test_who_hangs_up_while_waiting_is_not_computed(lines):
    with served_slowly() as (server, answerer), ThreadPoolExecutor(1) as clients:
        answerer.may_answer.clear()
        first = clients.submit(server.ask, photo_of(0))
        until(lambda: answerer.begun)
        with server.connect(HEAD + b"Content-Length: 5\r\n\r\n" + photo_of(1)):
            until(lambda: server.num_open() == 2)
        # Time for the server to see it: each ping is answered after what came before.
        for _ in range(10):
            assert server.ping() == 200
        answerer.may_answer.set()
        assert first.result().status == 200
        until(lambda: [line for line in lines() if " 499:" in line])
        assert answerer.begun == [photo_of(0)]
        assert server.ask(photo_of(2)).status == 200


def test_who_hangs_up_while_computed_frees_the_thread(lines):
    with served_slowly() as (server, answerer):
        answerer.may_answer.clear()
        with server.connect(HEAD + b"Content-Length: 5\r\n\r\n" + photo_of(1)):
            until(lambda: answerer.begun)
        until(lambda: answerer.left)
        assert answerer.left == [photo_of(1)]
        answerer.may_answer.set()
        assert server.ask(photo_of(2)).content == photo_of(2)
        (line,) = [line for line in lines() if " 499:" in line]
        assert line.endswith("; the client has hung up")


def test_who_hangs_up_while_sending_leaves_no_place_taken():
    with served_slowly() as (server, answerer):
        for _ in range(4):
            with server.connect(HEAD + b"Content-Length: 500\r\n\r\nII*\0"):
                until(lambda: server.num_open() == 1)
            until(lambda: server.num_open() == 0)
        assert answerer.begun == []
        assert server.ask(photo_of(2)).status == 200


@pytest.mark.parametrize(
    ("limits", "sent"),
    [
        (LIMITS._replace(silence_s=0.1), b"II*\0"),
        (LIMITS._replace(upload_s=0.2), b"II*\0"),
    ],
    ids=["silence", "in all"],
)
def test_a_client_that_sends_slowly_loses_its_place(limits, sent):
    with served_slowly(limits) as (server, answerer):
        with server.connect(HEAD + b"Content-Length: 500\r\n\r\n" + sent) as client:
            answer = client.recv(65536)
            while b"\n" not in answer.partition(b"\r\n\r\n")[2]:
                answer += client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"body: got 4 bytes and then waited too long, expected some every" in answer
        assert answerer.begun == []
        assert server.ask(photo_of(2)).status == 200


def test_a_body_too_large_is_refused_by_its_declared_size():
    with served_slowly(LIMITS._replace(max_bytes=1000)) as (server, answerer):
        # Not a byte of it is sent.
        with server.connect(HEAD + b"Content-Length: 200000000\r\n\r\n") as client:
            answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answerer.begun == []
        assert server.ask(photo_of(2)).status == 200


def test_a_body_too_large_is_refused_by_what_comes():
    with served_slowly(LIMITS._replace(max_bytes=1000)) as (server, answerer):
        reply = server.ask(iter([b"II*\0", b"a" * 900, b"a" * 97]))  # in chunks, without a size
        assert reply.status == 413
        assert reply.line.startswith("body: got 1001 bytes or more, expected at most 1000; send")
        assert server.ask(iter([b"II*\0", b"a" * 996])).status == 200
        assert len(answerer.begun) == 1


@pytest.mark.parametrize(
    ("headers", "status", "beginning"),
    [
        ({}, 415, "Content-Type: got None, expected one of image/tiff, image/png, image/jpeg"),
        ({"Content-Type": "application/json"}, 415, "Content-Type: got 'application/json'"),
        ({**TIFF, "Accept": "text/csv"}, 406, "Accept: got 'text/csv', expected one of"),
        (
            {**TIFF, "X-Amzn-SageMaker-Custom-Attributes": "gsd=1"},
            400,
            "X-Amzn-SageMaker-Custom-Attributes: got 'gsd=1', expected gsd_m=METRES",
        ),
    ],
)
def test_a_mistake_in_the_head_is_a_line_and_nothing_is_computed(headers, status, beginning):
    with served_slowly() as (server, answerer):
        reply = server.ask(headers=headers)
        assert reply.status == status
        assert reply.line.startswith(beginning)
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
        assert answerer.begun == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/invocations", 405), ("POST", "/ping", 405), ("GET", "/", 404)],
)
def test_other_paths_and_methods_are_refused(method, path, status):
    with served_slowly() as (server, _):
        assert server.ask(None, {}, path, method).status == status


def test_what_is_no_http_is_refused():
    with served_slowly() as (server, _):
        with server.connect(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n") as client:
            assert client.recv(100).startswith(b"HTTP/1.1 400 ")
        assert server.ask().status == 200


def test_batch_transform_is_told_what_fits():
    with served_slowly() as (server, _):
        reply = server.ask(None, {}, "/execution-parameters", "GET")
        assert reply.content == (
            b'{"MaxConcurrentTransforms":1,"BatchStrategy":"SINGLE_RECORD","MaxPayloadInMB":10}'
        )


def test_a_line_of_the_log_has_sizes_and_times_and_no_content(lines):
    with served_slowly() as (server, _):
        server.ask(b"II*\0secret")
        (line,) = lines()
        assert line.startswith(
            "POST /invocations 200: photo 10 bytes, 3 x 2 px; answer 10 bytes; received 0."
        )
        assert "secret" not in line


def test_memory_that_does_not_suffice_is_the_servers():
    with served_slowly() as (server, answerer):
        answerer.error = ConfigError("out of memory while predicting a.tif")
        reply = server.ask()
        assert (reply.status, reply.line) == (503, "out of memory while predicting a.tif")


def test_our_bug_is_told_without_its_traceback_and_the_next_one_works(caplog):
    with served_slowly() as (server, answerer):
        answerer.error = ZeroDivisionError("a detail")
        reply = server.ask()
        assert (reply.status, reply.line) == (500, "internal error; the server's log says more")
        assert any("a detail" in str(r.exc_info) for r in caplog.records if r.exc_info)
        answerer.error = None
        assert server.ask().status == 200


def test_a_device_of_no_more_use_ends_the_server():
    with served_slowly() as (server, answerer):
        answerer.error, answerer.check_error = RuntimeError("CUDA error"), RuntimeError("again")
        assert server.ask().status == 500
        server.join()
        assert str(server.error) == "again"


def test_a_stop_answers_what_is_under_way_and_takes_on_nothing_more():
    with served_slowly() as (server, answerer), ThreadPoolExecutor(2) as clients:
        answerer.may_answer.clear()
        taken = [clients.submit(server.ask, photo_of(number)) for number in range(2)]
        until(lambda: server.num_open() == 2)
        server.stop()
        until(lambda: not _answers(server))
        answerer.may_answer.set()
        assert sorted(reply.result().content for reply in taken) == [photo_of(0), photo_of(1)]
        server.join()
        assert server.exit_code == 0


def test_a_stop_does_not_wait_for_ever():
    with mock.patch("app.commands.serve.server._DRAIN_S", 0.1):
        with served_slowly() as (server, answerer), ThreadPoolExecutor(1) as clients:
            answerer.may_answer.clear()
            taken = clients.submit(server.ask, photo_of(1))
            until(lambda: answerer.begun)
            server.stop()
            reply = taken.result()
            server.join()
        assert reply.status == 503
        assert reply.line.startswith("the server is stopping")
        assert server.exit_code == 0


def _answers(server):
    with contextlib.suppress(OSError):
        return server.ping() == 200
    return False
