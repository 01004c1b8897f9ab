"""Measure on this machine what training takes, in a process of its own.

Memory has to be measured where nothing else was held before, and on a CPU the kernel ends whoever
asks for too much: a child may be ended, its parent goes on with what it had learnt by then.
"""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.base.children import PARENT_VARIABLE
from app.base.errors import ConfigError
from app.resources.forecast import Loading, Measurements, Point

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 900.0
_POLL_INTERVAL_S: Final = 0.2


@dataclass(frozen=True)
class ProbeRequest:
    """What a probe is to measure.

    Attributes:
        settings: Hyperparameters, as texts.
        channels: Folders of datasets, by name.
        points: Samples of a pass and side of a window in pixels, in any order.
        with_loading: Whether data workers are started and timed.
        with_trial: Whether a GPU is tried for the most samples of a pass.
    """

    settings: Mapping[str, str]
    channels: Mapping[str, str]
    points: tuple[tuple[int, int], ...]
    with_loading: bool = True
    with_trial: bool = False

    def to_json(self) -> str:
        """For the probe's standard input."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> "ProbeRequest":
        """The request that `to_json` was taken of."""
        document = json.loads(text)
        document["points"] = tuple((size, side) for size, side in document["points"])
        return cls(**document)


def measure(
    settings: Mapping[str, str],
    channels: Mapping[str, Path],
    points: Sequence[tuple[int, int]],
    *,
    with_loading: bool = True,
) -> Measurements:
    """What training takes here, at each of the points.

    Args:
        settings: Hyperparameters, as texts; batch_size and crop_size_px are those of the points.
        channels: Folders of datasets, by name.
        points: Samples of a pass and side of a window in pixels; the smallest has to fit.
        with_loading: Whether data workers are started and timed, too.

    Raises:
        ConfigError: If not even the first two points could be measured; says why.
    """
    request = ProbeRequest(
        dict(settings),
        {name: str(path) for name, path in channels.items()},
        tuple(sorted(points, key=lambda point: (point[0] * point[1] ** 2, point[0]))),
        with_loading,
    )
    answers, failure = ask_probe(request)
    found = read_answers(answers)
    if found is None:
        raise ConfigError(f"could not measure what training takes here: {failure}")
    if failure:
        logger.warning("measured at %d of %d sizes: %s", len(found.points), len(points), failure)
    return found


def ask_probe(
    request: ProbeRequest,
    stop_requested: Callable[[], bool] = lambda: False,
    timeout_s: float = _TIMEOUT_S,
) -> tuple[list[dict[str, Any]], str | None]:
    """The answers of a child process, and in one line what went wrong before its end, if anything.

    Args:
        request: What to measure.
        stop_requested: Asked again and again; on True the child is ended.
        timeout_s: Likewise after so long.
    """
    flags = ["-P"] if sys.flags.safe_path else []
    process = subprocess.Popen(
        [sys.executable, *flags, "-m", "app", "probe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for its parent to hear
        env={**os.environ, PARENT_VARIABLE: str(os.getpid())},
    )
    deadline_s = time.monotonic() + timeout_s
    question: str | None = request.to_json()
    try:
        while True:
            try:
                output, errors = process.communicate(question, timeout=_POLL_INTERVAL_S)
                break
            except subprocess.TimeoutExpired:
                question = None  # it has been asked; what is written stays
            if stop_requested() or time.monotonic() > deadline_s:
                process.kill()
                output, _ = process.communicate()
                failure = "asked to stop" if stop_requested() else f"took over {timeout_s:.0f} s"
                return _read_lines(output), failure
    finally:
        process.kill()
    answers = _read_lines(output)
    if process.returncode == 0:
        return answers, None
    if process.returncode == -9:
        return answers, "the kernel ended it, probably out of memory"
    last = [line for line in errors.splitlines() if line.strip()]
    told = [answer["values"]["message"] for answer in answers if answer["kind"] == "error"]
    if told:
        return answers, str(told[0])
    return answers, f"it ended with {process.returncode}: {last[-1] if last else 'without a word'}"


def read_answers(answers: Sequence[Mapping[str, Any]]) -> Measurements | None:
    """The answers of a probe put together; None where they are too few to fit anything to."""
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for answer in answers:
        by_kind.setdefault(answer["kind"], []).append(answer["values"])
    points = tuple(Point(**values) for values in by_kind.get("point", []))
    if "machine" not in by_kind or len(points) < 2:
        return None
    loading = by_kind.get("loading")
    return Measurements(
        points=points,
        loading=Loading(**loading[-1]) if loading else None,
        **by_kind["machine"][0],
    )


def _read_lines(output: str) -> list[dict[str, Any]]:
    """The whole lines; the last may have been cut off."""
    answers = []
    for line in output.splitlines():
        try:
            answers.append(json.loads(line))
        except ValueError:
            continue
    return answers
