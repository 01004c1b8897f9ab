"""The command line of `phases`."""

import argparse
import logging
import sys
from pathlib import Path

from app.base.errors import ConfigError, join_problems
from app.commands.options import (
    Commands,
    add_base_dir,
    add_command,
    add_dataset_dirs,
    add_settings,
    find_absent_dirs,
    named_dirs,
)
from app.job.signals import StopRequests

logger = logging.getLogger(__name__)

SUMMARY = "train in phases, from ten samples to all, and compare each with its forecast"
DESCRIPTION = """\
Run the presets phase=1 to 5 one after another (5 where there is a GPU), each predicted before it
runs and compared with the one before. Tables and plots go to DIR/phases.md. The same command
resumes where it was stopped.
"""
EPILOG = """\
examples:
  python -m app phases --base-dir local/phases
  python -m app phases --base-dir local/phases --rid DIR --airs DIR --set epochs=8
"""


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    phases = add_command(commands, "phases", SUMMARY, DESCRIPTION, EPILOG)
    add_base_dir(phases)
    add_dataset_dirs(phases, "train on this {folder}; without any, on a synthetic sample")
    add_settings(phases)
    phases.add_argument(
        "--docs",
        type=Path,
        metavar="FILE.md",
        help="write tables and plots between the markers of this page, too",
    )
    phases.add_argument("--fresh", action="store_true", help="run again what is done, too")
    phases.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    requests = StopRequests()
    requests.listen()
    from app.commands.phases.page import begin_page, check_page, print_tables, write_page
    from app.commands.phases.phases import PhaseSeries, read_rows, run_phases
    from app.commands.phases.prediction import build_forecaster
    from app.job.folder_locks import FolderLocks
    from app.settings.texts import parse_hyperparameters, parse_settings
    from app.synthetic.sample import ensure_sample

    settings = parse_settings(options.set)
    if "phase" in settings:
        raise ConfigError("--set phase: phases runs all of them; leave it out, or use train")
    parse_hyperparameters(settings)  # a wrong one should not wait for the first phase
    named = named_dirs(options)
    if absent := find_absent_dirs(options):  # else every phase would say so, after it was measured
        raise ConfigError(join_problems(absent))
    if options.docs is not None:
        check_page(options.docs)
    options.held.enter_context(FolderLocks()).take(options.base_dir)
    channels = named or dict(ensure_sample(options.base_dir / "sample").items())
    series = PhaseSeries(options.base_dir, channels, settings)
    forecast = build_forecaster(channels, settings, options.base_dir)
    exit_code = run_phases(series, requests, forecast, fresh=options.fresh)
    rows = read_rows(options.base_dir)
    print_tables(rows, sys.stdout.write)
    if requests.to_stop():
        return exit_code
    if not any(row["status"] == "done" for row in rows):
        raise ConfigError(f"phases: none could be run; the first one: {rows[0]['reason']}")
    own_page = options.base_dir / "phases.md"
    begin_page(own_page)
    for page in filter(None, (own_page, options.docs)):
        write_page(page, rows)
        logger.info("written: %s", page)
    return exit_code
