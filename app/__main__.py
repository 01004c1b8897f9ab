"""`python -m app COMMAND`: runs a command; its errors become lines, exit codes, a failure file."""

import argparse
import contextlib
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
    FolderInUseError,
    PeerLostError,
    RoofError,
    printable,
)
from app.base.logs import configure_logging
from app.commands.cli import build_parser
from app.job.failure import write_failure
from app.job.paths import Paths
from app.job.signals import end_rank

logger = logging.getLogger("app")

_MAX_TRACEBACK_CHARS = 8000


def main(arguments: Sequence[str]) -> int:
    """Run a command and return the process's exit code."""
    configure_logging()
    options = build_parser().parse_args(arguments or ["train"])
    options.arguments = arguments or ["train"]
    try:
        # What a command has for itself, until the reason of its failure is written, too.
        with contextlib.ExitStack() as options.held:
            exit_code = _run_mapping_errors(options)
        if sys.stdout is not None:  # None where the parent process closed it
            sys.stdout.flush()
    except BrokenPipeError:
        # As in `check-data ... | head`. Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return exit_code


def _run_mapping_errors(options: argparse.Namespace) -> int:
    """Run a command in this process; an error becomes one line, a failure file, an exit code.

    Raises:
        BrokenPipeError: If nobody reads what check-data, launch, phases or plan prints.
    """
    command: Callable[[argparse.Namespace], int | None] = options.run
    try:
        return command(options) or EXIT_OK
    except RoofError as error:
        message, exit_code, details = str(error), error.exit_code, ""
        logger.error("%s", message)
        output_dir = Paths(options.base_dir).output_dir if options.command == "train" else None
        if isinstance(error, FolderInUseError) and error.folder == output_dir:
            return exit_code  # the failure file is that of who works there
    except KeyboardInterrupt:
        logger.error("stopped by Ctrl-C")
        return EXIT_INTERRUPTED
    except PeerLostError as error:
        # The parent knows the cause, or will hear of it.
        sys.stderr.write(f"another training process is gone: {printable(str(error))}\n")
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
        prints = options.command in ("check-data", "launch", "phases", "plan")
        if prints and isinstance(error, BrokenPipeError):
            raise
        message = printable(f"internal error: {type(error).__name__}: {error}")
        exit_code, details = EXIT_BUG, traceback.format_exc()[-_MAX_TRACEBACK_CHARS:]
        logger.exception("%s", message)
    if options.command == "train":
        write_failure(Paths(options.base_dir), message, details)
    return exit_code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if os.environ.get("WORLD_SIZE", "1") != "1":
        end_rank(code)
    sys.exit(code)
