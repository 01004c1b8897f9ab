"""`train`: what SageMaker starts. One process supervises, others train."""

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from app.base.children import die_with_parent
from app.base.errors import StopRequested
from app.base.logs import configure_logging
from app.base.machine import raise_file_limit
from app.commands.options import Commands, add_base_dir, add_dataset_dirs, add_settings, named_dirs
from app.job.paths import Paths
from app.job.signals import StopFlag, StopRequests

if TYPE_CHECKING:
    from app.job.job import Job
    from app.resources.batch_size import PassLimit

logger = logging.getLogger(__name__)


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    train = commands.add_parser("train", help="train as a SageMaker job does (the default)")
    add_base_dir(train)
    add_dataset_dirs(train, "train on this {title} folder, not on the job's channels")
    add_settings(train)
    train.add_argument(
        "--in-process",
        action="store_true",
        help="no supervising parent process: for debuggers and profilers",
    )
    train.add_argument("--supervised", choices=("rank", "script"), help=argparse.SUPPRESS)
    train.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int | None:
    if options.supervised == "script":
        from app.job.script_mode import run_script

        die_with_parent()
        return run_script(Paths(options.base_dir))
    if options.supervised is None and not options.in_process:
        return _supervise(options)
    _train_as_a_rank(options)
    return None


def _supervise(options: argparse.Namespace) -> int:
    requests = StopRequests()
    requests.listen()
    from app.job.failure import clear_failure
    from app.job.inputs import read_hyperparameters
    from app.job.paths import read_paths
    from app.job.supervisor import run_job
    from app.settings.texts import parse_settings

    clear_failure(Paths(options.base_dir))
    paths = read_paths(options.base_dir)
    settings = {**read_hyperparameters(paths), **parse_settings(options.set)}
    return run_job(
        options.arguments, paths, settings, requests, lambda: _find_channels(options, paths)
    )


def _find_channels(options: argparse.Namespace, paths: Paths) -> dict[str, Path]:
    """The datasets named on the command line, else the job's channels."""
    from app.job.inputs import read_channels

    return named_dirs(options) or read_channels(paths)


def _train_as_a_rank(options: argparse.Namespace) -> None:
    from app.job.failure import clear_failure
    from app.job.inputs import read_hyperparameters
    from app.job.paths import check_writable, read_paths

    variable = os.environ.get("RANK", "0")
    rank = int(variable) if variable.isdecimal() else 0
    configure_logging(rank)
    if options.supervised:
        die_with_parent()
    elif rank == 0:
        clear_failure(Paths(options.base_dir))
    raise_file_limit()
    stop_flag = StopFlag()
    stop_flag.listen()
    from app.job.job import Job
    from app.settings.texts import parse_hyperparameters, parse_settings

    paths = read_paths(options.base_dir)
    check_writable(paths.model_dir, paths.checkpoint_dir)
    settings = {**read_hyperparameters(paths), **parse_settings(options.set)}
    job = Job(paths, parse_hyperparameters(settings), _find_channels(options, paths), stop_flag)
    try:
        # Before torch is imported: memory that this process holds is lost to the one that measures.
        _train(job, _find_pass_limit(job))
    except StopRequested:
        logger.info("asked to stop before training began")


def _train(job: "Job", pass_limit: "PassLimit") -> None:
    # Late: torch takes seconds to import, and a wrong setting should not wait for it. Workers'
    # imports run beside ours.
    from app.data.workers import start_worker_server

    if job.hyperparameters.num_workers > 0:
        start_worker_server()
    from app.training.train import train

    train(job, pass_limit)


def _find_pass_limit(job: "Job") -> "PassLimit":
    """This rank's limit for batch_size=auto; the first rank of a host measures for all.

    Raises:
        StopRequested: If this process, which trains alone, was asked to stop.
    """
    from app.resources.batch_size import PassLimit, find_largest_pass, recall_batch_size

    hyperparameters = job.hyperparameters
    if hyperparameters.batch_size != "auto":
        return PassLimit()
    num_ranks = _count_ranks("WORLD_SIZE")
    recalled = recall_batch_size(job.paths.checkpoint_dir, hyperparameters, num_ranks)
    if num_ranks == 1 and job.stop_requested():
        raise StopRequested
    if recalled is not None or os.environ.get("LOCAL_RANK", "0") != "0":
        return PassLimit(recalled=recalled)
    num_local = _count_ranks("LOCAL_WORLD_SIZE")
    try:
        found = find_largest_pass(hyperparameters, job.channels, num_local, job.stop_requested)
    except StopRequested:
        if num_ranks == 1:
            raise
        found = 1  # the others wait for this rank: all stop together, at their first step
    return PassLimit(found=found)


def _count_ranks(variable: str) -> int:
    return int(os.environ.get(variable, "1"))
