"""Process 1 of a container: starts a host's training processes and answers for how they end.

They are processes of their own because the kernel's out-of-memory killer leaves a process no last
word. This one imports no torch, so it stays small and is never busy: signals are passed on at once.

torchrun is not used. It is one more process that imports torch, ends with 1 whenever it was asked
to stop, sends the processes that are left the same signal after a crash as for a stop, and loses
their exit codes; the environment that it gives to each, `app.job.environments` gives as well.
"""

import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.base.errors import EXIT_LOST_PEER, EXIT_OK, EXIT_SIGNAL_BASE, RoofError, printable
from app.job.environments import build_environments, choose_num_processes
from app.job.failure import clear_failure, read_failure, write_failure
from app.job.inputs import read_hosts
from app.job.paths import Paths
from app.job.peers import SILENCE_LIMIT_S, Peers
from app.job.processes import Ended, Processes
from app.job.script_mode import find_script
from app.job.signals import StopRequests
from app.job.start_log import log_start
from app.resources.cgroup import read_oom_kills
from app.resources.gpus import check_gpus, read_gpus, read_torch_build
from app.resources.memory_sampler import MemorySampler
from app.settings.texts import parse_hyperparameters

logger = logging.getLogger(__name__)

_KILLED = EXIT_SIGNAL_BASE + signal.SIGKILL
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_SAMPLE_INTERVAL_S = 1.0
_POLL_INTERVAL_S = 0.02
# SageMaker grants 120 s from SIGTERM to SIGKILL.
_STOP_LIMIT_S = 110.0
# A crash breaks the others' collectives: they may end by themselves, or hang.
_CRASH_GRACE_S = 5.0
# How long a host that only lost its connection waits for another to say why, or to be found gone.
_NEWS_LIMIT_S = SILENCE_LIMIT_S + 5.0
# Ranks end together, scripts when each is done.
_FINISH_LIMIT_S = 300.0
_SCRIPT_JOIN_LIMIT_S = 240.0


@dataclass(frozen=True)
class Failure:
    """How a host's part of a job failed.

    Attributes:
        message: One line.
        exit_code: To end with.
        details: What stands below the message in the failure file.
        is_cause: Whether other processes' messages tell of its consequences.
        is_told: Whether the process that failed has logged the message itself.
    """

    message: str
    exit_code: int
    details: str = ""
    is_cause: bool = False
    is_told: bool = False


def run_job(
    arguments: Sequence[str],
    paths: Paths,
    settings: Mapping[str, object],
    requests: StopRequests,
    find_channels: Callable[[], Mapping[str, Path]],
) -> int:
    """Run this host's part of a job and return the exit code to end with.

    0 when it is done or was stopped on request; else the code of the first process that failed, or
    128 plus the number of the signal that ended it, with a failure file.

    Args:
        arguments: The command line, from its command on; every process gets the same.
        paths: The job's folders.
        settings: Hyperparameters as they were sent.
        requests: Listening.
        find_channels: Tells the folders of datasets, where memory ran out and it is asked what
            would fit.

    Raises:
        RoofError: If the job cannot be started.
    """
    hosts, gpus, torch_build = read_hosts(paths), read_gpus(), read_torch_build()
    log_start(paths, hosts, gpus, torch_build, settings)
    script = find_script(paths, settings)
    find_remedy: Callable[[], str | None] = _no_remedy
    if script:
        num_processes, join_limit_s = 1, _SCRIPT_JOIN_LIMIT_S
    else:
        hyperparameters = parse_hyperparameters(settings)
        check_gpus(gpus, torch_build, hyperparameters.device)
        num_processes = choose_num_processes(
            hyperparameters.processes_per_host, hyperparameters.device, gpus
        )
        join_limit_s = hyperparameters.join_timeout_s
        if len(hosts.names) == 1:

            def find_remedy() -> str | None:
                from app.resources.batch_size import describe_fitting

                logger.info("measuring what would have fitted")
                return describe_fitting(
                    hyperparameters, settings, find_channels(), num_processes, requests.to_stop
                )

    flags = ["-P"] if sys.flags.safe_path else []
    role = "script" if script else "rank"
    command = [sys.executable, *flags, "-m", "app", *arguments, "--supervised", role]
    with (
        MemorySampler(_SAMPLE_INTERVAL_S, with_walks=False) as memory,
        Peers(hosts, num_processes=num_processes) as peers,
    ):
        if not peers.join(join_limit_s, requests.to_stop):
            logger.info("asked to stop before training began")
            return EXIT_OK
        if peers.failure is not None:
            return _report(Failure(peers.failure.describe(), peers.failure.exit_code), paths)
        environments = build_environments(hosts, num_processes)
        # A progress bar needs the terminal itself.
        keep_last_words = bool(script) or not sys.stderr.isatty()
        processes = Processes(command, environments, keep_last_words=keep_last_words)
        is_alone = len(hosts.names) == 1
        supervision = _Supervision(
            processes, peers, requests, paths, memory, script, is_alone, find_remedy
        )
        supervision.watch()
        failure = supervision.find_failure()
        if failure is None:
            return EXIT_OK
        peers.tell_failure(failure.message, failure.exit_code)
        return _report(failure, paths)


