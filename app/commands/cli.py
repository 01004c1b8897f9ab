"""The parser of `python -m app COMMAND`; each command brings its own part."""

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Final, NoReturn

from app import __version__
from app.commands import check_data, evaluate, export, make_sample, predict, process, train
from app.commands.best import parser as best
from app.commands.compare import parser as compare
from app.commands.launch import parser as launch
from app.commands.phases import parser as phases
from app.commands.plan import parser as plan
from app.commands.probe import parser as probe
from app.commands.serve import parser as serve
from app.commands.track import parser as track

_COMMANDS: Final = (
    train, best, evaluate, predict, serve, export, compare, check_data, make_sample, phases, probe,
    plan, launch, process, track,
)  # fmt: skip
# Asked by other commands, never by people.
_HIDDEN: Final = ("probe", "process")
# `launch` alone starts a training.
_TWO_WORDS: Final = (("launch", "deploy"), ("launch", "predict"))
DESCRIPTION: Final = """\
Train HybridRoofModel on aerial photos, and use what it has learnt: which way roof planes face,
where eaves, ridges, hips and valleys run, and how high things stand.
"""
EPILOG: Final = """\
examples:
  python -m app make-sample --base-dir local/ml     draw synthetic roofs to train on
  python -m app train --base-dir local/ml           train on them
  python -m app predict --model local/ml --out predictions PHOTO.tif

More on a command: python -m app COMMAND --help. All documents: docs/README.md.
"""


class Parser(argparse.ArgumentParser):
    """argparse's, with errors that say what to type instead."""

    def error(self, message: str) -> NoReturn:
        """End with the message, and with what was meant, as far as that can be told."""
        if match := re.match(r"argument COMMAND: invalid choice: '(.*?)' \(", message):
            super().error(_describe_unknown_command(match[1]))
        unknown = message.removeprefix("unrecognized arguments: ")
        hint = "" if unknown == message else _find_setting(unknown.split(" "))
        super().error(message + hint)


def build_parser() -> Parser:
    """Every command with its options; `run` of what it parses starts the command."""
    parser = Parser(
        prog="python -m app",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def join_words(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments with the words of a command that has two, such as `launch deploy`, as one."""
    if tuple(arguments[:2]) in _TWO_WORDS:
        return [" ".join(arguments[:2]), *arguments[2:]]
    return arguments


def _describe_unknown_command(word: str) -> str:
    names = [
        name
        for module in _COMMANDS
        if (name := module.__name__.split(".")[2].replace("_", "-")) not in _HIDDEN
    ]
    nearest = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean {nearest[0]}? " if nearest else ""
    return f"unknown command {word!r:.50}; {hint}There are {', '.join(sorted(names))}"


def _find_setting(words: list[str]) -> str:
    """How to give the first of the words that is a hyperparameter; empty if none is."""
    # Late: pydantic takes a while to import.
    from app.settings.texts import find_name

    for index, word in enumerate(words):
        key, _, value = word.removeprefix("--").partition("=")
        name = find_name(key) if word.startswith("--") else None
        if name is not None:
            following = words[index + 1 : index + 2]
            shown = value or ("VALUE" if not following else following[0])
            return f"; hyperparameters are given with --set: --set {name}={shown}"
    return ""
