"""`train`: what SageMaker starts. One process supervises, others train."""

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from app.base.children import die_with_parent
from app.base.errors import EXIT_OK, StopRequested
from app.base.logs import configure_logging
from app.base.machine import raise_file_limit
from app.commands.options import (
    Commands,
    add_base_dir,
    add_command,
    add_dataset_dirs,
    add_initial_model,
    add_settings,
    find_absent_dirs,
    named_dirs,
)
from app.job.newest import linked_as_newest
from app.job.paths import Paths
from app.job.signals import StopFlag, StopRequests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.data.label_looks import Looks
    from app.job.job import Job
    from app.resources.pass_limit import PassLimit
    from app.settings.hyperparameters import Hyperparameters

logger = logging.getLogger(__name__)


SUMMARY = "train as a SageMaker job does"
DESCRIPTION = """\
Train on the datasets named here, or on the channels of a SageMaker job, and leave the model, its
metrics and report.html in DIR/model. The same command resumes what was interrupted, and says so
where a run is finished. Ctrl-C ends the step under way and saves it.
"""

EPILOG = """\
examples:
  python -m app train --base-dir local/first --rid DIR --set phase=1
  python -m app train --base-dir local/all --rid DIR --airs DIR --set epochs=60 --set seed=1
  python -m app train --base-dir local/mine --own DIR --initial-model local/all/model

exit code: 0, done or stopped; 2, something has to be put right first; 1, a bug, or training that
diverged. docs/hyperparameters.md lists the settings, docs/jobs.md says how a job stops and resumes.
"""


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    train = add_command(commands, "train", SUMMARY, DESCRIPTION, EPILOG)
    add_base_dir(train)
    add_dataset_dirs(train, "train on this {folder}, not on the job's channels")
    add_initial_model(train)
    add_settings(train)
    train.add_argument(
        "--dry-run",
        action="store_true",
        help="check settings and the folders named here, write nothing, and train nothing",
    )
    train.add_argument(
        "--in-process",
        action="store_true",
        help="no supervising parent process: for debuggers and profilers",
    )
    # Of `make train`: see app.job.newest.
    train.add_argument("--newest", type=Path, metavar="LINK", help=argparse.SUPPRESS)
    train.add_argument("--supervised", choices=("rank", "script"), help=argparse.SUPPRESS)
    train.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int | None:
    if options.supervised == "script":
        from app.job.script_mode import run_script

        die_with_parent()
        return run_script(Paths(options.base_dir))
    if options.dry_run:
        _check(options)
        return None
    if options.newest is not None and options.supervised is None:  # ranks get the same words
        options.held.enter_context(linked_as_newest(options.base_dir, options.newest))
    if options.supervised is None and not options.in_process:
        return _supervise(options)
    _train_as_a_rank(options)
    return None


def _supervise(options: argparse.Namespace) -> int:
    requests = StopRequests()
    requests.listen()
    from app.job.supervisor import run_job

    paths, settings = _claim_tree(options)
    _check_named(options)
    if lines := _recall_finished(options, paths, settings):
        logger.info("finished before, nothing to do; train again with --set resume=never")
        for line in lines:
            logger.info("%s", line)
        return EXIT_OK
    return run_job(
        options.arguments, paths, settings, requests, lambda: _find_channels(options, paths)
    )


def _check(options: argparse.Namespace) -> None:
    """Check what a job is asked for, as far as that takes no torch.

    Raises:
        ConfigError: If a setting or a folder cannot be used.
    """
    from app.settings.texts import parse_hyperparameters

    _, settings = _read_tree(options)
    parse_hyperparameters(settings)
    _check_named(options)
    logger.info("settings and folders can be used")


def _check_named(options: argparse.Namespace) -> None:
    """Check that what the command line names is there: ranks take seconds to find out.

    Raises:
        ConfigError: If not; names all that is absent.
    """
    from app.base.errors import ConfigError, join_problems

    problems = find_absent_dirs(options)
    model = options.initial_model
    if model not in (None, "auto", "none") and not Path(model).exists():
        problems.append(f"--initial-model {model}: not found; correct the path")
    if problems:
        raise ConfigError(join_problems(problems))


def _recall_finished(
    options: argparse.Namespace, paths: Paths, settings: "Mapping[str, object]"
) -> list[str] | None:
    """What the end of the same run has said; None where it has yet to be trained."""
    from app.job.finished import FINISHED_FILE, recall_finished
    from app.settings.texts import parse_hyperparameters

    # Wrong settings are told later, below the lines that tell the job apart from others.
    if not (paths.checkpoint_dir / FINISHED_FILE).exists():
        return None
    hyperparameters = parse_hyperparameters(settings)
    if hyperparameters.resume != "auto":
        return None
    request = _digest_request(paths, settings, hyperparameters, _find_channels(options, paths))
    return recall_finished(paths, request)


def _digest_request(
    paths: Paths,
    settings: "Mapping[str, object]",
    hyperparameters: "Hyperparameters",
    channels: "Mapping[str, Path]",
) -> str | None:
    """A digest of what the job is asked for; None where a finished one is not to be recognised.

    That is on the platform, which starts no job twice, on several hosts, and for scripts.
    """
    from app.job.finished import digest_request
    from app.job.inputs import read_hosts, read_job_identifier
    from app.job.script_mode import read_script

    is_alone = len(read_hosts(paths).names) == 1
    if read_job_identifier() is not None or not is_alone or read_script(settings) is not None:
        return None
    return digest_request(hyperparameters, channels)


