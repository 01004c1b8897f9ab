"""The command line of `compare`."""

import argparse
from pathlib import Path

from app.commands.options import Commands, add_command
from app.commands.run_folders import add_runs

SUMMARY = "put runs side by side, and tell differences from chance"
DESCRIPTION = """\
Put runs side by side: a table of their scores by dataset, in which each is compared with the first,
and a page with their curves over each other and the settings in which they differ. Runs that differ
in their seed alone are one column, whose spread tells what is chance.
"""

EPILOG = """\
examples:
  python -m app compare local/ml local/latest
  python -m app compare local/runs/rid-* --out rid.html

docs/compare.md says how chance is told, docs/metrics.md what the numbers mean.
"""


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    compare = add_command(commands, "compare", SUMMARY, DESCRIPTION, EPILOG)
    add_runs(compare, "metrics.json; two or more")
    compare.add_argument(
        "--out",
        type=Path,
        metavar="FILE.html",
        help="the page (default: compare.html in the folder that holds all runs)",
    )
    compare.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from app.commands.compare.compare import compare

    return compare(options.runs, options.out)
