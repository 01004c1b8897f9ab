"""`check-data`: what a dataset holds and what is wrong with it."""

import argparse
from pathlib import Path

from app.commands.options import (
    Commands,
    add_command,
    add_dataset_dirs,
    add_settings,
    dataset_dirs,
    positive,
)

SUMMARY = "see what a dataset holds and what is wrong with it, before training"
DESCRIPTION = "Read datasets as training does, and say what they hold and what is wrong."
EPILOG = """\
examples:
  python -m app check-data --rid DIR --airs DIR
  python -m app check-data --own DIR --set own_gsd_m=0.05 --json findings.json

exit code: 0, nothing to act on (infos are traits that the readers take care of, such as RID's
overlapping images); 1, warnings, or files that training leaves out; 2, a dataset that training
cannot use, or more bad files than max_bad_fraction.
"""


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    check = add_command(commands, "check-data", SUMMARY, DESCRIPTION, EPILOG)
    add_dataset_dirs(check, "check this {folder}")
    check.add_argument(
        "--max-files",
        type=positive,
        metavar="N",
        help="read so many files of each, for a quick look; overlaps and copies are not looked for",
    )
    add_settings(check)
    check.add_argument(
        "--json", type=Path, metavar="FILE", help="write every finding and number there"
    )
    check.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from app.data.check import check_data
    from app.settings.texts import parse_hyperparameters, parse_settings

    hyperparameters = parse_hyperparameters(parse_settings(options.set))
    return check_data(dataset_dirs(options), hyperparameters, options.json, options.max_files)
