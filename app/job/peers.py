"""The hosts of a cluster watch each other: who is there, who failed first and why, who is done.

Training processes learn of a lost host from a broken collective, with a text that names no cause,
or not at all. So the parents of all hosts, which are never busy, hold a connection each to the
first host's: it passes failures on, and silence is a failure too.

Messages are lines of JSON. The port is open to the cluster's network; `app.job.admission` says who
is let in there.
"""

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.base.errors import EXIT_BUG, EXIT_USER_ERROR, ConfigError, printable
from app.job.admission import Pending, find_foreign, find_listening_addresses, is_proof, prove
from app.job.inputs import Hosts
from app.job.links import SILENCE_LIMIT_S, Link

logger = logging.getLogger(__name__)

PEERS_PORT = 7778
_BEAT_INTERVAL_S = 3.0
# For a connection to say who it is.
_HELLO_LIMIT_S = 5.0
_RETRY_INTERVAL_S = 0.5
_POLL_INTERVAL_S = 0.05
_NEWS_MARGIN_S = 5.0
# Of at most 12 bytes each, as JSON writes them.
_MAX_MESSAGE_CHARS = 4000
_MAX_REFUSALS_TOLD = 20


@dataclass(frozen=True)
class PeerFailure:
    """Why another host's part of the job failed.

    Attributes:
        host: Its name.
        message: Text of its failure file, or that it is gone.
        exit_code: That it ended with, or will end with.
    """

    host: str
    message: str
    exit_code: int

    def describe(self) -> str:
        """For this host's failure file."""
        return f"host {self.host} failed: {self.message}"


