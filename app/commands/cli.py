"""The parser of `python -m app COMMAND`; each command brings its own part."""

import argparse

from app import __version__
from app.commands import check_data, evaluate, export, make_sample, predict, train
from app.commands.launch import parser as launch
from app.commands.phases import parser as phases
from app.commands.plan import parser as plan
from app.commands.probe import parser as probe
from app.commands.serve import parser as serve


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options; `run` of what it parses starts the command."""
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Train HybridRoofModel: roof planes by direction, roof lines and heights.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (
        train, evaluate, predict, serve, export, check_data, make_sample, phases, probe, plan,
        launch,
    ):  # fmt: skip
        command.add_parser(commands)
    return parser
