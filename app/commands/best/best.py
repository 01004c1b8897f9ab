"""The best training that a budget of time buys: a recipe's stages, then scores on photos held out.

Each stage is `train` in a process of its own, in a folder of its own, which begins with the model
of the stage before. Steps are counted once, by the pace of a short job, and kept: an interrupted
call resumes with as many. This process imports no torch: the jobs have the memory to themselves.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from app.base.children import own_command
from app.base.errors import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_SIGNAL_BASE,
    RoofError,
    StopRequested,
)
from app.base.storage import writing_to
from app.commands.best.run import PACE_DIR, BestRun, State
from app.commands.best.scores import find_scores
from app.job.child_job import has_finished, read_metrics, run_child_job
from app.job.failure import read_failure
from app.job.folder_locks import LOCK_FILE, check_free
from app.job.paths import Paths
from app.job.signals import StopRequests
from app.metrics.by_dataset import align
from app.metrics.held_out import HeldOut, tabulate
from app.report.card import write_card
from app.settings.recipes import Stage, count_steps

logger = logging.getLogger(__name__)

_LOG_FILE: Final = "log.txt"
_REPORT_FILE: Final = "report.html"
_S_PER_HOUR: Final = 3600
_S_PER_MINUTE: Final = 60


class StageError(RoofError):
    """A job of a training by stages that has failed.

    Attributes:
        exit_code: That of the job; above 128 where a signal ended it.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code if exit_code > 0 else EXIT_SIGNAL_BASE - exit_code


def train_best(run: BestRun, requests: StopRequests) -> int:
    """Train all stages that are left, score the model, and say what was reached.

    Args:
        run: What to train. Its folder is this process's alone.
        requests: Already listening. On a stop the job under way saves its state and ends.

    Returns:
        The exit code: of a finished training, and of one stopped by a signal, that of success.

    Raises:
        ConfigError: If the folder holds something else.
        FolderInUseError: If the job of a stage is still at work.
        StageError: If a job fails.
        StorageError: If something cannot be written.
    """
    state = run.read_state()
    if state is not None:
        _warn_of_changes(run, state)
    if state is not None and _is_finished(run, state):
        logger.info("finished before, nothing to do; train again with another --base-dir")
        _log_all(state["lines"])
        return EXIT_OK
    folders = [run.base_dir / PACE_DIR, *map(run.folder_of, run.recipe.stages)]
    for folder in folders:  # whose job may outlive a call that was killed
        check_free(Paths(folder).output_dir)
    try:
        if state is None:
            state = _plan_steps(run, requests)
        _train_stages(run, state, requests)
        _copy_model(run)
        parts = find_scores(run, state, lambda words, log: _run_app(run, words, requests, log))
    except StopRequested:
        logger.info("stopped; the same command resumes")
        return EXIT_INTERRUPTED if requests.by_person() else EXIT_OK
    with writing_to(run.model_dir):
        write_card(run.model_dir, parts)
    state["lines"] = _describe_end(run, state, parts)
    run.write_state(state)
    _log_all(state["lines"])
    return EXIT_OK


def _is_finished(run: BestRun, state: State) -> bool:
    return "lines" in state and read_metrics(run.model_dir) is not None


def _warn_of_changes(run: BestRun, state: State) -> None:
    files = run.digest_files()
    if None not in (files, state["files"]) and files != state["files"]:
        logger.warning(
            "photos or labels have changed since this training began; train on them with another "
            "--base-dir"
        )


def _plan_steps(run: BestRun, requests: StopRequests) -> State:
    """Measure the pace of each stage, and keep how many steps each has.

    Raises:
        StopRequested: If asked to stop meanwhile.
        StageError: If a short job fails.
    """
    paces, steps = {}, {}
    for stage in run.recipe.stages:
        logger.info("%s: how long does a step take? a short job finds out", stage.name)
        paces[stage.name] = _measure_pace(run, stage, requests)
        budget_s, step_s = run.hours * _S_PER_HOUR, paces[stage.name]
        steps[stage.name] = count_steps(stage, budget_s, step_s, run.num_epochs)
        logger.info(
            "%s: %d steps of %.3g s, %.0f minutes without validations",
            stage.name,
            steps[stage.name],
            step_s,
            steps[stage.name] * step_s / _S_PER_MINUTE,
        )
    state = {
        "request": run.describe(),
        "files": run.digest_files(),
        "step_s": paces,
        "steps": steps,
        "scores": {},
    }
    run.write_state(state)
    return state