def _claim_tree(options: argparse.Namespace) -> tuple[Paths, dict[str, object]]:
    """The job's folders, which this process has for itself from here on, and its settings.

    Raises:
        FolderInUseError: If another job works there; nothing of it has been touched.
        ConfigError: If what describes the job cannot be read.
    """
    from app.base.storage import remove_unfinished
    from app.job.failure import clear_failure
    from app.job.folder_locks import FolderLocks
    from app.job.inputs import read_hosts
    from app.job.script_mode import read_script
    from app.settings.settled import BEST_WEIGHTS, CHECKPOINTS, SETTLED_FILE

    locks = options.held.enter_context(FolderLocks())
    paths = Paths(options.base_dir)
    locks.take(paths.output_dir)
    clear_failure(paths)
    paths, settings = _read_tree(options)
    # Other hosts write no results. A script may take any file there for one of its own.
    if read_hosts(paths).is_first and read_script(settings) is None:
        locks.take(paths.model_dir)
        if locks.take(paths.checkpoint_dir):
            for pattern in (CHECKPOINTS, BEST_WEIGHTS, SETTLED_FILE):
                remove_unfinished(paths.checkpoint_dir, pattern)
    return paths, settings


def _read_tree(options: argparse.Namespace) -> tuple[Paths, dict[str, object]]:
    """The job's folders, and its settings as they were sent."""
    from app.job.inputs import read_hyperparameters
    from app.job.paths import read_paths
    from app.settings.texts import parse_settings

    paths = read_paths(options.base_dir)
    settings = {**read_hyperparameters(paths), **parse_settings(options.set)}
    if options.initial_model is not None:
        settings["initial_model"] = options.initial_model
    return paths, settings


def _find_channels(options: argparse.Namespace, paths: Paths) -> dict[str, Path]:
    """The datasets named on the command line, else the job's channels."""
    from app.job.inputs import read_channels

    return named_dirs(options) or read_channels(paths)


def _train_as_a_rank(options: argparse.Namespace) -> None:
    variable = os.environ.get("RANK", "0")
    rank = int(variable) if variable.isdecimal() else 0
    configure_logging(rank)
    if options.supervised:
        die_with_parent()
    raise_file_limit()
    stop_flag = StopFlag()
    stop_flag.listen()
    from app.job.inputs import read_job_identifier
    from app.job.job import Job
    from app.job.paths import check_writable
    from app.settings.texts import parse_hyperparameters

    # A rank's parent has the folders already; of ranks without one, the first takes them.
    is_own_parent = not options.supervised and rank == 0
    paths, settings = _claim_tree(options) if is_own_parent else _read_tree(options)
    check_writable(paths.model_dir, paths.checkpoint_dir)
    hyperparameters, channels = parse_hyperparameters(settings), _find_channels(options, paths)
    request = None
    if rank == 0:  # which leaves the results
        request = _digest_request(paths, settings, hyperparameters, channels)
    job = Job(paths, hyperparameters, channels, stop_flag, read_job_identifier(), request)
    try:
        # Before torch is imported: memory that this process holds is lost to the one that measures.
        looks = _look_before_measuring(job)
        _train(job, find_pass_limit(job), looks)
    except StopRequested:
        logger.info("asked to stop before training began")


def _look_before_measuring(job: "Job") -> "Looks | None":
    """What the first rank of a host finds in the labels, where memory is to be measured next.

    None where nothing is measured: the look comes when the datasets are open.

    Raises:
        DataError: If the data cannot be used, or its labels make training pointless.
    """
    if job.hyperparameters.batch_size != "auto" or os.environ.get("LOCAL_RANK", "0") != "0":
        return None
    from app.commands.probe.labels import ask_for_looks

    return ask_for_looks(job)


def _train(job: "Job", pass_limit: "PassLimit", looks: "Looks | None") -> None:
    # Late: torch takes seconds to import, and a wrong setting should not wait for it. Workers'
    # imports run beside ours.
    from app.data.workers import start_worker_server

    if job.hyperparameters.num_workers > 0:
        start_worker_server()
    from app.training.train import train

    train(job, pass_limit, looks)


def find_pass_limit(job: "Job") -> "PassLimit":
    """This rank's limit for batch_size=auto; the first rank of a host measures for all."""
    from app.resources.batch_size import find_largest_pass, recall_batch_size
    from app.resources.pass_limit import PassLimit

    hyperparameters = job.hyperparameters
    if hyperparameters.batch_size != "auto":
        return PassLimit()
    recalled = recall_batch_size(
        job.paths.checkpoint_dir, hyperparameters, _count_ranks("WORLD_SIZE"), job.identifier
    )
    if recalled is not None or os.environ.get("LOCAL_RANK", "0") != "0":
        return PassLimit(recalled=recalled)
    num_local = _count_ranks("LOCAL_WORLD_SIZE")
    try:
        found = find_largest_pass(hyperparameters, job.channels, num_local, job.stop_requested)
    except StopRequested:
        return PassLimit(was_stopped=True)  # all ranks wait for this one, and learn it together
    return PassLimit(found=found)


def _count_ranks(variable: str) -> int:
    return int(os.environ.get(variable, "1"))
