"""`predict`: what a trained model says of photos of any size."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.commands.options import (
    Commands,
    add_command,
    add_compute,
    add_model,
    add_tta,
    find_model_dir,
)
from app.job.signals import StopFlag

if TYPE_CHECKING:
    from app.inference.photo_rasters import PhotoRasters
    from app.inference.predict import Finished, Request
    from app.inference.trained import TrainedNetwork

# As app.roofs.writing.outputs has them, whose import takes a while.
_FORMATS: Final = ("gpkg", "geojson")
_NO_FORMAT: Final = "none"

SUMMARY = "predict the roofs of photos with a trained model"
DESCRIPTION: Final = """\
Predict photos of any size with a trained model. It writes rasters of directions, lines, heights and
doubts (docs/predict.md), roof planes and lines as shapes, and a take-off (docs/outputs.md). The
same command resumes: it predicts the photos that are missing.
"""
EPILOG: Final = """\
examples:
  python -m app predict --model local/latest photos/*.tif --out predictions
  python -m app predict --model local/ml/model scans --gsd-m 0.08 --tta 8 --out predictions

exit code: 0, all photos are done, or a signal asked to stop; 2, some cannot be predicted, and the
others are done; 2 also where the model or a folder cannot be used.
"""

logger = logging.getLogger(__name__)


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    predict = add_command(commands, "predict", SUMMARY, DESCRIPTION, EPILOG)
    predict.add_argument(
        "photos", type=Path, nargs="+", metavar="PHOTO", help="a TIFF, PNG or JPEG, or a folder"
    )
    add_model(predict)
    predict.add_argument("--out", type=Path, metavar="DIR", required=True, help="for the outputs")
    add_prediction_options(predict)
    predict.set_defaults(run=run)


def add_prediction_options(parser: argparse._ActionsContainer) -> None:
    """Add what says how photos are predicted."""
    add_tta(parser)
    parser.add_argument(
        "--gsd-m",
        type=_metres_per_pixel,
        metavar="METRES",
        help="size of a pixel on the ground, for photos without georeference",
    )
    parser.add_argument(
        "--grid",
        choices=("model", "photo"),
        default="model",
        help="whose pixels rasters have (default: %(default)s)",
    )
    parser.add_argument(
        "--format",
        type=_formats,
        metavar="gpkg,geojson",
        default=("gpkg",),
        help="of planes, lines and buildings; none writes rasters alone (default: gpkg)",
    )
    add_compute(parser)


def run(options: argparse.Namespace, finished: "Finished | None" = None) -> int:
    """Predict the photos of a command line; returns the exit code to end with.

    Args:
        options: As the options of this command are read.
        finished: Told of each photo whose outputs are complete.

    Raises:
        RoofError: If the model or the folder of the outputs cannot be used.
    """
    stop_flag = StopFlag()
    stop_flag.listen()
    from app.job.folder_locks import FolderLocks
    from app.job.paths import check_writable
    from app.settings.texts import parse_hyperparameters

    model_dir = find_model_dir(options.model)
    check_writable(options.out)
    options.held.enter_context(FolderLocks()).take(options.out)
    hyperparameters = parse_hyperparameters(
        {"device": options.device, "precision": options.precision}
    )
    # Late: torch takes seconds to import.
    from app.inference.predict import find_photos, predict_photos
    from app.inference.trained import load_network
    from app.model.devices import choose_compute

    photos = find_photos(options.photos, options.out)
    network = load_network(model_dir, options.tta, choose_compute(hyperparameters))
    return predict_photos(network, photos, build_request(options, network, finished), stop_flag)


def build_request(
    options: argparse.Namespace, network: "TrainedNetwork", finished: "Finished | None" = None
) -> "Request":
    """What is to be done with every photo.

    Args:
        options: As the options of this command are read; what `held` holds is needed until the end.
        network: Predicts the photos.
        finished: Told of each photo whose outputs are complete.

    Raises:
        ConfigError: If no temporary folder can be made.
    """
    from app.inference.predict import Request
    from app.job.paths import scratch_folder
    from app.roofs.calibration import Calibration
    from app.roofs.found import find_roofs_of
    from app.roofs.writing.outputs import write_outputs
    from app.roofs.writing.view import read_view

    calibration = Calibration.of_model(network.description)
    further = None
    if options.format:
        scratch = options.held.enter_context(scratch_folder(options.out))

        def further(rasters: "PhotoRasters", name: str) -> Sequence[Path]:
            found = find_roofs_of(network, rasters, name, calibration)
            if found is None:
                return ()
            view = read_view(rasters.photo)
            return write_outputs(options.out, found[0], view, found[1], options.format, scratch)

        if not calibration.is_enough:
            logger.warning("calibration of directions: %s", calibration.describe())
    stated = calibration.to_json() | {"is": calibration.describe()} if options.format else {}
    return Request(
        options.out, options.gsd_m, options.grid, options.format, further, stated, finished
    )


def _formats(text: str) -> tuple[str, ...]:
    """Formats of shapes, in the order of _FORMATS; none of them for "none".

    Raises:
        ArgumentTypeError: If the text names another one.
    """
    if text == _NO_FORMAT:
        return ()
    names = text.split(",")
    if unknown := [name for name in names if name not in _FORMATS]:
        choices = ", ".join((*_FORMATS, _NO_FORMAT))
        raise argparse.ArgumentTypeError(f"expected of {choices}, got {unknown[0]!r:.50}")
    return tuple(name for name in _FORMATS if name in names)


def _metres_per_pixel(text: str) -> float:
    """A size of pixels that photos have.

    Raises:
        ArgumentTypeError: If the text is none.
    """
    from app.data.files.georeference import MAX_GSD_M, MIN_GSD_M

    try:
        gsd_m = float(text)
    except ValueError:
        gsd_m = 0.0
    if not MIN_GSD_M <= gsd_m <= MAX_GSD_M:
        raise argparse.ArgumentTypeError(
            f"expected metres per pixel, {MIN_GSD_M:g} to {MAX_GSD_M:g}, got {text!r:.50}"
        )
    return gsd_m
