"""`evaluate`: how well a trained model does on datasets."""

import argparse
from pathlib import Path

from app.base.dataset_names import dataset_options
from app.base.errors import ConfigError
from app.commands.options import Commands, add_dataset_dirs, add_settings, dataset_dirs


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    evaluate = commands.add_parser("evaluate", help="score a trained model on datasets")
    evaluate.add_argument("--model", type=Path, metavar="DIR", required=True, help="model folder")
    add_dataset_dirs(evaluate, "score on this {title} folder")
    evaluate.add_argument("--split", choices=("train", "val", "test", "all"), default="val")
    evaluate.add_argument(
        "--vectors",
        action="store_true",
        help="score planes, buildings and lines too, found in the predictions as predict does",
    )
    evaluate.add_argument("--out", type=Path, metavar="FILE.json", required=True)
    add_settings(evaluate)
    evaluate.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from app.inference.evaluate import evaluate_model
    from app.settings.texts import parse_hyperparameters, parse_settings

    settings = parse_settings(options.set)
    parse_hyperparameters(settings)  # a wrong one should not wait for the model
    folders = dataset_dirs(options)
    if not folders:
        raise ConfigError(f"evaluate: no dataset named; add {dataset_options(' DIR')}")
    from app.roofs.scored import find_scored_roofs

    find_roofs = find_scored_roofs if options.vectors else None
    evaluate_model(options.model, folders, options.split, options.out, settings, find_roofs)
