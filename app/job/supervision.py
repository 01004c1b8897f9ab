"""A host's processes, from their start to the reason of their end."""

import logging
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from app.base.children import describe_exit, last_line
from app.base.errors import EXIT_BUG, EXIT_LOST_PEER, EXIT_OK, EXIT_SIGNAL_BASE, RoofError
from app.job.failure import read_failure
from app.job.inputs import Hosts
from app.job.links import SILENCE_LIMIT_S
from app.job.paths import Paths
from app.job.peers import PeerFailure, Peers
from app.job.processes import Ended, Processes
from app.job.signals import StopRequests
from app.resources.memory_sampler import MemorySampler

logger = logging.getLogger(__name__)

_KILLED = EXIT_SIGNAL_BASE + signal.SIGKILL
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_POLL_INTERVAL_S = 0.02
# SageMaker grants 120 s from SIGTERM to SIGKILL.
_STOP_LIMIT_S = 110.0
# A crash breaks the others' collectives: they may end by themselves, or hang.
_CRASH_GRACE_S = 5.0
# A host that only lost its connection waits this long for another to say why, or to fall silent.
_NEWS_LIMIT_S = SILENCE_LIMIT_S + 5.0
# Ranks end together, scripts when each is done.
_FINISH_LIMIT_S = 300.0


@dataclass(frozen=True)
class Failure:
    """How a host's part of a job failed.

    Attributes:
        message: One line.
        exit_code: Exit code for this process to end with.
        details: What stands below the message in the failure file.
        is_cause: Whether the messages of other processes are consequences of this failure.
        is_told: Whether the process that failed has logged the message itself.
    """

    message: str
    exit_code: int
    details: str = ""
    is_cause: bool = False
    is_told: bool = False

    @classmethod
    def of_peer(cls, failure: PeerFailure) -> "Failure":
        """This host's failure that follows from another's."""
        return cls(failure.describe(), failure.exit_code)


@dataclass(frozen=True)
class Part:
    """What this host does in a job.

    Attributes:
        hosts: All hosts of the job.
        script: The user's own script, which runs in place of our training; None where we train.
        num_processes: Processes that this host starts.
        join_limit_s: Time in which all hosts must be there.
        find_fitting: Measures which settings would have fitted into memory; None where that cannot
            be measured.
    """

    hosts: Hosts
    script: str | None
    num_processes: int
    join_limit_s: float
    find_fitting: Callable[[], str | None] | None = None

    @property
    def is_alone(self) -> bool:
        """Whether there is no other host."""
        return len(self.hosts.names) == 1

    @property
    def who(self) -> str:
        """A process of this host in messages."""
        return self.script or "training process"