class Peers:
    """This host's connections to the others, as a context manager.

    Args:
        hosts: All of them; where there is one alone, nothing is waited for.
        port: On which the first host listens.
        num_processes: Training processes of this host; all hosts must have as many.
    """

    def __init__(self, hosts: Hosts, port: int = PEERS_PORT, num_processes: int = 1) -> None:
        self._hosts = hosts
        self._num_processes = num_processes
        self._port = port
        self._lock = threading.RLock()
        self._links: dict[str, Link] = {}
        self._done: set[str] = set()
        self._failure: PeerFailure | None = None
        self._has_begun = self._has_ended = len(hosts.names) == 1
        self._has_anyone_left = False
        self._are_others_stopping = False
        self._closing = threading.Event()
        self._servers: list[socket.socket] = []
        self._pending = Pending()
        self._refusals: set[str] = set()

    def __enter__(self) -> "Peers":
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        for server in self._servers:
            # Closing alone would leave it listening as long as a thread waits for connections.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        with self._lock:
            for link in self._links.values():
                link.close()

    @property
    def failure(self) -> PeerFailure | None:
        """The first failure that another host has reported."""
        return self._failure

    @property
    def has_anyone_left(self) -> bool:
        """Whether a host was asked to stop before training began, and left."""
        return self._has_anyone_left

    @property
    def are_others_stopping(self) -> bool:
        """Whether another host was asked to stop; the platform does not ask all at once."""
        return self._are_others_stopping

    def join(self, limit_s: float, stop_requested: Callable[[], bool]) -> bool:
        """Wait until all hosts are there; False if one of them was asked to stop meanwhile.

        Raises:
            ConfigError: If a host is missing after limit_s; names it and says why. Or if the port
                is taken.
        """
        if self._has_begun:
            return True
        deadline_s = time.monotonic() + limit_s
        threading.Thread(target=self._beat, name="peers-beat", daemon=True).start()
        if self._hosts.is_first:
            self._listen()
            problem = "did not connect"
        else:
            problem = self._connect(deadline_s, stop_requested)
            if self._links:
                # The first host began to wait earlier, so it is the one to say who is missing.
                deadline_s = time.monotonic() + limit_s + _NEWS_MARGIN_S
        while not self._has_begun and self._failure is None:
            if stop_requested():
                self._leave(but="")
            if self._has_anyone_left:
                return False
            if time.monotonic() > deadline_s:
                error = ConfigError(
                    f"resourceconfig.json names the hosts {', '.join(self._hosts.names)}, but "
                    f"after {limit_s:.0f} s host {self._missing()} {problem}; check that every "
                    "host runs this image and that they reach each other, or raise join_timeout_s"
                )
                self.tell_failure(str(error), EXIT_USER_ERROR)
                raise error
            time.sleep(_POLL_INTERVAL_S)
        return True

    def tell_failure(self, message: str, exit_code: int) -> None:
        """Let the other hosts know that this one failed, and why."""
        failed = message[:_MAX_MESSAGE_CHARS]
        self._send_all(
            {"failed": failed, "exit_code": exit_code, "host": self._hosts.current}, but=""
        )

    def tell_stop(self) -> None:
        """Let the other hosts know that this one was asked to stop."""
        self._send_all({"stopping": True}, but="")

    def finish(self, limit_s: float, is_out_of_time: Callable[[], bool] = lambda: False) -> bool:
        """Say that this host is done and wait for all others; False if one of them failed.

        Args:
            limit_s: Seconds after which a host that is not done counts as failed.
            is_out_of_time: Asked several times a second; on True this host waits no longer.
        """
        with self._lock:
            self._done.add(self._hosts.current)
            self._send_all({"done": True}, but="")
            self._end_if_all_done()
        deadline_s = time.monotonic() + limit_s
        while not (self._has_ended or self._failure is not None or is_out_of_time()):
            if time.monotonic() > deadline_s:
                problem = f"not done after {limit_s:.0f} s"
                self._fail(PeerFailure(self._missing(), problem, EXIT_BUG), but="")
            time.sleep(_POLL_INTERVAL_S)
        return self._failure is None

    def _listen(self) -> None:
        for address in find_listening_addresses(self._hosts):
            self._listen_at(address)
        if not self._servers:
            self._listen_at("")
        for server in self._servers:
            threading.Thread(
                target=self._accept, args=(server,), name="peers-accept", daemon=True
            ).start()

    def _listen_at(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._servers.append(socket.create_server((address, self._port), family=family))
        except OSError as error:
            if address and error.errno != errno.EADDRINUSE:
                return  # not of this machine, as behind a proxy
            raise ConfigError(
                f"host {self._hosts.current} cannot listen on {address or 'any address'}, port "
                f"{self._port}: {os.strerror(error.errno or 0)}; end what else listens there"
            ) from error

    def _accept(self, server: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                connection, (address, *_) = server.accept()
            except OSError:  # closed, or a connection given up before it was taken
                time.sleep(_POLL_INTERVAL_S)
                continue
            if not self._pending.take(address):
                connection.close()
                self._warn_once(f"refused connections from {address}: too many at a time")
                continue
            # In a thread of its own: a stranger who says nothing keeps nobody waiting.
            threading.Thread(
                target=self._admit,
                args=(Link(connection), address),
                name="peers-admit",
                daemon=True,
            ).start()

    def _admit(self, link: Link, address: str) -> None:
        with self._pending.giving_back(address):
            name = self._identify(link, address)
        if name is None:
            link.close()
        else:
            self._read(name, link)

    def _identify(self, link: Link, address: str) -> str | None:
        """The host that a connection is of, once it is let in; None for a stranger."""
        try:
            hello = link.receive_within(_HELLO_LIMIT_S) or {}
        except TimeoutError:
            hello = {}
        name = hello.get("hello")
        problem: str | None = "which is none of the others"
        if isinstance(name, str) and name in self._hosts.names and name != self._hosts.current:
            problem = "which does not know this job"
            if is_proof(hello.get("proof"), self._hosts, "hello", name):
                problem = find_foreign(address, name)
        with self._lock:
            if problem is None and name in self._links:
                problem = "which is there already"
            if problem is not None or not isinstance(name, str):
                shown = printable(f"{name!r:.60}")
                self._warn_once(f"refused a connection from {address} as host {shown}, {problem}")
                return None
            link.send({"welcome": prove(self._hosts, "welcome", self._hosts.current)})
            self._links[name] = link
            if hello.get("num_processes") != self._num_processes:
                problem = (
                    f"it has {printable(str(hello.get('num_processes')))} training processes, "
                    f"{self._hosts.current} has {self._num_processes}; set processes_per_host, or "
                    "take instances of one type"
                )
                self._fail(PeerFailure(name, problem, EXIT_USER_ERROR), but="")
            elif len(self._links) == len(self._hosts.names) - 1:
                self._send_all({"begin": True}, but="")
                self._has_begun = True
        return name

    def _warn_once(self, refusal: str) -> None:
        """Warn; a host that is refused tries again, twice a second."""
        with self._lock:
            if refusal in self._refusals or len(self._refusals) >= _MAX_REFUSALS_TOLD:
                return
            self._refusals.add(refusal)
        logger.warning("%s", refusal)

    def _connect(self, deadline_s: float, stop_requested: Callable[[], bool]) -> str:
        """Connect to the first host; returns why that has not worked until the deadline."""
        first, current = self._hosts.first, self._hosts.current
        hello = {"hello": current, "proof": prove(self._hosts, "hello", current)}
        problem = "cannot be reached"
        while time.monotonic() < deadline_s and not stop_requested():
            try:
                connection = socket.create_connection((first, self._port), timeout=5)
            except socket.gaierror as error:
                problem = f"cannot be resolved ({error.strerror})"
            except OSError as error:
                problem = f"cannot be reached at port {self._port} ({error.strerror or error})"
            else:
                link = Link(connection)
                link.send({**hello, "num_processes": self._num_processes})
                if self._is_welcome(link, deadline_s, stop_requested):
                    threading.Thread(
                        target=self._read, args=(first, link), name="peers-read", daemon=True
                    ).start()
                    return "did not let all of the others in"
                problem = (
                    f"did not let this host in at port {self._port}: its log says why, unless "
                    "another program listens there"
                )
            time.sleep(_RETRY_INTERVAL_S)
        return problem

    def _is_welcome(
        self, link: Link, deadline_s: float, stop_requested: Callable[[], bool]
    ) -> bool:
        """Whether the first host is at the other end, and lets this one in; waits for its word."""
        while time.monotonic() < deadline_s:
            if stop_requested():
                self._links[self._hosts.first] = link  # it is told that this host leaves
                return False
            try:
                answer = link.receive_within(_RETRY_INTERVAL_S)
            except TimeoutError:
                continue
            welcome = (answer or {}).get("welcome")
            if not is_proof(welcome, self._hosts, "welcome", self._hosts.first):
                break
            with self._lock:
                self._links[self._hosts.first] = link
            return True
        link.close()
        return False

    def _read(self, name: str, link: Link) -> None:
        while (message := link.receive()) is not None:
            self._take(name, message)
        if self._closing.is_set() or self._has_ended or self._has_anyone_left:
            return
        self._fail(PeerFailure(name, _GONE.format(silence=SILENCE_LIMIT_S), EXIT_BUG), but=name)

    def _take(self, name: str, message: Mapping[str, Any]) -> None:
        if "failed" in message:
            # The first host speaks for all, the others for themselves alone.
            host = message.get("host") if name == self._hosts.first else name
            failure = PeerFailure(
                host if host in self._hosts.names else name,
                printable(str(message["failed"])),
                _as_exit_code(message.get("exit_code")),
            )
            self._fail(failure, but=name)
        elif "left" in message:
            self._leave(but=name)
        elif "stopping" in message:
            self._are_others_stopping = True
            if self._hosts.is_first:
                self._send_all({"stopping": True}, but=name)
        elif "begin" in message:
            self._has_begun = True
        elif "end" in message:
            self._has_ended = True
        elif "done" in message:
            with self._lock:
                self._done.add(name)
                self._end_if_all_done()

    def _leave(self, but: str) -> None:
        """Let the others know that the job is stopped before it began."""
        self._has_anyone_left = True
        if self._hosts.is_first or not but:
            self._send_all({"left": True}, but=but)

    def _fail(self, failure: PeerFailure, but: str) -> None:
        with self._lock:
            if self._failure is not None:
                return
            self._failure = failure
        if self._hosts.is_first:
            self._send_all(
                {"failed": failure.message, "exit_code": failure.exit_code, "host": failure.host},
                but=but,
            )

    def _end_if_all_done(self) -> None:
        if self._hosts.is_first and self._done == set(self._hosts.names):
            # Before it is said: those who hear it close their connections.
            self._has_ended = True
            self._send_all({"end": True}, but="")

    def _send_all(self, message: Mapping[str, Any], but: str) -> None:
        with self._lock:
            for name, link in self._links.items():
                if name != but:
                    link.send(message)

    def _beat(self) -> None:
        while not self._closing.wait(_BEAT_INTERVAL_S):
            self._send_all({"beat": True}, but="")

    def _missing(self) -> str:
        """Names of the hosts that are not there, or not done, as far as this one knows."""
        if not self._hosts.is_first:
            return self._hosts.first
        known = {*self._links, self._hosts.current} if not self._has_begun else self._done
        return ", ".join(name for name in self._hosts.names if name not in known)


_GONE = (
    "it is gone: its connection closed, or was silent for {silence:.0f} s; its container was "
    "killed, ran out of memory, or lost the network: see that host's own log"
)


def _as_exit_code(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < 256 else EXIT_BUG
