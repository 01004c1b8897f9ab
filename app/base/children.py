"""Child processes: how they are started, asked, and ended together with their parent.

A parent writes its question to the child's standard input. The child writes each answer at once, as
a line of JSON, to its standard output, so its answers survive its end.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

from app.base.errors import EXIT_BUG, printable

PARENT_VARIABLE: Final = "ROOF_MODEL_PARENT"
_PR_SET_PDEATHSIG: Final = 1
_PARENT_INTERVAL_S: Final = 0.5
_POLL_INTERVAL_S: Final = 0.2


@dataclass(frozen=True)
class Reply:
    """What a child answered.

    Attributes:
        answers: In order; each a map of "kind" and "values".
        failure: Why it did not end well, in one line; None if it did.
        is_told: Whether the child itself named the failure, as it does for errors that the user can
            cure.
    """

    answers: list[dict[str, Any]]
    failure: str | None = None
    is_told: bool = False

    def of_kind(self, kind: str) -> list[Any]:
        """The values of all answers of a kind, in order."""
        return [answer["values"] for answer in self.answers if answer["kind"] == kind]


def own_command(*arguments: str) -> list[str]:
    """The command line that gives this interpreter, with its way of finding modules, arguments."""
    flags = ["-P"] if sys.flags.safe_path else []
    return [sys.executable, *flags, *arguments]


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies: two runs never share checkpoints.

    The parent names itself in the environment: it may have died before this process could ask.
    Where the kernel does no such thing, as on macOS, a thread looks for the parent twice a second.
    """
    prctl = _find_prctl()
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not _has_parent():
        sys.exit(EXIT_BUG)
    if prctl is None:
        threading.Thread(target=_end_without_parent, name="die-with-parent", daemon=True).start()


def start_stopping_with_parent(
    command: Sequence[str], output: IO[bytes] | None
) -> "subprocess.Popen[bytes]":
    """Start a job that gets SIGTERM when this process dies, so that it saves its state.

    Only Linux sends it. Elsewhere the job runs on to its end.

    The job has a session of its own, so that Ctrl-C reaches it only once, through this process.

    Args:
        command: The job's command line.
        output: File for everything that the job prints; None lets it print where this process
            does.
    """
    return subprocess.Popen(
        command,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=stopping_with_parent(),
    )


def stopping_with_parent() -> Callable[[], None]:
    """What a child has to call, as `preexec_fn`, to get SIGTERM when this process dies."""
    prctl = _find_prctl()  # before the fork, after which little may be called

    def stop_with_parent() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return stop_with_parent


def ask_child(
    kind: str,
    question: str,
    timeout_s: float,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Reply:
    """Ask `python -m app probe KIND`, and wait for its end.

    Args:
        kind: Kind of question, as `probe` names it.
        question: Text for the child's standard input.
        timeout_s: Seconds after which the child is ended.
        stop_requested: Asked several times a second; on True the child is ended.
    """
    process = subprocess.Popen(
        own_command("-m", "app", "probe", kind),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for its parent to hear
        env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
    )
    deadline_s = time.monotonic() + timeout_s
    unasked: str | None = question
    try:
        while True:
            try:
                output, errors = process.communicate(unasked, timeout=_POLL_INTERVAL_S)
                break
            except subprocess.TimeoutExpired:
                unasked = None  # it has been asked; what is written stays
            if stop_requested() or time.monotonic() > deadline_s:
                process.kill()
                output, _ = process.communicate()
                failure = "asked to stop" if stop_requested() else f"took over {timeout_s:.0f} s"
                return Reply(_read_answers(output), failure)
    finally:
        process.kill()
    reply = Reply(_read_answers(output))
    if process.returncode == 0:
        return reply
    if process.returncode == -signal.SIGKILL:
        return Reply(reply.answers, "it was killed (SIGKILL), by the kernel if memory ran out")
    if told := reply.of_kind("error"):
        return Reply(reply.answers, told[0]["message"], is_told=True)
    return Reply(reply.answers, f"it {describe_exit(process.returncode, errors)}")


def tell_parent(kind: str, **values: object) -> None:
    """Give the parent that asked this process an answer, or one of several."""
    sys.stdout.write(json.dumps({"kind": kind, "values": values}) + "\n")
    sys.stdout.flush()


def describe_exit(exit_code: int, errors: str) -> str:
    """How a process failed: its exit code, and the last line of what it wrote to stderr."""
    words = last_line(errors)
    return f"ended with exit code {exit_code}{f': {words}' if words else ' and no error message'}"


def last_line(text: str) -> str:
    """The last line of a text that says something, printable; empty where none does."""
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    return printable(last.strip())


def _find_prctl() -> Callable[..., int] | None:
    """Linux's function by which the kernel sends a signal when the parent dies; None elsewhere."""
    prctl: Callable[..., int] | None = getattr(ctypes.CDLL(None), "prctl", None)
    return prctl


def _has_parent() -> bool:
    return str(os.getppid()) == os.environ.get(PARENT_VARIABLE)


def _end_without_parent() -> None:
    while _has_parent():
        time.sleep(_PARENT_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _read_answers(output: str) -> list[dict[str, Any]]:
    """The whole lines; the last may have been cut off."""
    answers = []
    for line in output.splitlines():
        with contextlib.suppress(ValueError):
            answer = json.loads(line)
            if isinstance(answer, dict):
                answers.append(answer)
    return answers