@dataclass
class Supervision:
    """Watches a host's processes and finds out why they ended.

    Attributes:
        part: What the host does.
        processes: The processes that it started.
        peers: The other hosts.
        requests: Requests to stop, which are passed on to the processes.
        paths: Where a process that fails leaves its reason.
        memory: Sampler that began before the processes started.
    """

    part: Part
    processes: Processes
    peers: Peers
    requests: StopRequests
    paths: Paths
    memory: MemorySampler
    _stop_deadline_s: float | None = field(init=False, default=None)
    _crash_deadline_s: float | None = field(init=False, default=None)
    _is_too_late: bool = field(init=False, default=False)

    def watch(self) -> None:
        """Pass requests on until all processes have ended, and kill those that do not end."""
        while True:
            self.processes.reap()
            if not self.processes.are_running:
                break
            self._pass_requests_on()
            self._kill_stragglers()
            time.sleep(_POLL_INTERVAL_S)
        self.processes.kill()  # what a process that crashed has left behind
        self.processes.reap()

    def find_failure(self) -> Failure | None:
        """Why this host's part failed; None when it was done, or stopped on request.

        Waits for the other hosts: the platform stops all as soon as one ends.
        """
        if self.requests.to_kill():
            return Failure(
                "training process killed by a second Ctrl-C; the same command resumes its last "
                "checkpoint",
                _KILLED,
            )
        if self._is_too_late:
            return Failure(
                f"{self.part.who} did not stop within {_STOP_LIMIT_S:.0f} s and was "
                "killed; the same job resumes from its last checkpoint; save more often, and lower "
                "batch_size if a single step takes that long",
                _KILLED,
            )
        if self.peers.has_anyone_left:
            return None
        failed = [end for end in self.processes.ended if self._is_failure(end)]
        cause = next((end for end in failed if not self._is_consequence(end)), None)
        if cause is not None:
            return self._describe(cause)
        if failed:
            self._wait_for_news()
        elif self.peers.failure is None:
            limit_s = math.inf if self.part.script else _FINISH_LIMIT_S
            self.peers.finish(limit_s, self._must_end)
        if self.peers.failure is not None:
            return Failure.of_peer(self.peers.failure)
        return self._describe_loss(failed[0]) if failed else None

    def _pass_requests_on(self) -> None:
        if self.requests.to_kill():
            self.processes.kill()
        elif self._stop_deadline_s is None and self._must_stop():
            self._stop_deadline_s = time.monotonic() + _STOP_LIMIT_S
            logger.info("asked to stop by %s", self.requests.first or "another host")
            self.peers.tell_stop()
            # A script's own process is a grandchild.
            self.processes.send(signal.SIGTERM, to_all_they_started=bool(self.part.script))

    def _kill_stragglers(self) -> None:
        """Kill all processes if a host left, or if the time after a stop or a crash is over."""
        now_s = time.monotonic()
        if self.peers.has_anyone_left:
            self.processes.kill()
        if self._stop_deadline_s is not None and now_s > self._stop_deadline_s:
            self._is_too_late = True
            self.processes.kill()
        if self._crash_deadline_s is None and (
            self.peers.failure is not None
            or any(self._is_failure(end) for end in self.processes.ended)
        ):
            self._crash_deadline_s = now_s + _CRASH_GRACE_S
        if self._crash_deadline_s is not None and now_s > self._crash_deadline_s:
            self.processes.kill()

    def _is_failure(self, end: Ended) -> bool:
        if end.exit_code == EXIT_OK or end.was_killed:
            return False
        # A script without a handler of its own ends so when it is asked to stop.
        stopped = (-signal.SIGTERM, EXIT_SIGNAL_BASE + signal.SIGTERM)
        return not (self.part.script and self._must_stop() and end.exit_code in stopped)

    def _is_consequence(self, end: Ended) -> bool:
        """Whether a process may have ended because another one is gone.

        NCCL aborts a process that waits for one on another host.
        """
        aborted = not self.part.is_alone and end.exit_code == -signal.SIGABRT
        return end.exit_code == EXIT_LOST_PEER or aborted

    def _must_stop(self) -> bool:
        return self.requests.to_stop() or self.peers.are_others_stopping

    def _must_end(self) -> bool:
        """Whether to wait no longer: after a second Ctrl-C, or when the time for a stop is over."""
        if self.requests.to_stop() and self._stop_deadline_s is None:
            self._stop_deadline_s = time.monotonic() + _STOP_LIMIT_S
        is_late = self._stop_deadline_s is not None and time.monotonic() > self._stop_deadline_s
        return self.requests.to_kill() or is_late

    def _wait_for_news(self) -> None:
        deadline_s = time.monotonic() + (0 if self.part.is_alone else _NEWS_LIMIT_S)
        while self.peers.failure is None and time.monotonic() < deadline_s:
            time.sleep(_POLL_INTERVAL_S)

    def _describe(self, end: Ended) -> Failure:
        last_words = self.processes.last_words(end.number)
        signal_number = _find_signal(end.exit_code)
        exit_code = end.exit_code if end.exit_code > 0 else EXIT_SIGNAL_BASE - end.exit_code
        if signal_number == signal.SIGKILL:
            return Failure(self._describe_kill(), exit_code, is_cause=end.exit_code < 0)
        if signal_number is not None:
            message = f"{self.part.who} ended by {signal_number.name}"
            if signal_number in _CRASHES:
                message += ": a crash in native code"
                if not self.part.script:
                    message += "; set device=cpu or precision=fp32 to narrow it down"
            return Failure(message, exit_code, last_words, is_cause=end.exit_code < 0)
        told = read_failure(self.paths)
        if told is not None:
            return Failure(told, exit_code, is_told=True)
        hint = "" if last_words.strip() else "; see its log"
        message = f"{self.part.who} {describe_exit(exit_code, last_words)}{hint}"
        return Failure(message, exit_code, last_words)

    def _find_fitting(self) -> str | None:
        try:
            return self.part.find_fitting() if self.part.find_fitting else None
        except (RoofError, OSError) as error:  # the reason matters more than the remedy
            logger.warning("could not find out what would have fitted: %s", error)
            return None

    def _describe_kill(self) -> str:
        peak = self.memory.describe_peak()
        if not self.memory.has_run_out():
            rerun = "run it again" if self.part.script else "the same job resumes"
            return (
                f"{self.part.who} killed (SIGKILL) by something outside, not for memory ({peak}): "
                f"a person, a scheduler or another program; {rerun}"
            )
        remedy = "" if self.part.script else "lower batch_size, crop_size_px or num_workers, or "
        if fitting := self._find_fitting():
            remedy = f"{fitting}; or "
        return (
            f"{self.part.who} killed by the kernel (SIGKILL), probably out of memory: {peak}; "
            f"{remedy}take an instance with more memory"
        )

    def _describe_loss(self, end: Ended) -> Failure:
        """A process says that another one is gone, and no other one is known to have failed."""
        if end.exit_code != EXIT_LOST_PEER:
            return self._describe(end)
        last_words = self.processes.last_words(end.number)
        words = last_line(last_words) or "see the log"
        return Failure(
            f"training processes lost each other, and none is known to have failed: {words}; see "
            "to the network between them, or to one that hangs",
            EXIT_BUG,
            last_words,
        )


def _find_signal(exit_code: int) -> signal.Signals | None:
    """The signal that ended a process, from a negative exit code or the shell's 128 + number."""
    number = -exit_code if exit_code < 0 else exit_code - EXIT_SIGNAL_BASE
    return signal.Signals(number) if number in set(signal.Signals) else None
