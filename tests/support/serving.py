"""A server of `serve` in this process, and clients of it that say exactly what they are told to."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from app.base.errors import StopRequested
from app.commands.serve.server import serve
from app.commands.serve.service import Limits, Service
from app.roofs.answers.answerer import Answer

LIMITS = Limits(num_waiting=2, max_bytes=10_000_000)
TIFF = {"Content-Type": "image/tiff"}


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def line(self) -> str:
        """Its text, which is one line."""
        (line,) = self.content.decode().splitlines()
        return line


class Served:
    """A server in a thread of this process.

    Attributes:
        port: Where it listens.
        exit_code: Once it has ended by itself.
        error: What it ended with.
        service: Its requests.
    """

    def __init__(self, load: Callable[[], Any], limits: Limits) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.exit_code: int | None = None
        self.error: BaseException | None = None
        self.service = Service(limits)
        self.service.load(load)
        self._stop = threading.Event()

        def run() -> None:
            try:
                self.exit_code = serve(listener, self.service, self._stop.is_set)
            except BaseException as error:
                self.error = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def ask(
        self,
        body: Any = b"II*\0",
        headers: dict[str, str] = TIFF,
        path: str = "/invocations",
        method: str = "POST",
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())

    def num_open(self) -> int:
        return self.service.num_open

    def ping(self) -> int:
        return self.ask(None, {}, "/ping", "GET").status

    def connect(self, text: bytes) -> socket.socket:
        """A connection over which only this has been sent."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        client.sendall(text)
        return client

    def wait_until_ready(self) -> None:
        until(lambda: self.ping() == 200)

    def stop(self) -> None:
        """As a signal does; returns at once."""
        self._stop.set()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def served(load: Callable[[], Any], limits: Limits = LIMITS) -> Iterator[Served]:
    """A server of the answerer that is loaded; it is stopped after the block."""
    server = Served(load, limits)
    try:
        yield server
    finally:
        server.stop()
        server.join()


class SlowAnswerer:
    """Answers each photo with its bytes, once it may.

    Attributes:
        may_answer: Set from the beginning.
        begun: Photos that it was asked about.
        left: Photos that it was told to leave.
    """

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.begun: list[bytes] = []
        self.left: list[bytes] = []
        self.error: Exception | None = None
        self.check_error: Exception | None = None

    def answer(self, photo: Any, photo_type: str, _: Any, stop_requested: Any) -> Answer:
        content = photo.read_bytes()
        self.begun.append(content)
        if self.error is not None:
            raise self.error
        while not self.may_answer.wait(0.01):
            if stop_requested():
                self.left.append(content)
                raise StopRequested
        return Answer(content, photo_type, 3, 2, [])

    def check(self) -> bool:
        if self.check_error is not None:
            raise self.check_error
        return True


@contextlib.contextmanager
def served_slowly(limits: Limits = LIMITS) -> Iterator[tuple[Served, SlowAnswerer]]:
    """A server with a SlowAnswerer, ready."""
    answerer = SlowAnswerer()
    with served(lambda: answerer, limits) as server:
        server.wait_until_ready()
        try:
            yield server, answerer
        finally:
            answerer.may_answer.set()


def until(condition: Any) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.01)
