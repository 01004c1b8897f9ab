"""The command line of `best`."""

import argparse
import contextlib
import logging
import math
from pathlib import Path
from typing import Final

from app.base.dataset_names import DatasetName
from app.base.errors import EXIT_OK, ConfigError, join_problems
from app.commands.options import (
    Commands,
    add_base_dir,
    add_command,
    add_dataset_dirs,
    add_settings,
    dataset_dirs,
    find_absent_dirs,
)
from app.job.newest import linked_as_newest
from app.job.signals import StopRequests

logger = logging.getLogger(__name__)

SUMMARY = "train the best recipe for a budget of time, in stages, and score the result"
DESCRIPTION = """\
Train the best recipe in stages, each from the model of the one before, with as many steps as the
hours hold by the pace of a short job. Then score the model on the photos held out, by pixel and by
plane. The model, its report and its card come to DIR/model. The same command resumes where it was
stopped, and says so where it is finished. Ctrl-C saves the stage under way.
"""
EPILOG = """\
examples:
  python -m app best --base-dir local/best --own DIR --rid DIR
  python -m app best --base-dir local/best-gpu --own DIR --hours 0.25 --set seed=1

--hours counts steps alone: validations, reports and scores come on top (docs/best.md).
"""
DEFAULT_HOURS: Final = 1.5
_MAX_HOURS: Final = 1000.0
# What the recipe and the budget decide, with what to do instead.
_DECIDED: Final = {
    "steps_per_epoch": "--hours decides it",
    "phase": "phases are trials; `train` and `phases` take it",
    "initial_model": "stages start from each other; `train` takes it",
    "resume": "the same command resumes; another --base-dir begins again",
}


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    best = add_command(commands, "best", SUMMARY, DESCRIPTION, EPILOG)
    add_base_dir(best)
    add_dataset_dirs(best, "train on this {folder}; without any, on a synthetic sample")
    best.add_argument(
        "--hours",
        type=_read_hours,
        default=DEFAULT_HOURS,
        metavar="H",
        help="hours that all steps take together (default: %(default)s)",
    )
    add_settings(best)
    best.add_argument(
        "--dry-run",
        action="store_true",
        help="check settings and the folders named here, write nothing, and train nothing",
    )
    # Of `make best`: see app.job.newest.
    best.add_argument("--newest", type=Path, metavar="LINK", help=argparse.SUPPRESS)
    best.set_defaults(run=_run)


def _read_hours(text: str) -> float:
    hours = math.nan
    with contextlib.suppress(ValueError):
        hours = float(text)
    if not 0 < hours <= _MAX_HOURS:
        raise argparse.ArgumentTypeError(
            f"expected hours above 0, at most {_MAX_HOURS:g}, such as 1.5, got {text!r:.50}"
        )
    return hours


def _run(options: argparse.Namespace) -> int:
    requests = StopRequests()
    requests.listen()
    from app.commands.best.best import train_best
    from app.commands.best.run import BestRun
    from app.job.folder_locks import FolderLocks
    from app.synthetic.sample import ensure_sample

    settings, channels = _check(options)
    if options.dry_run:
        logger.info("settings and folders can be used")
        return EXIT_OK
    if options.newest is not None:
        options.held.enter_context(linked_as_newest(options.base_dir, options.newest))
    options.held.enter_context(FolderLocks()).take(options.base_dir)
    channels = channels or ensure_sample(options.base_dir / "sample")
    return train_best(BestRun(options.base_dir, channels, settings, options.hours), requests)


def _check(options: argparse.Namespace) -> tuple[dict[str, str], dict[DatasetName, Path]]:
    """The settings and the folders of datasets, as far as the command line names them.

    Raises:
        ConfigError: If one cannot be used.
    """
    from app.settings.texts import parse_hyperparameters, parse_settings

    settings = parse_settings(options.set)
    decided = [f"--set {name}: {words}" for name, words in _DECIDED.items() if name in settings]
    if decided:
        raise ConfigError(f"best: {join_problems(decided)}; leave it out")
    parse_hyperparameters(settings)  # a wrong one should not wait for the first job
    channels = dataset_dirs(options)
    if absent := find_absent_dirs(options):
        raise ConfigError(join_problems(absent))
    return settings, channels
