"""The command line of `plan`."""

import argparse
import math
from pathlib import Path

from app.commands.options import (
    Commands,
    add_command,
    add_dataset_dirs,
    add_settings,
    add_tta,
    positive,
)
from app.commands.plan.options import read_options

SUMMARY = "predict time, memory and cost of training on an instance"
DESCRIPTION = """\
Predict memory, time and cost of a training on an instance before it is paid for, and whether it
fits. A few steps are trained on this machine. Every figure says whether it is measured, predicted
or assumed, and the rules are listed below the table. With --predict: the same for the prediction of
photos by a model.
"""

EPILOG = """\
examples:
  python -m app plan --instance-type ml.m5.xlarge --phase 2
  python -m app plan --instance-type ml.g5.xlarge --phase 5 --rid DIR --airs DIR --json plan.json
  python -m app plan --instance-type local --set batch_size=auto
  python -m app plan --instance-type ml.g5.xlarge --predict 100 --model local/ml/model

exit code: 0, it fits; 2, it does not, or something on the command line has to be put right.
docs/plan.md says more.
"""


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = add_command(commands, "plan", SUMMARY, DESCRIPTION, EPILOG)
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--instance-type",
        metavar="TYPE",
        help="such as ml.m5.xlarge, ml.g5.xlarge; local is this machine",
    )
    parser.add_argument(
        "--instances", type=positive, default=1, metavar="N", help="how many (default: %(default)s)"
    )
    add_dataset_dirs(parser, "plan for this {folder}; with no folder, for the published releases")
    parser.add_argument("--phase", metavar="K", help="preset of hyperparameters, 1 to 5")
    add_settings(parser)
    parser.add_argument(
        "--price-per-hour", type=_price, metavar="USD", help="of one instance, where you know it"
    )
    parser.add_argument(
        "--measurements",
        type=Path,
        metavar="FILE.json",
        help="take those of an earlier --json of the same settings; nothing is measured",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    group = parser.add_argument_group("prediction in place of training")
    group.add_argument(
        "--predict",
        type=_area,
        metavar="KM2",
        help="plan the prediction of so many square kilometres of photos",
    )
    group.add_argument(
        "--model", type=Path, metavar="DIR", help="by the model of this folder; with --predict"
    )
    add_tta(group)
    parser.add_argument("--list", action="store_true", help="print the table of instances")


def _run(options: argparse.Namespace) -> int:
    from app.commands.plan.plan import plan

    return plan(read_options(options))


def _area(text: str) -> float:
    try:
        area_km2 = float(text)
    except ValueError:
        area_km2 = math.nan
    if not 0 < area_km2 < math.inf:
        raise argparse.ArgumentTypeError(f"expected square kilometres above 0, got {text!r:.50}")
    return area_km2


def _price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 <= price < math.inf:
        raise argparse.ArgumentTypeError(f"expected USD, at least 0, got {text!r:.50}")
    return price
