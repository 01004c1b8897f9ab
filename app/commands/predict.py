"""`predict`: what a trained model says of photos of any size."""

import argparse
from pathlib import Path

from app.commands.options import Commands
from app.job.signals import StopFlag


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    predict = commands.add_parser(
        "predict",
        help="predict the roofs of photos with a trained model",
        description="Write what a trained model says of photos of any size as rasters beside each "
        "other: directions of roof planes, lines, heights, doubts (docs/predict.md). The same "
        "command again goes on with what is missing.",
        epilog="Exit code: 0, all photos are done, or a signal asked to stop; 2, some cannot be "
        "predicted, and the others are done; 2 also where the model or a folder cannot be used.",
    )
    predict.add_argument(
        "photos", type=Path, nargs="+", metavar="PHOTO", help="a TIFF, PNG or JPEG, or a folder"
    )
    predict.add_argument("--model", type=Path, metavar="DIR", required=True, help="model folder")
    predict.add_argument("--out", type=Path, metavar="DIR", required=True, help="for the outputs")
    predict.add_argument(
        "--tta",
        type=int,
        choices=(1, 2, 4, 8),
        default=1,
        help="ask in so many turns and flips and take the mean: better, and so many times slower "
        "(default: %(default)s)",
    )
    predict.add_argument(
        "--gsd-m",
        type=_metres_per_pixel,
        metavar="METRES",
        help="size of a pixel on the ground, for photos without georeference",
    )
    predict.add_argument(
        "--grid",
        choices=("model", "photo"),
        default="model",
        help="whose pixels rasters have (default: %(default)s)",
    )
    predict.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    predict.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    predict.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    stop_flag = StopFlag()
    stop_flag.listen()
    from app.job.folder_locks import FolderLocks
    from app.job.paths import check_writable
    from app.settings.texts import parse_hyperparameters

    check_writable(options.out)
    options.held.enter_context(FolderLocks()).take(options.out)
    hyperparameters = parse_hyperparameters(
        {"device": options.device, "precision": options.precision}
    )
    # Late: torch takes seconds to import.
    from app.inference.predict import Request, find_photos, predict_photos
    from app.inference.trained import load_network
    from app.model.devices import choose_compute

    photos = find_photos(options.photos, options.out)
    network = load_network(options.model, options.tta, choose_compute(hyperparameters))
    request = Request(options.out, options.gsd_m, options.grid)
    return predict_photos(network, photos, request, stop_flag)


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
