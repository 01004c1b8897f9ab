"""`export`: a trained model in a form that other programs run."""

import argparse
import logging
from pathlib import Path
from typing import Final

from app.base.errors import StorageError
from app.commands.options import Commands, add_command, add_model, find_model_dir

SUMMARY = "write a trained model in a form that other programs run"
DESCRIPTION: Final = """\
Write a trained model in a form that other programs run, after comparing what both say
(docs/export.md).
"""
EPILOG: Final = """\
example:
  python -m app export --model local/latest --torch roofs.pt2

exit code: 0, it is written; 2, the model or the file cannot be used, or both say different things.
"""

logger = logging.getLogger(__name__)


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    export = add_command(commands, "export", SUMMARY, DESCRIPTION, EPILOG)
    add_model(export)
    export.add_argument(
        "--torch",
        type=Path,
        metavar="FILE.pt2",
        required=True,
        help="a program of torch.export, for any batch and sides that are multiples of 32",
    )
    export.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    model_dir = find_model_dir(options.model)
    # Late: torch takes seconds to import.
    from app.model.program import export_program

    try:
        export_program(model_dir, options.torch)
    except OSError as error:
        raise StorageError(
            f"{options.torch}: cannot be written: {error.strerror or error}; give another --torch, "
            "or make its folder and give it space"
        ) from error
    logger.info("%s: written, and equal to the model of %s", options.torch, model_dir)
