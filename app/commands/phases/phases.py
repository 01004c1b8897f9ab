"""The phases: one short job for each preset, from ten samples on a CPU to all data on a GPU.

Each phase is the real command in a process of its own, with a folder of its own. A phase that is
done is not run again, an interrupted one resumes from its checkpoint, and one that fails is a line
of the result like any other. This process imports no torch: phases have the memory to themselves.
"""

import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app import __version__
from app.base.children import own_command
from app.base.dataset_names import DATASET_NAMES, DATASET_TITLES, DatasetName
from app.base.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, RoofError
from app.base.storage import move_aside, replacing, writing_to
from app.commands.phases.prediction import Forecaster, digest_code
from app.commands.phases.rows import describe_machine, describe_run
from app.job.child_job import has_finished, read_map, read_metrics, run_child_job
from app.job.failure import read_failure
from app.job.folder_locks import check_free
from app.job.paths import Paths
from app.job.signals import StopRequests
from app.resources.gpus import read_gpus
from app.settings.presets import PRESETS

logger = logging.getLogger(__name__)

STATE_FILE: Final = "phase.json"
# What earlier versions wrote in its place.
_OLDER_STATE_FILES: Final = ("rung.json",)
ROWS_FILE: Final = "phases.json"
LOG_FILE: Final = "log.txt"
_GPU_PHASE: Final = 5
# What runs a phase, up to its options, for this interpreter.
_TRAIN: Final = ("-m", "app", "train")


Row = dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """One job of the series.

    Attributes:
        name: Name of its folder and in tables.
        preset: Number of its preset, as the hyperparameter `phase` has it.
        settings: What differs from the preset.
        what: What the phase tries, in a few words; {title} stands for the dataset of the trials.
    """

    name: str
    preset: int
    settings: Mapping[str, str]
    what: str


PHASES: Final = (
    Phase("1a", 1, {}, "ten samples of {title} on the CPU"),
    Phase("1b", 1, {"max_samples": "20"}, "twenty samples"),
    Phase("2", 2, {}, "larger batches: passes of four, two of them a step"),
    Phase("3", 3, {}, "four data workers, four batches ready in each"),
    Phase("4", 4, {}, "all datasets"),
    Phase("5", 5, {}, "all data at full size on a GPU"),
)


@dataclass(frozen=True)
class PhaseSeries:
    """Which phases to run, on which data and where.

    Attributes:
        base_dir: Gets a folder for each phase, and phases.json.
        channels: Folders of datasets, by name.
        settings: Hyperparameters that differ from the presets, in every phase.
        phases: In order.
        train: What runs a phase, up to its options, for this interpreter.
    """

    base_dir: Path
    channels: Mapping[str, Path]
    settings: Mapping[str, str]
    phases: Sequence[Phase] = PHASES
    train: Sequence[str] = _TRAIN

    def settings_of(self, phase: Phase) -> dict[str, str]:
        """All hyperparameters of a phase that are not defaults of its preset.

        Trials of one dataset, which is RID in the presets, are of the first one that there is.
        """
        usual = str(PRESETS[phase.preset]["datasets"])
        trial = self._trial_dataset
        other = {} if trial is None or usual in ("all", trial) else {"datasets": trial}
        return {"phase": str(phase.preset), **other, **phase.settings, **self.settings}

    def what_of(self, phase: Phase) -> str:
        """What a phase tries, in a few words."""
        usual = DATASET_TITLES[self._trial_dataset or "rid"]
        return phase.what.format(title=self.settings.get("datasets", usual))

    @property
    def _trial_dataset(self) -> DatasetName | None:
        return next((name for name in DATASET_NAMES if name in self.channels), None)

    def folder_of(self, phase: Phase) -> Path:
        """Where its job has its tree."""
        return self.base_dir / phase.name

    def key_of(self, phase: Phase) -> Row:
        """What its numbers are of, as the file of its state has it."""
        return {
            "version": f"{__version__}, {digest_code()}",
            "settings": self.settings_of(phase),
            "channels": {name: str(path.resolve()) for name, path in self.channels.items()},
        }

    def read_state(self, phase: Phase) -> Row | None:
        """What the phase began with; None where it has not, or of other settings, data or code."""
        key, state = self.key_of(phase), read_map(self.folder_of(phase) / STATE_FILE) or {}
        return state if {name: state.get(name) for name in key} == key else None


