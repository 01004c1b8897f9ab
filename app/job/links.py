"""A connection between two hosts: lines of JSON, each of bounded length and time."""

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

SILENCE_LIMIT_S = 30.0
_MAX_LINE_BYTES = 64 * 1024
_CHUNK_BYTES = 4096


class Link:
    """Lines of JSON over a connection; both ends send one every few seconds.

    Args:
        connection: Is closed with the link.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(SILENCE_LIMIT_S)
        self._connection = connection
        self._unread = bytearray()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; the reader notices a lost connection, and reports it."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """The next message; None once there will be none, or after a silence."""
        try:
            return self._parse(self._read_line(SILENCE_LIMIT_S, is_whole=False))
        except TimeoutError:
            return None

    def receive_within(self, limit_s: float) -> dict[str, Any] | None:
        """The next message; None once there will be none.

        Raises:
            TimeoutError: If it is not there in time, however it drips; a later call goes on.
        """
        return self._parse(self._read_line(limit_s, is_whole=True))

    def close(self) -> None:
        """Close the connection, whoever reads from it."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _read_line(self, limit_s: float, *, is_whole: bool) -> bytes:
        """A line with its end, in limit_s as a whole or from piece to piece; empty at the end."""
        deadline_s = time.monotonic() + limit_s
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > _MAX_LINE_BYTES:
                return b""
            left_s = deadline_s - time.monotonic() if is_whole else limit_s
            if left_s <= 0:
                raise TimeoutError
            try:
                self._connection.settimeout(left_s)
                chunk = self._connection.recv(_CHUNK_BYTES)
            except TimeoutError:
                raise
            except OSError:
                return b""
            if not chunk:
                return b""
            self._unread += chunk
        line = bytes(self._unread[: end + 1])
        del self._unread[: end + 1]
        return line

    @staticmethod
    def _parse(line: bytes) -> dict[str, Any] | None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return message if isinstance(message, dict) else None
