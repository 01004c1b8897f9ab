"""`export`: a trained model in a form that other programs run."""

import argparse
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.base.errors import ConfigError, StorageError
from app.commands.options import Commands, add_command, add_model, find_model_dir

SUMMARY = "write a trained model in a form that other programs run"
DESCRIPTION: Final = """\
Write a trained model in a form that other programs run, and compare the answers of both before
(docs/export.md).
"""
EPILOG: Final = """\
examples:
  python -m app export --model local/latest --torch roofs.pt2
  python -m app export --model local/latest --onnx roofs.onnx --tile-px 1024

exit code: 0, it is written; 2, the model or the file cannot be used, or their answers differ.
"""
# As app.model.onnx_program has them, whose import takes seconds.
_ONNX_TASKS: Final = ("segments", "superstructures")
_TILE_PX: Final = 512
_STRIDE_PX: Final = 32
_LEAST_TILE_PX: Final = 64
_MAX_TILE_PX: Final = 2048

logger = logging.getLogger(__name__)


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    export = add_command(commands, "export", SUMMARY, DESCRIPTION, EPILOG)
    add_model(export)
    export.add_argument(
        "--torch",
        type=Path,
        metavar="FILE.pt2",
        help="a program of torch.export, for any batch and sides that are multiples of 32",
    )
    export.add_argument(
        "--onnx",
        type=Path,
        metavar="FILE.onnx",
        help="an ONNX model of one task and size, which QGIS's plugin Deepness reads, too",
    )
    export.add_argument(
        "--tile-px",
        type=_tile_px,
        metavar="N",
        help="of --onnx: side of its photos in pixels, a multiple of 32 from "
        f"{_LEAST_TILE_PX} to {_MAX_TILE_PX} (default: {_TILE_PX})",
    )
    export.add_argument(
        "--task",
        choices=_ONNX_TASKS,
        help=f"of --onnx: the task that it predicts (default: {_ONNX_TASKS[0]})",
    )
    export.set_defaults(run=_run)


def _tile_px(text: str) -> int:
    """A side that the network shrinks without padding.

    Raises:
        ArgumentTypeError: If the text is none.
    """
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if number % _STRIDE_PX or not _LEAST_TILE_PX <= number <= _MAX_TILE_PX:
        raise argparse.ArgumentTypeError(
            f"expected a multiple of {_STRIDE_PX} from {_LEAST_TILE_PX} to {_MAX_TILE_PX}, got "
            f"{text!r:.50}"
        )
    return number


def _run(options: argparse.Namespace) -> None:
    if options.torch is None and options.onnx is None:
        raise ConfigError("export: got no file to write; give --torch FILE.pt2 or --onnx FILE.onnx")
    if options.onnx is None:
        for option in ("tile_px", "task"):
            if getattr(options, option) is not None:
                raise ConfigError(
                    f"export: got --{option.replace('_', '-')} without --onnx, which alone reads "
                    "it; give --onnx FILE.onnx, too, or leave it out"
                )
    model_dir = find_model_dir(options.model)
    if options.torch is not None:
        # Late, here and below: torch takes seconds to import.
        from app.model.program import export_program

        with _explained("--torch", options.torch):
            export_program(model_dir, options.torch)
        logger.info("%s: written, and equal to the model of %s", options.torch, model_dir)
    if options.onnx is not None:
        from app.model.onnx_program import OnnxTask, export_onnx

        task: OnnxTask = options.task or _ONNX_TASKS[0]
        tile_px = options.tile_px or _TILE_PX
        with _explained("--onnx", options.onnx):
            share = export_onnx(model_dir, options.onnx, task, tile_px)
        logger.info(
            "%s: written; of %.3f %% of pixels it says the same class of %s as the model of %s",
            options.onnx,
            100 * share,
            task,
            model_dir,
        )


@contextlib.contextmanager
def _explained(option: str, path: Path) -> Iterator[None]:
    """Raises StorageError, which says what to do, where a file cannot be written."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written: {error.strerror or error}; give another {option}, or make "
            "its folder and give it space"
        ) from error
