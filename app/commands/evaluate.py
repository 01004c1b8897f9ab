"""`evaluate`: how well a trained model does on datasets."""

import argparse
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.base.dataset_names import dataset_options
from app.base.errors import ConfigError, join_problems
from app.commands.options import (
    Commands,
    add_command,
    add_dataset_dirs,
    add_model,
    add_settings,
    add_tta,
    dataset_dirs,
    find_absent_dirs,
    find_model_dir,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.inference.shape_scores import FindRoofs
    from app.metrics.matched import MatchedPlanes

SUMMARY = "score a trained model on datasets"
DESCRIPTION = """\
Score a trained model on datasets. Prints a table by dataset, writes every metric to a JSON file,
and beside it a page with the photos that the model does worst on. Of --set, these have an effect:
device, precision, num_workers, max_val_samples, max_bad_fraction, and what parts a dataset into
splits (seed, rid_fold, rid_split, roofline_gsd_m); all else is the model's own.
"""
EPILOG = """\
examples:
  python -m app evaluate --model local/latest --rid DIR
  python -m app evaluate --model local/ml/model --rid DIR --airs DIR --split test --out scores.json
  python -m app evaluate --model local/latest --own DIR --split all --vectors --tta 8
"""

logger = logging.getLogger(__name__)


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    evaluate = add_command(commands, "evaluate", SUMMARY, DESCRIPTION, EPILOG)
    add_model(evaluate)
    add_dataset_dirs(evaluate, "score on this {folder}")
    evaluate.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        default="val",
        help="which photos of the datasets (default: %(default)s)",
    )
    evaluate.add_argument(
        "--vectors",
        action="store_true",
        help="score planes, buildings and lines too, found in the predictions as predict does",
    )
    evaluate.add_argument(
        "--calibrate",
        action="store_true",
        help="with --vectors: measure on these photos how right stated directions are, and note it "
        "in model.json, so that confidences and standard deviations hold",
    )
    add_tta(evaluate)
    evaluate.add_argument(
        "--out",
        type=Path,
        metavar="FILE.json",
        help="for all metrics; the page is beside it (default: scores/DATASETS-SPLIT.json beside "
        "the model folder)",
    )
    add_settings(evaluate)
    evaluate.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from app.settings.texts import parse_hyperparameters, parse_settings

    settings = parse_settings(options.set)
    parse_hyperparameters(settings)  # a wrong one should not wait for the model
    folders = dataset_dirs(options)
    if not folders:
        raise ConfigError(f"evaluate: no dataset named; add {dataset_options(' DIR')}")
    if absent := find_absent_dirs(options):
        raise ConfigError(join_problems(absent))
    model_dir = find_model_dir(options.model)
    if options.calibrate:
        _check_calibrating(options, model_dir)
    # Late: torch takes seconds to import, and a wrong word should not wait for it.
    from app.inference.evaluate import Asking, evaluate_model

    asking = Asking(options.tta, _find_roofs_of(options.calibrate) if options.vectors else None)
    name = f"{'-'.join(folders)}-{options.split}.json"
    output = options.out or model_dir.parent / "scores" / name
    planes = evaluate_model(model_dir, folders, options.split, output, settings, asking)
    if options.calibrate:
        origin = {"data": "+".join(folders), "split": options.split, "tta": options.tta}
        _write_calibration(model_dir, planes, origin)


def _check_calibrating(options: argparse.Namespace, model_dir: Path) -> None:
    """Refuse what would be measured in vain.

    Raises:
        ConfigError: If it would.
    """
    from app.job.paths import check_writable

    if not options.vectors:
        raise ConfigError("--calibrate: got no --vectors, in which planes are found; add it")
    if options.split == "train":
        raise ConfigError(
            "--calibrate: got --split train, of photos that the model may have been trained on; "
            "expected val, test, or all of photos that it has never seen"
        )
    check_writable(model_dir)


def _find_roofs_of(is_raw: bool) -> "Callable[[Mapping[str, Any]], FindRoofs]":
    """Finds roofs as `predict` does.

    Args:
        is_raw: Whether of planes is stated what geometry says, and not what has proved right.
    """
    from app.roofs.calibration import Calibration
    from app.roofs.scored import find_scored_roofs

    def find_roofs_of(description: "Mapping[str, Any]") -> "FindRoofs":
        calibration = None if is_raw else Calibration.of_model(description)
        return partial(find_scored_roofs, calibration=calibration)

    return find_roofs_of


def _write_calibration(
    folder: Path, planes: "MatchedPlanes", origin: "Mapping[str, object]"
) -> None:
    from app.model.export import describe_further
    from app.roofs.calibrating import fit_calibration
    from app.roofs.calibration import CALIBRATION_KEY

    calibration = fit_calibration(planes)
    describe_further(folder, {CALIBRATION_KEY: {**calibration.to_json(), **origin}})
    logger.info("%s, in model.json: %s", CALIBRATION_KEY, calibration.describe())
