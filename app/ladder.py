"""The ladder: one short job for each preset, from ten samples on a CPU to all data on a GPU.

Each rung is the real command in a process of its own, with a folder of its own. A rung that is done
is not run again, one that was interrupted goes on from its checkpoint, and one that fails is a line
of the result like any other.
"""

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app import __version__
from app.errors import EXIT_INTERRUPTED, EXIT_OK
from app.forecaster import Forecaster
from app.ladder_rows import describe_run
from app.machine import read_gpus
from app.sagemaker import Paths, read_failure
from app.signals import StopRequests

logger = logging.getLogger(__name__)

STATE_FILE: Final = "rung.json"
ROWS_FILE: Final = "ladder.json"
LOG_FILE: Final = "log.txt"
_GPU_PHASE: Final = 5
_POLL_INTERVAL_S: Final = 0.2

Row = dict[str, Any]


@dataclass(frozen=True)
class Rung:
    """One job of the ladder.

    Attributes:
        name: Of its folder and in tables.
        phase: Its preset.
        settings: What differs from the preset.
        what: It tries, in a few words.
    """

    name: str
    phase: int
    settings: Mapping[str, str]
    what: str


RUNGS: Final = (
    Rung("1a", 1, {}, "ten samples of RID on the CPU"),
    Rung("1b", 1, {"max_samples": "20"}, "twenty samples"),
    Rung("2", 2, {}, "larger batches: passes of four, two of them a step"),
    Rung("3", 3, {}, "four data workers, four batches ready in each"),
    Rung("4", 4, {}, "all datasets"),
    Rung("5", 5, {}, "all data at full size on a GPU"),
)


@dataclass(frozen=True)
class Ladder:
    """What to climb, on what and where.

    Attributes:
        base_dir: Gets a folder for each rung, and ladder.json.
        channels: Folders of datasets, by name.
        settings: Hyperparameters that differ from the presets, on every rung.
        rungs: In order.
    """

    base_dir: Path
    channels: Mapping[str, Path]
    settings: Mapping[str, str]
    rungs: Sequence[Rung] = RUNGS

    def settings_of(self, rung: Rung) -> dict[str, str]:
        """All hyperparameters of a rung that are not defaults of its preset."""
        return {"phase": str(rung.phase), **rung.settings, **self.settings}

    def folder_of(self, rung: Rung) -> Path:
        """Where its job has its tree."""
        return self.base_dir / rung.name


def climb(
    ladder: Ladder,
    requests: StopRequests,
    forecast: Forecaster | None = None,
    *,
    anew: bool = False,
) -> int:
    """Run all rungs that are left and write ladder.json after each; the exit code to end with.

    Args:
        ladder: What to run.
        requests: Listening; the rung under way is asked to stop, and the rest is left.
        forecast: Tells before a rung what it is expected to take; None leaves that out.
        anew: Whether rungs that are done are run once more.
    """
    ladder.base_dir.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for rung in ladder.rungs:
        if requests.to_stop():
            break
        if anew:
            shutil.rmtree(ladder.folder_of(rung), ignore_errors=True)
        rows.append(_climb_rung(ladder, rung, requests, forecast))
        text = json.dumps(rows, indent=2) + "\n"
        (ladder.base_dir / ROWS_FILE).write_text(text, encoding="utf-8")
    if requests.to_stop():
        logger.info("stopped; the same command goes on from here")
        return EXIT_INTERRUPTED if requests.by_person() else EXIT_OK
    return EXIT_OK


def read_rows(base_dir: Path) -> list[Row]:
    """The rows of the ladder.json in a folder."""
    rows: list[Row] = json.loads((base_dir / ROWS_FILE).read_text(encoding="utf-8"))
    return rows


def _climb_rung(
    ladder: Ladder, rung: Rung, requests: StopRequests, forecast: Forecaster | None
) -> Row:
    row: Row = {"name": rung.name, "phase": rung.phase, "what": rung.what}
    if rung.phase == _GPU_PHASE and not read_gpus().names:
        logger.info("phase %s: not run, there is no GPU here", rung.name)
        return {**row, "status": "not run", "reason": "no GPU here"}
    settings, folder = ladder.settings_of(rung), ladder.folder_of(rung)
    row["settings"] = settings
    key = {
        "version": __version__,
        "settings": settings,
        "channels": {name: str(path.resolve()) for name, path in ladder.channels.items()},
    }
    state = _read_state(folder)
    if {name: state.get(name) for name in key} != key:
        # Another ladder's: its checkpoints would be refused, and its numbers are not asked for.
        shutil.rmtree(folder, ignore_errors=True)
        state = {**key, "forecast": forecast(settings) if forecast else None}
        folder.mkdir(parents=True)
        (folder / STATE_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    if _is_done(folder):
        logger.info("phase %s: done before", rung.name)
    else:
        logger.info("phase %s: %s", rung.name, rung.what)
        begun_s = time.monotonic()
        exit_code = _run(ladder, rung, settings, requests)
        logger.info("phase %s: took %.0f s", rung.name, time.monotonic() - begun_s)
        if exit_code != EXIT_OK:
            reason = read_failure(Paths(folder)) or f"exit code {exit_code}; see {LOG_FILE}"
            logger.warning("phase %s failed: %s", rung.name, reason)
            return {**row, "status": "failed", "reason": reason}
    status = "done" if _is_done(folder) else "stopped"
    return {**row, "status": status, **describe_run(Paths(folder).model_dir, state["forecast"])}


def _run(ladder: Ladder, rung: Rung, settings: Mapping[str, str], requests: StopRequests) -> int:
    """The exit code of the rung's job."""
    folder = ladder.folder_of(rung)
    flags = ["-P"] if sys.flags.safe_path else []
    command = [sys.executable, *flags, "-m", "app", "train", "--base-dir", str(folder)]
    for name, path in ladder.channels.items():
        command += [f"--{name}", str(path)]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    with (folder / LOG_FILE).open("ab") as log:
        # In a session of its own: Ctrl-C comes to it through this process, and once.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
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


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _is_done(folder: Path) -> bool:
    try:
        metrics = json.loads((Paths(folder).model_dir / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return not metrics["stopped"]
