"""Processes that do one thing whenever they read a line, and answer in lines of JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

from app.base.children import stopping_with_parent
from bench.support.environment import ROOT


def start_logged(command: Sequence[str]) -> "subprocess.Popen[str]":
    """A process that ends with this one, its output and its errors in one pipe of text."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=stopping_with_parent(),
    )


class Worker:
    """A process of its own; a context manager that ends it.

    Args:
        title: What messages call it: the benchmark, and what the process holds.
        command: Command line of the process.
        environment: Variables beside those of this process.
    """

    def __init__(
        self, title: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._title = title
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def ask(self, line: str) -> dict[str, Any]:
        """The answer to a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """The next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._title}: its process ended; see its message above")
        answer: dict[str, Any] = json.loads(line)
        return answer
