"""Jobs of a series: each a command of ours in a process of its own, stopped with its parent."""

import json
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

from app.base.children import start_stopping_with_parent
from app.job.paths import Paths
from app.job.signals import StopRequests

_POLL_INTERVAL_S: Final = 0.2


def run_child_job(
    command: Sequence[str], requests: StopRequests, output: IO[bytes] | None = None
) -> int:
    """Run a job to its end and pass requests on; returns its exit code.

    A request to stop reaches the job once, as SIGTERM; one to kill ends it at once. When this
    process dies, the job gets SIGTERM.

    Args:
        command: The job's command line.
        requests: Already listening.
        output: File for everything that the job prints; None lets it print where we do.

    Returns:
        As subprocess has it: minus the signal's number where a signal ended the job.
    """
    # Else the job would outlive this process, and the next one would use the same checkpoints.
    process = start_stopping_with_parent(command, output)
    has_asked = False
    try:
        while (exit_code := process.poll()) is None:
            if requests.to_kill():
                process.kill()
            elif requests.to_stop() and not has_asked:
                has_asked = True
                process.send_signal(signal.SIGTERM)
            time.sleep(_POLL_INTERVAL_S)
    finally:
        process.kill()
    return exit_code


def read_map(path: Path) -> dict[str, Any] | None:
    """A file's JSON map; None where there is none, or not a whole one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def read_metrics(model_dir: Path) -> dict[str, Any] | None:
    """The metrics.json that a training has left in its model folder; None without one."""
    return read_map(model_dir / "metrics.json")


def has_finished(base_dir: Path) -> bool:
    """Whether the training in a tree came to its end, and was not stopped before."""
    metrics = read_metrics(Paths(base_dir).model_dir)
    return metrics is not None and metrics["stopped"] is False