def _report(failure: Failure, paths: Paths) -> int:
    if not failure.is_told:
        logger.error("%s", failure.message)
    if failure.is_cause:
        clear_failure(paths)  # others wrote what followed from it
    write_failure(paths, failure.message, failure.details)
    return failure.exit_code


class _Supervision:
    """A host's processes, from their start to the reason of their end."""

    def __init__(
        self,
        processes: Processes,
        peers: Peers,
        requests: StopRequests,
        paths: Paths,
        memory: MemorySampler,
        script: str | None,
        is_alone: bool,
        find_remedy: Callable[[], str | None],
    ) -> None:
        self._processes = processes
        self._peers = peers
        self._requests = requests
        self._paths = paths
        self._memory = memory
        self._script = script
        self._is_alone = is_alone
        self._find_remedy = find_remedy
        self._oom_kills_before = read_oom_kills()
        self._stop_deadline_s: float | None = None
        self._crash_deadline_s: float | None = None
        self._is_too_late = False

    def watch(self) -> None:
        """Pass requests on until all processes have ended, and end those that cannot go on."""
        while True:
            self._processes.reap()
            if not self._processes.are_running:
                break
            self._pass_requests_on()
            self._end_the_hopeless()
            time.sleep(_POLL_INTERVAL_S)
        self._processes.kill()  # what a process that crashed has left behind
        self._processes.reap()

    def find_failure(self) -> Failure | None:
        """Why this host's part failed; None when it was done, or stopped on request.

        Waits for the other hosts: the platform stops all as soon as one ends.
        """
        if self._requests.to_kill():
            return Failure(
                "training process killed by a second Ctrl-C; the same command resumes its last "
                "checkpoint",
                _KILLED,
            )
        if self._is_too_late:
            return Failure(
                f"{self._who} did not stop within {_STOP_LIMIT_S:.0f} s of SIGTERM and was killed; "
                "the same job goes on from its last checkpoint; save more often, and lower "
                "batch_size if a single step takes that long",
                _KILLED,
            )
        if self._peers.has_anyone_left:
            return None
        failed = [end for end in self._processes.ended if self._is_failure(end)]
        cause = next((end for end in failed if not self._is_consequence(end)), None)
        if cause is not None:
            return self._describe(cause)
        if failed:
            self._wait_for_news()
        elif self._peers.failure is None:
            limit_s = math.inf if self._script else _FINISH_LIMIT_S
            self._peers.finish(limit_s, self._must_end)
        if self._peers.failure is not None:
            return Failure(self._peers.failure.describe(), self._peers.failure.exit_code)
        return self._describe(failed[0]) if failed else None

    def _pass_requests_on(self) -> None:
        if self._requests.to_kill():
            self._processes.kill()
        elif self._stop_deadline_s is None and self._must_stop():
            self._stop_deadline_s = time.monotonic() + _STOP_LIMIT_S
            self._peers.tell_stop()
            # A script's own process is a grandchild.
            self._processes.send(signal.SIGTERM, to_all_they_started=bool(self._script))

    def _end_the_hopeless(self) -> None:
        now_s = time.monotonic()
        if self._peers.has_anyone_left:
            self._processes.kill()
        if self._stop_deadline_s is not None and now_s > self._stop_deadline_s:
            self._is_too_late = True
            self._processes.kill()
        if self._crash_deadline_s is None and (
            self._peers.failure is not None
            or any(self._is_failure(end) for end in self._processes.ended)
        ):
            self._crash_deadline_s = now_s + _CRASH_GRACE_S
        if self._crash_deadline_s is not None and now_s > self._crash_deadline_s:
            self._processes.kill()

    def _is_failure(self, end: Ended) -> bool:
        if end.exit_code == EXIT_OK or end.was_killed:
            return False
        # A script without a handler of its own ends so when it is asked to stop.
        stopped = (-signal.SIGTERM, EXIT_SIGNAL_BASE + signal.SIGTERM)
        return not (self._script and self._must_stop() and end.exit_code in stopped)

    def _is_consequence(self, end: Ended) -> bool:
        """Whether what ended a process may be that another one is gone.

        NCCL aborts a process that waits for one on another host.
        """
        aborted = not self._is_alone and end.exit_code == -signal.SIGABRT
        return end.exit_code == EXIT_LOST_PEER or aborted

    def _must_stop(self) -> bool:
        return self._requests.to_stop() or self._peers.are_others_stopping

    def _must_end(self) -> bool:
        """Whether the platform, or a person, would not wait any longer."""
        if self._requests.to_stop() and self._stop_deadline_s is None:
            self._stop_deadline_s = time.monotonic() + _STOP_LIMIT_S
        is_late = self._stop_deadline_s is not None and time.monotonic() > self._stop_deadline_s
        return self._requests.to_kill() or is_late

    def _wait_for_news(self) -> None:
        deadline_s = time.monotonic() + (0 if self._is_alone else _NEWS_LIMIT_S)
        while self._peers.failure is None and time.monotonic() < deadline_s:
            time.sleep(_POLL_INTERVAL_S)

    def _describe(self, end: Ended) -> Failure:
        last_words = self._processes.last_words(end.number)
        signal_number = _find_signal(end.exit_code)
        exit_code = end.exit_code if end.exit_code > 0 else EXIT_SIGNAL_BASE - end.exit_code
        if signal_number == signal.SIGKILL:
            return Failure(self._describe_kill(), exit_code, is_cause=end.exit_code < 0)
        if signal_number is not None:
            message = f"{self._who} ended by {signal_number.name}"
            if signal_number in _CRASHES:
                remedy = (
                    "" if self._script else "; set device=cpu or precision=fp32 to narrow it down"
                )
                message += f": a crash in native code{remedy}"
            return Failure(message, exit_code, last_words, is_cause=end.exit_code < 0)
        told = read_failure(self._paths)
        if told is not None:
            return Failure(told, exit_code, is_told=True)
        last = next((line for line in reversed(last_words.splitlines()) if line.strip()), "")
        reason = printable(last.strip()) or "without a word; see its log"
        return Failure(
            f"{self._who} ended with exit code {exit_code}: {reason}", exit_code, last_words
        )

    @property
    def _who(self) -> str:
        return self._script or "training process"

    def _was_for_memory(self) -> bool:
        """Whether it was the kernel, by its own count or, without one, by how full memory was."""
        kills = read_oom_kills()
        if kills is None or self._oom_kills_before is None:
            return self._memory.was_full()
        return kills > self._oom_kills_before

    def _find_fitting(self) -> str | None:
        try:
            return self._find_remedy()
        except (RoofError, OSError) as error:  # why training ended is more than what would help
            logger.warning("could not find out what would have fitted: %s", error)
            return None

    def _describe_kill(self) -> str:
        remedy = "" if self._script else "lower batch_size, crop_size_px or num_workers, or "
        if self._was_for_memory() and (fitting := self._find_fitting()):
            remedy = f"{fitting}; or "
        return (
            f"{self._who} killed by the kernel (SIGKILL), probably out of memory: "
            f"{self._memory.describe_peak()}; {remedy}take an instance with more memory"
        )


def _no_remedy() -> str | None:
    return None


def _find_signal(exit_code: int) -> signal.Signals | None:
    """The signal that ended a process, told by itself or by the shell's convention."""
    number = -exit_code if exit_code < 0 else exit_code - EXIT_SIGNAL_BASE
    return signal.Signals(number) if number in set(signal.Signals) else None