def run_phases(
    series: PhaseSeries,
    requests: StopRequests,
    forecast: Forecaster | None = None,
    *,
    fresh: bool = False,
) -> int:
    """Run all phases that are left and write phases.json after each; returns the exit code.

    Args:
        series: What to run.
        requests: Already listening. On a stop, the phase under way is stopped and the rest is left.
        forecast: Predicts memory and time of a phase before it runs; None leaves that out.
        fresh: Whether phases that are done are run once more.

    Raises:
        StorageError: If the folder of the series cannot be written to.
        ConfigError: If something else lies where a phase is to be.
        FolderInUseError: If the job of a phase is still at work.
    """
    with writing_to(series.base_dir):
        series.base_dir.mkdir(parents=True, exist_ok=True)
    _check_folders(series)
    if fresh:  # all of them now: a stopped series resumes without `fresh`
        for phase in series.phases:
            shutil.rmtree(series.folder_of(phase), ignore_errors=True)
    _move_stale(series)
    rows: list[Row] = []
    _write_json(series.base_dir / ROWS_FILE, rows)
    for phase in series.phases:
        if requests.to_stop():
            break
        rows.append(_run_phase(series, phase, requests, forecast))
        _write_json(series.base_dir / ROWS_FILE, rows)
    if requests.to_stop():
        flag = " without --fresh" if fresh else ""
        logger.info("stopped; the same command%s resumes", flag)
        return EXIT_INTERRUPTED if requests.by_person() else EXIT_OK
    return EXIT_OK


def _check_folders(series: PhaseSeries) -> None:
    """Check that folders which would be moved or removed are those of phases, and not in use."""
    for phase in series.phases:  # whose job may outlive a series that was killed
        check_free(Paths(series.folder_of(phase)).output_dir)
    foreign = [
        str(folder)
        for folder in map(series.folder_of, series.phases)
        if folder.exists()
        and any(folder.iterdir())
        and not any((folder / name).exists() for name in (STATE_FILE, *_OLDER_STATE_FILES))
    ]
    if foreign:
        raise ConfigError(
            f"--base-dir: {', '.join(foreign)} would be overwritten, expected folders of an "
            f"earlier series of phases (with {STATE_FILE}); move them, or name another folder"
        )


def _move_stale(series: PhaseSeries) -> None:
    """Make room where phases are of other settings, data or code, and keep what they have left.

    Their checkpoints would be refused, and their numbers be those of something else.
    """
    stale = [
        folder
        for phase in series.phases
        if (folder := series.folder_of(phase)).exists()
        and any(folder.iterdir())
        and series.read_state(phase) is None
    ]
    if stale:
        with writing_to(series.base_dir):
            earlier = move_aside(stale)
        logger.info(
            "phases of other settings, data or code (%s) are now in %s; remove them when nobody "
            "needs them any more",
            ", ".join(folder.name for folder in stale),
            earlier,
        )


def read_rows(base_dir: Path) -> list[Row]:
    """The rows of a folder's phases.json."""
    rows: list[Row] = json.loads((base_dir / ROWS_FILE).read_text(encoding="utf-8"))
    return rows


