"""The command line of `track`."""

import argparse
from pathlib import Path

from app.commands.options import Commands

DESCRIPTION = """\
Write the metrics of runs, finished or under way, to where they are looked at: files for
TensorBoard, or a server of MLflow. The same command again adds what is new, and nothing twice.
"""

EPILOG = """\
examples:
  python -m app track local/ml local/runs/* --to tensorboard local/tensorboard
  python -m app track local/ml --to mlflow http://127.0.0.1:5000 --experiment roofs

docs/track.md says more.
"""


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    track = commands.add_parser(
        "track",
        help="write the metrics of runs for TensorBoard or MLflow",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    track.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="MODEL",
        help="the folder of a run, its model folder, or its metrics.jsonl",
    )
    track.add_argument(
        "--to",
        nargs=2,
        required=True,
        metavar=("tensorboard|mlflow", "DIR|URI"),
        help="a folder for TensorBoard's files, or the address of MLflow",
    )
    track.add_argument(
        "--experiment",
        default="roof-model",
        metavar="NAME",
        help="of MLflow; made if it is not there (default: %(default)s)",
    )
    track.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from app.commands.track.track import track

    return track(options.runs, options.to, options.experiment)
