"""`python -m app COMMAND`: runs a command; its errors become lines, exit codes, a failure file."""

from app.job.signals import end_rank, hold_signals, release_signals

if __name__ == "__main__":
    hold_signals()  # the other imports take a while, in which a stop must not be lost

import argparse
import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from app.base.errors import (
    EXIT_BROKEN_PIPE,
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_LOST_PEER,
    EXIT_OK,
    EXIT_USER_ERROR,
    CommunicationError,
    FolderInUseError,
    PeerLostError,
    RoofError,
    printable,
)
from app.base.logs import configure_logging
from app.base.machine import explain_machine_error
from app.commands.cli import build_parser, join_words
from app.job.failure import write_failure
from app.job.paths import Paths

logger = logging.getLogger("app")

_MAX_TRACEBACK_CHARS = 8000
# They take stops themselves; the others are ended by them.
_LISTENING = ("train", "best", "phases", "predict", "process", "serve")
# Their output is piped to other programs, which may stop reading.
_PRINTING = ("check-data", "compare", "launch", "phases", "plan")


def main(arguments: Sequence[str]) -> int:
    """Run a command and return the process's exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name may hold what its encoding has no character for.
        sys.stdout.reconfigure(errors="backslashreplace")
    configure_logging()
    if not arguments:
        # Not 0: whoever started an image without a word, to train, should hear of it.
        build_parser().print_help()
        return EXIT_USER_ERROR
    options = build_parser().parse_args(join_words(arguments))
    options.arguments = arguments
    try:
        # What a command has for itself, until the reason of its failure is written, too.
        with contextlib.ExitStack() as options.held:
            exit_code = _run_mapping_errors(options)
        if sys.stdout is not None:  # None where the parent process closed it
            sys.stdout.flush()
    except BrokenPipeError:  # as in `check-data ... | head`
        _discard_output()
        return EXIT_BROKEN_PIPE
    except OSError:  # the terminal was closed, or the disk of a log is full
        _discard_output()
    return exit_code


def _discard_output() -> None:
    """Let Python's own last flush go nowhere: it would complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run_mapping_errors(options: argparse.Namespace) -> int:
    """Run a command in this process; an error becomes one line, a failure file, an exit code.

    Raises:
        BrokenPipeError: If nobody reads what check-data, compare, launch, phases or plan prints.
    """
    command: Callable[[argparse.Namespace], int | None] = options.run
    try:
        if options.command not in _LISTENING:
            release_signals()
        return command(options) or EXIT_OK
    except RoofError as error:
        message, exit_code, details = str(error), error.exit_code, ""
        logger.error("%s", message)
        output_dir = Paths(options.base_dir).output_dir if _leaves_failure(options) else None
        if isinstance(error, FolderInUseError) and error.folder == output_dir:
            return exit_code  # the failure file is that of who works there
    except KeyboardInterrupt:
        logger.error("stopped by Ctrl-C")
        return EXIT_INTERRUPTED
    except PeerLostError as error:
        # Its parent knows whether one is gone, and why, and finds out from this line otherwise.
        sys.stderr.write(f"{printable(str(error))}\n")
        return EXIT_LOST_PEER
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "app":
            raise
        message = (
            f"package {error.name} is not installed; install what pyproject.toml names "
            "(make setup), or run the image"
        )
        exit_code, details = EXIT_USER_ERROR, traceback.format_exc()[-_MAX_TRACEBACK_CHARS:]
        logger.error("%s", message)
    except Exception as error:
        prints = options.command.partition(" ")[0] in _PRINTING
        if prints and isinstance(error, BrokenPipeError):
            raise
        details = traceback.format_exc()[-_MAX_TRACEBACK_CHARS:]
        explained = explain_machine_error(error)
        if explained is not None:
            message, exit_code = printable(explained), EXIT_USER_ERROR
            logger.error("%s", message)
        else:
            is_named = isinstance(error, CommunicationError)
            kind = "" if is_named else f"internal error: {type(error).__name__}: "
            message = printable(f"{kind}{error}")
            exit_code = EXIT_BUG
            logger.exception("%s", message)
    if _leaves_failure(options):
        write_failure(Paths(options.base_dir), message, details)
    return exit_code


def _leaves_failure(options: argparse.Namespace) -> bool:
    """Whether a command is a job, which leaves a failure file; a dry run writes nothing."""
    return options.command == "train" and not options.dry_run


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if "RANK" in os.environ:
        end_rank(code)
    sys.exit(code)
