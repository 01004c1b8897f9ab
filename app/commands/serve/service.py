"""What `serve` does with requests: a few wait, one is computed, and nobody waits in vain."""

import asyncio
import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from app.base.errors import ConfigError, RoofError, StopRequested, printable
from app.base.machine import explain_machine_error
from app.roofs.answers.refusal import ATTRIBUTES_HEADER, Refusal

if TYPE_CHECKING:
    from app.roofs.answers.answerer import Answer, Answerer
    from app.roofs.answers.question import Question

logger = logging.getLogger(__name__)

# Nothing for so long, or not all after so long, and a client has lost its place.
_MAX_SILENCE_S: Final = 10.0
_MAX_UPLOAD_S: Final = 60.0
_RETRY_AFTER_S: Final = 1
# A refused client gets so long to send the rest of its photo.
_LINGER_S: Final = 5.0
_MB: Final = 10**6
# As servers log it whose client has hung up; nobody gets it.
_CLIENT_GONE: Final = 499
_MAX_HEADER_CHARS: Final = 1024  # SageMaker's


class Limits(NamedTuple):
    """How much is taken on.

    Attributes:
        num_waiting: Requests that wait, their photos on disk, beside the one under way.
        max_bytes: Of a photo's file.
        silence_s: How long a client that sends a photo may say nothing.
        upload_s: How long it may take in all.
    """

    num_waiting: int
    max_bytes: int
    silence_s: float = _MAX_SILENCE_S
    upload_s: float = _MAX_UPLOAD_S


@dataclass
class _Entry:
    """What the log says of a request."""

    photo_bytes: int = 0
    photo_px: str = ""
    received_s: float = 0.0
    waited_s: float = 0.0
    computed_s: float = 0.0


