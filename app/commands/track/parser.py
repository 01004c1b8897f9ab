"""The command line of `track`."""

import argparse

from app.commands.options import Commands, add_command
from app.commands.run_folders import add_runs

SUMMARY = "write the metrics of runs for TensorBoard or MLflow"
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
    track = add_command(commands, "track", SUMMARY, DESCRIPTION, EPILOG)
    add_runs(track, "metrics.jsonl")
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
