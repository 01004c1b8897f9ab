"""The command line of `serve`."""

import argparse
import os
from collections.abc import Callable
from typing import Final

from app.commands.options import (
    Commands,
    add_command,
    add_compute,
    add_model,
    positive,
    whole_number,
)
from app.commands.serve.serve import run
from app.job.paths import Paths

SUMMARY = "answer HTTP requests: a photo in, its roofs out, as a SageMaker endpoint does"
DESCRIPTION: Final = """\
Answer HTTP requests: GET /ping says whether the model is ready, POST /invocations takes a photo and
gives its roofs (docs/deploy.md). An endpoint sets variables of the environment in place of options.
"""
EPILOG: Final = """\
examples:
  python -m app serve --model local/latest --host 127.0.0.1
  curl localhost:8080/invocations -H 'Content-Type: image/tiff' --data-binary @photo.tif

exit code: 0, a signal asked to stop, and the requests under way are answered; 2, the model or the
port cannot be used.
"""
_MAX_PORT: Final = 65535


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    serve = add_command(commands, "serve", SUMMARY, DESCRIPTION, EPILOG)
    add_model(serve, Paths().model_dir)
    serve.add_argument(
        "--host",
        default="0.0.0.0",
        metavar="ADDRESS",
        help="where to listen (default: %(default)s)",
    )
    # The first is SageMaker's own, for endpoints of several containers.
    for option, variable, default, read, words in (
        ("--port", "SAGEMAKER_BIND_TO_PORT", "8080", whole_number(0, _MAX_PORT),
         "where to listen; 0 takes a free one"),
        ("--queue", "ROOF_MODEL_QUEUE", "16", positive, "requests that may wait"),
        ("--max-mb", "ROOF_MODEL_MAX_MB", "100", positive,
         "size of a photo's file, in millions of bytes"),
        ("--max-megapixels", "ROOF_MODEL_MAX_MEGAPIXELS", "100", positive,
         "size of a photo, in its own pixels and at the model's scale"),
    ):  # fmt: skip
        _add_number(serve, option, (variable, default), read, words)
    add_compute(serve)
    serve.set_defaults(run=run)


def _add_number(
    parser: argparse.ArgumentParser,
    option: str,
    otherwise: tuple[str, str],
    read: Callable[[str], int],
    words: str,
) -> None:
    """Add an option whose default is a variable of the environment, which is checked as it is."""
    variable, default = otherwise
    parser.add_argument(
        option,
        type=read,
        metavar="N",
        default=os.environ.get(variable, default),
        help=f"{words} (default: the variable {variable}, else {default})",
    )