class Service:
    """The requests of a server, and the thread that computes.

    Args:
        limits: How much is taken on.

    Attributes:
        limits: How much is taken on.
        num_open: Requests that are under way or wait.
        failure: Why the server has to end; None where it has not.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.failure: BaseException | None = None
        self._answerer: Answerer | None = None
        self.num_open = 0
        self._is_draining = False
        self._gives_up = threading.Event()
        self._worker = ThreadPoolExecutor(1, "roofs")

    def load(
        self, load: "Callable[[], Answerer]", then: "Callable[[Answerer], None] | None" = None
    ) -> None:
        """Have the thread load the model; requests get 503 until it has.

        Args:
            load: Loads it.
            then: Called once requests are answered.
        """

        def run() -> None:
            try:
                self._answerer = load()
                if then is not None:
                    then(self._answerer)
            except BaseException as error:
                self.failure = error

        self._worker.submit(run)

    def drain(self) -> None:
        """Take on nothing more."""
        self._is_draining = True

    def give_up(self) -> None:
        """Leave what is under way after its window, and what waits."""
        self._gives_up.set()

    def close(self) -> None:
        """Wait for the thread's end."""
        self.give_up()
        self._worker.shutdown(cancel_futures=True)

    async def ping(self, request: Request) -> Response:  # noqa: ARG002 - as Starlette calls it
        """200 once the model has passed its self-test, until the server is asked to stop."""
        if reason := self._find_reason():
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return Response(status_code=HTTPStatus.OK)

    async def execution_parameters(self, request: Request) -> Response:  # noqa: ARG002
        """What Batch Transform asks for before it begins."""
        return JSONResponse(
            {
                "MaxConcurrentTransforms": 1,
                "BatchStrategy": "SINGLE_RECORD",
                "MaxPayloadInMB": self.limits.max_bytes // _MB,
            }
        )

    async def invoke(self, request: Request) -> Response:
        """The answer to a photo; a line of the log for each."""
        start_s = time.monotonic()
        entry = _Entry()
        reason = ""
        try:
            with self._place(), tempfile.TemporaryDirectory(prefix="roof-upload-") as name:
                response = await self._answer(request, Path(name), entry)
        except ClientDisconnect:
            reason = "the client has hung up"
            response = Response(status_code=_CLIENT_GONE)
        except StopRequested:
            reason = "the server is stopping; send the request again, to another one"
            response = _text(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        except Exception as error:
            status, reason = _explain(error)
            response = _text(status, reason)
            if status == HTTPStatus.INTERNAL_SERVER_ERROR:
                self._worker.submit(self._examine)
            if status != HTTPStatus.REQUEST_TIMEOUT:
                await _discard(request)
        self._log(request, response, entry, reason, time.monotonic() - start_s)
        return response

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """A place among the requests that are taken on.

        Raises:
            Refusal: 503 if the model is not ready or the server stops; 429 if too many wait.
        """
        if reason := self._find_reason():
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        if self.num_open > self.limits.num_waiting:
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"got one request more than the {self.num_open} that are under way, which is the "
                "most; send it again later, or use more instances",
            )
        self.num_open += 1
        try:
            yield
        finally:
            self.num_open -= 1

    def _examine(self) -> None:
        """End the server if the model, or the device, is of no more use."""
        try:
            assert self._answerer is not None
            self._answerer.check()
        except BaseException as error:
            self.failure = error

    def _find_reason(self) -> str:
        """Why nothing is taken on; empty where something is."""
        if self._is_draining:
            return "the server is stopping; send the request again, to another one"
        return "" if self._answerer else "the model is being loaded; ask again in some seconds"

    async def _answer(self, request: Request, folder: Path, entry: _Entry) -> Response:
        from app.roofs.answers.question import check_photo_type, read_question

        start_s = time.monotonic()
        headers = request.headers
        photo_type = check_photo_type(headers.get("content-type"))
        question = read_question(headers.get("accept"), headers.get(ATTRIBUTES_HEADER))
        photo = folder / "photo"
        await self._receive(request, photo, entry)
        entry.received_s = time.monotonic() - start_s
        answer = await self._compute(request, photo, (photo_type, question), entry)
        entry.photo_px = f"{answer.width_px} x {answer.height_px} px"
        return Response(
            answer.content, media_type=answer.content_type, headers=_describe(answer.doubts)
        )

    async def _receive(self, request: Request, path: Path, entry: _Entry) -> None:
        """Write a request's body to a file, of which memory holds little.

        Raises:
            Refusal: 413 if it is too large, 408 if it comes too slowly.
            ClientDisconnect: If the client hangs up.
        """
        most = self.limits.max_bytes
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > most:
            raise _too_large(int(declared), most)
        try:
            async with asyncio.timeout(self.limits.upload_s):
                with path.open("wb") as file:
                    async for chunk in self._chunks(request):
                        entry.photo_bytes += len(chunk)
                        if entry.photo_bytes > most:
                            raise _too_large(entry.photo_bytes, most)
                        file.write(chunk)
        except TimeoutError as error:
            raise Refusal(
                HTTPStatus.REQUEST_TIMEOUT,
                f"body: got {entry.photo_bytes} bytes and then waited too long, expected some "
                f"every {self.limits.silence_s:g} s and all within {self.limits.upload_s:g} s; "
                "send it again",
            ) from error

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        """Parts of a body.

        Raises:
            TimeoutError: If none comes for too long.
        """
        chunks = request.stream()
        while True:
            async with asyncio.timeout(self.limits.silence_s):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk

    async def _compute(
        self, request: Request, photo: Path, asked: "tuple[str, Question]", entry: _Entry
    ) -> "Answer":
        """Have the thread compute an answer; it leaves one that nobody waits for.

        Raises:
            ClientDisconnect: If the client has hung up.
            StopRequested: If the server gave up.
            RoofError: As of Answerer.answer.
        """
        answerer = self._answerer
        assert answerer is not None
        is_gone = threading.Event()
        asked_s = time.monotonic()

        def is_left() -> bool:
            return is_gone.is_set() or self._gives_up.is_set()

        def compute() -> "Answer":
            start_s = time.monotonic()
            entry.waited_s = start_s - asked_s
            if is_left():
                raise StopRequested
            try:
                return answerer.answer(photo, *asked, is_left)
            finally:
                entry.computed_s = time.monotonic() - start_s

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            is_gone.set()

        watching = asyncio.create_task(watch())
        try:
            # Whatever happens here, the photo's folder stays until the thread has left it.
            return await asyncio.get_running_loop().run_in_executor(self._worker, compute)
        except StopRequested:
            if is_gone.is_set():
                raise ClientDisconnect from None
            raise
        finally:
            watching.cancel()

    def _log(
        self, request: Request, response: Response, entry: _Entry, reason: str, seconds: float
    ) -> None:
        status = response.status_code
        level = logging.INFO if status < HTTPStatus.BAD_REQUEST else logging.WARNING
        photo = f"photo {entry.photo_bytes} bytes"
        if entry.photo_px:
            photo += f", {entry.photo_px}"
        logger.log(
            level,
            "%s %s %d: %s; answer %d bytes; received %.3f s, waited %.3f s, computed %.3f s, "
            "in all %.3f s%s",
            request.method,
            request.url.path,
            status,
            photo,
            len(response.body),
            entry.received_s,
            entry.waited_s,
            entry.computed_s,
            seconds,
            f"; {reason}" if reason else "",
        )


async def _discard(request: Request) -> None:
    """Read what a client is still sending, for a while.

    It would find its connection broken, and not read the answer.
    """
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_LINGER_S):
            async for _ in request.stream():  # none where all has been read
                pass


def _explain(error: Exception) -> tuple[int, str]:
    """Status and line of an error; what is our bug goes to the log with its traceback."""
    if isinstance(error, Refusal):
        return error.status, str(error)
    lacks = explain_machine_error(error)
    if lacks is None and isinstance(error, ConfigError):  # memory does not suffice
        lacks = str(error)
    if lacks is not None:
        return HTTPStatus.SERVICE_UNAVAILABLE, printable(lacks)
    if isinstance(error, RoofError):
        return HTTPStatus.UNPROCESSABLE_ENTITY, str(error)
    logger.error("internal error", exc_info=error)
    return HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the server's log says more"


def _too_large(num_bytes: int, most: int) -> Refusal:
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"body: got {num_bytes} bytes or more, expected at most {most}; send the photo in "
        "parts, or predict it with `predict`, which takes files of any size",
    )


def _text(status: int, line: str) -> Response:
    headers = {}
    if status == HTTPStatus.REQUEST_TIMEOUT:
        headers["Connection"] = "close"  # the rest of the body may never come
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    return Response(f"{line}\n", status, headers, "text/plain")


def _describe(doubts: list[str]) -> dict[str, str]:
    """The header by which SageMaker passes on what else is known of an answer."""
    if not doubts:
        return {}
    text = f"warnings={'; '.join(doubts)}".encode("ascii", "backslashreplace").decode()
    return {ATTRIBUTES_HEADER: printable(text)[:_MAX_HEADER_CHARS]}
