"""`export`: a trained model in a form that other programs run."""

import argparse
import logging
from pathlib import Path

from app.base.errors import StorageError
from app.commands.options import Commands

logger = logging.getLogger(__name__)


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    export = commands.add_parser(
        "export",
        help="write a trained model in a form that other programs run",
        description="Write a trained model in a form that other programs run (docs/export.md), "
        "after comparing what both say.",
    )
    export.add_argument("--model", type=Path, metavar="DIR", required=True, help="model folder")
    export.add_argument(
        "--torch",
        type=Path,
        metavar="FILE.pt2",
        required=True,
        help="a program of torch.export, for any batch and sides that are multiples of 32",
    )
    export.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from app.model.program import export_program

    try:
        export_program(options.model, options.torch)
    except OSError as error:
        raise StorageError(
            f"{options.torch}: cannot be written: {error.strerror or error}; give another --torch, "
            "or make its folder and give it space"
        ) from error
    logger.info("%s: written, and equal to the model of %s", options.torch, options.model)
