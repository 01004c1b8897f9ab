"""Folders of runs that a command line names."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from app.base.errors import ConfigError, first_line, join_problems

_Run = TypeVar("_Run")


def add_runs(parser: argparse.ArgumentParser, file: str) -> None:
    """Add the runs, as words without an option.

    Args:
        parser: Parser of the command.
        file: Of a run, that can be named as well.
    """
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help=f"the folder of a run, its model folder, or its {file}",
    )


def read_each(
    paths: Sequence[Path], read: Callable[[Path], _Run], words: tuple[str, str, str]
) -> list[_Run]:
    """What is read at each of the paths.

    Args:
        paths: Where runs are.
        read: Reads one; its errors say that there is none.
        words: For the message: the command, what a path without a run lacks, and what to do.

    Raises:
        ConfigError: If there is no run at some of the paths; names all of these.
    """
    command, lacks, remedy = words
    found, problems = [], []
    for path in paths:
        try:
            found.append(read(path))
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            problems.append(f"{path}: {lacks} ({reason})")
    if problems:
        raise ConfigError(f"{command}: {join_problems(problems)}; {remedy}")
    return found
