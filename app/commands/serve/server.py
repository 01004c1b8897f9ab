"""The server of `serve`: uvicorn, its end, and what it answers where."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from app.base.errors import EXIT_OK
from app.commands.serve.service import Service

logger = logging.getLogger(__name__)

# SageMaker kills a container 30 s after it has asked it to stop.
_DRAIN_S: Final = 22.0
_LAST_ANSWERS_S: Final = 5.0
# Longer than proxies keep a connection that nobody uses, so that none sends into a closed one.
_KEEP_ALIVE_S: Final = 75


class _Server(uvicorn.Server):
    """Ends when asked to, or when the model cannot be loaded.

    Args:
        config: Of uvicorn.
        service: What answers.
        stop_requested: Whether a signal asked to stop.
    """

    def __init__(
        self, config: uvicorn.Config, service: Service, stop_requested: Callable[[], bool]
    ) -> None:
        super().__init__(config)
        self._service = service
        self._stop_requested = stop_requested

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the command's, which ends with 0; uvicorn's would end it by the signal."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        if self._service.failure is not None or self._stop_requested():
            self._service.drain()
            asyncio.get_running_loop().call_later(_DRAIN_S, self._service.give_up)
            self.should_exit = True
        return await super().on_tick(counter)


def serve(listener: socket.socket, service: Service, stop_requested: Callable[[], bool]) -> int:
    """Answer requests until asked to stop; returns the exit code.

    Args:
        listener: Where requests come from.
        service: What answers; it has begun to load the model.
        stop_requested: Whether to stop.

    Raises:
        RoofError: If the model cannot be used.
    """
    app = Starlette(
        routes=[
            Route("/ping", service.ping),
            Route("/invocations", service.invoke, methods=["POST"]),
            Route("/execution-parameters", service.execution_parameters),
        ]
    )
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(_DRAIN_S + _LAST_ANSWERS_S),
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    server = _Server(config, service, stop_requested)
    try:
        asyncio.run(server.serve([listener]))
    finally:
        service.close()
    if service.failure is not None:
        raise service.failure
    logger.info("stopped: all requests that were under way are answered")
    return EXIT_OK