def _measure_pace(run: BestRun, stage: Stage, requests: StopRequests) -> float:
    folder = run.base_dir / PACE_DIR
    shutil.rmtree(folder, ignore_errors=True)
    with writing_to(run.base_dir):
        folder.mkdir(parents=True)
    try:
        words = _train_words(run, folder, run.pace_settings_of(stage))
        exit_code = _run_app(run, words, requests, folder / _LOG_FILE)
        metrics = read_metrics(folder / "model")
        if exit_code != EXIT_OK or metrics is None:
            raise _failure(f"{stage.name}, a short job", folder, exit_code)
        return float(metrics["step_time"]["step_s"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _train_stages(run: BestRun, state: State, requests: StopRequests) -> None:
    """Train the stages that are not done, each from the model of the one before.

    Raises:
        StopRequested: If asked to stop meanwhile, or a job was.
        StageError: If a job fails.
    """
    before: Stage | None = None
    for number, stage in enumerate(run.recipe.stages, start=1):
        folder, steps = run.folder_of(stage), state["steps"][stage.name]
        if _is_complete(folder):
            logger.info("%s: done before", stage.name)
        else:
            logger.info("%s: stage %d of %d", stage.name, number, len(run.recipe.stages))
            start = {} if before is None else {"initial_model": run.folder_of(before) / "model"}
            words = _train_words(run, folder, {**run.settings_of(stage, steps), **start})
            exit_code = _run_app(run, words, requests)
            if exit_code != EXIT_OK:
                raise _failure(stage.name, folder, exit_code)
            if not has_finished(folder):
                raise StopRequested
        before = stage


def _is_complete(folder: Path) -> bool:
    """Whether a stage is done, and its report written.

    Of one killed while it wrote its results, the job is run again: it trains no step, and writes
    what is missing.
    """
    return has_finished(folder) and (folder / "model" / _REPORT_FILE).is_file()


def _copy_model(run: BestRun) -> None:
    """Have the model of the last stage, its report and all, lie where people look for it.

    A copy: the stages, with their checkpoints, can be removed when nobody needs them any more.

    Raises:
        StorageError: If it cannot be written.
    """
    if read_metrics(run.model_dir) is not None:
        return
    unfinished = run.base_dir / f".{run.model_dir.name}"
    with writing_to(run.base_dir):
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(run.model_dir, ignore_errors=True)
        source = run.folder_of(run.recipe.stages[-1]) / "model"
        shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns(LOCK_FILE))
        unfinished.rename(run.model_dir)


def _train_words(run: BestRun, folder: Path, settings: Mapping[str, object]) -> list[str]:
    data = [word for name, path in run.channels.items() for word in (f"--{name}", str(path))]
    chosen = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return ["train", "--base-dir", str(folder), *data, *chosen]


def _run_app(
    run: BestRun, words: Sequence[str], requests: StopRequests, log: Path | None = None
) -> int:
    """The exit code of a command.

    Args:
        run: What runs it.
        words: Its name and options.
        requests: Are passed on.
        log: File for all that it prints; None lets it print here, where a person reads along.

    Raises:
        StopRequested: If asked to stop, before it or meanwhile.
    """
    if requests.to_stop():
        raise StopRequested
    command = own_command(*run.app, *words)
    if log is None:
        exit_code = run_child_job(command, requests)
    else:
        with log.open("ab") as file:
            exit_code = run_child_job(command, requests, file)
    if requests.to_stop():
        raise StopRequested
    return exit_code


def _failure(what: str, folder: Path, exit_code: int) -> StageError:
    reason = read_failure(Paths(folder)) or f"it ended with exit code {exit_code} and no reason"
    return StageError(f"{what}: {reason}", exit_code or 1)


def _describe_end(run: BestRun, state: State, parts: Sequence[HeldOut]) -> list[str]:
    """What the end of a training says."""
    stages = ", ".join(f"{name} {number}" for name, number in state["steps"].items())
    return [
        f"on photos held out, asked in {parts[0].num_poses} turns and flips, planes as shapes:",
        *align(tabulate(parts)),
        f"steps: {stages}; all scores, and the photos with the worst: {run.base_dir / 'scores'}",
        f"report: {run.model_dir / _REPORT_FILE}",
        f"model, and its card README.md: {run.model_dir}",
    ]


def _log_all(lines: Sequence[str]) -> None:
    for line in lines:
        logger.info("%s", line)