def _run_phase(
    series: PhaseSeries, phase: Phase, requests: StopRequests, forecast: Forecaster | None
) -> Row:
    row: Row = {"name": phase.name, "phase": phase.preset, "what": series.what_of(phase)}
    if phase.preset == _GPU_PHASE and not read_gpus().names:
        logger.info("phase %s: not run, there is no GPU here", phase.name)
        return {**row, "status": "not run", "reason": "no GPU here"}
    row["settings"] = series.settings_of(phase)
    folder = series.folder_of(phase)
    state = _prepare(series, phase, requests, forecast)
    if state is None:
        return {**row, "status": "stopped", "reason": "asked to stop before it began"}
    row["machine"] = state["machine"]
    if has_finished(folder):
        logger.info("phase %s: done before", phase.name)
        return {**row, "status": "done", **_measured(folder, state)}
    logger.info("phase %s: %s (its log: %s)", phase.name, row["what"], folder / LOG_FILE)
    begun_s = time.monotonic()
    exit_code = _run_job(series, phase, row["settings"], requests)
    taken_s = time.monotonic() - begun_s
    if exit_code == EXIT_OK and (measured := _measured(folder, state)):
        logger.info("phase %s: took %.0f s; %s", phase.name, taken_s, _sum_up(measured))
        return {**row, "status": "done" if has_finished(folder) else "stopped", **measured}
    if requests.to_stop():
        reason = "killed by a second Ctrl-C" if requests.to_kill() else "stopped before it trained"
        return {**row, "status": "stopped", "reason": reason}
    reason = read_failure(Paths(folder)) or f"exit code {exit_code}; see {folder / LOG_FILE}"
    logger.warning("phase %s: failed after %.0f s: %s", phase.name, taken_s, reason)
    return {**row, "status": "failed", "reason": reason}


def _prepare(
    series: PhaseSeries, phase: Phase, requests: StopRequests, forecast: Forecaster | None
) -> dict[str, Any] | None:
    """The state that a phase begins with, and its prediction; None if asked to stop meanwhile."""
    settings, folder = series.settings_of(phase), series.folder_of(phase)
    state = series.read_state(phase)
    if state is not None:
        return state
    expected = _ask(forecast, phase, settings) if forecast else None
    if requests.to_stop():
        return None
    state = {**series.key_of(phase), "machine": describe_machine(), "forecast": expected}
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / STATE_FILE, state)
    return state


def _ask(
    forecast: Forecaster, phase: Phase, settings: Mapping[str, str]
) -> tuple[float, float] | None:
    """What the phase is expected to take; None where that is not known."""
    try:
        expected = forecast(settings)
    except RoofError as error:  # the phase may say it better, and others may run
        logger.warning("phase %s: cannot be predicted: %s", phase.name, error)
        return None
    if expected is not None:
        logger.info("phase %s: expected to peak at %.2f GiB, %.2f s a step", phase.name, *expected)
    return expected


def _measured(folder: Path, state: Mapping[str, Any]) -> Row:
    """The numbers of a phase's job, beside those expected; empty where the job has left none."""
    if read_metrics(Paths(folder).model_dir) is None:
        return {}
    return describe_run(Paths(folder).model_dir, state["forecast"])


def _sum_up(measured: Row) -> str:
    peak_gib, step_s = measured["peak_gib"], measured["step_s"]
    parts = [
        None if peak_gib is None else f"peak {peak_gib:.2f} GiB",
        None if step_s is None else f"{step_s:.2f} s a step",
        f"the loss falls: {measured['converging']}",
    ]
    return ", ".join(part for part in parts if part)


def _run_job(
    series: PhaseSeries, phase: Phase, settings: Mapping[str, str], requests: StopRequests
) -> int:
    """The exit code of the phase's job."""
    folder = series.folder_of(phase)
    command = own_command(*series.train, "--base-dir", str(folder))
    for name, path in series.channels.items():
        command += [f"--{name}", str(path)]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    with (folder / LOG_FILE).open("ab") as log:
        return run_child_job(command, requests, log)


def _write_json(path: Path, document: object) -> None:
    with writing_to(path.parent), replacing(path) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())
