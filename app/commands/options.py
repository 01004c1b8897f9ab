"""Options that several commands share.

Modules that add parsers import their command's own modules late: every start builds every parser.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.base.dataset_names import DATASET_TITLES, DatasetName
from app.base.errors import ConfigError
from app.job.paths import Paths

# As app.model.export names them, whose import takes seconds.
MODEL_FILES: Final = ("model.safetensors", "model.json")

Commands = argparse._SubParsersAction  # what add_subparsers() returns; argparse has no public name


def add_command(
    commands: "Commands[argparse.ArgumentParser]",
    name: str,
    summary: str,
    description: str,
    epilog: str,
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command, whose page of help keeps its line breaks.

    Args:
        commands: What `add_subparsers` returned.
        name: The word that people type.
        summary: Its line in the list of commands.
        description: What the page of help begins with.
        epilog: What the page of help ends with: examples.
        usage: How the command is called; argparse says it where this is None.
    """
    return commands.add_parser(
        name,
        help=summary,
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_base_dir(parser: argparse.ArgumentParser) -> None:
    """Add --base-dir, the tree of a job."""
    parser.add_argument(
        "--base-dir",
        type=Path,
        metavar="DIR",
        default=Paths().base_dir,
        help="the /opt/ml tree (default: %(default)s)",
    )


def add_dataset_dirs(parser: argparse.ArgumentParser, words: str) -> None:
    """Add an option for the folder of each dataset.

    Args:
        parser: Parser of the command.
        words: What is done with the folder; `{folder}` stands for it, such as "RID folder".
    """
    for name, title in DATASET_TITLES.items():
        folder = "folder of own roofs" if name == "own" else f"{title} folder"
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=words.format(folder=folder))


def add_initial_model(parser: argparse.ArgumentParser) -> None:
    """Add --initial-model, the hyperparameter initial_model."""
    parser.add_argument(
        "--initial-model",
        metavar="PATH",
        help="start from this model: a model folder that a run has written, or its model.tar.gz "
        "(the same as --set initial_model=PATH)",
    )


def add_model(parser: argparse.ArgumentParser, default: Path | None = None) -> None:
    """Add --model, which `find_model_dir` reads; it must be given where there is no default."""
    own = "folder, such as local/latest" if default is None else "(default: %(default)s)"
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        required=default is None,
        default=default,
        help=f"a model folder that a run has written, or the run's own {own}",
    )


def find_model_dir(path: Path) -> Path:
    """The model folder that a path means: itself, the one in a run's tree, or that of a file.

    Raises:
        ConfigError: If there is no model; says where one was looked for.
    """
    if path.name in MODEL_FILES and path.is_file():
        return path.parent
    for folder in (path, path / Paths().model_dir.name):
        if (folder / MODEL_FILES[0]).is_file():
            return folder
    if path.is_dir():
        raise ConfigError(
            f"--model {path}: got a folder without {MODEL_FILES[0]}, in it and in its model/; give "
            "the folder that a run has written"
        )
    got = "a file that is no model" if path.is_file() else "nothing there"
    raise ConfigError(
        f"--model {path}: got {got}, expected a model folder with {' and '.join(MODEL_FILES)}; "
        "correct the path (a model.tar.gz is to be unpacked)"
    )


def add_tta(parser: argparse._ActionsContainer) -> None:
    """Add --tta: in how many poses each window is predicted."""
    parser.add_argument(
        "--tta",
        type=int,
        choices=(1, 2, 4, 8),
        default=1,
        help="predict in so many turns and flips, and take the mean: better, and as many times "
        "slower (default: %(default)s)",
    )


def add_compute(parser: argparse._ActionsContainer) -> None:
    """Add --device and --precision, by which a model computes."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto takes a GPU where there is one (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="auto takes the fastest that the device computes natively (default: %(default)s)",
    )


def add_settings(parser: argparse._ActionsContainer) -> None:
    """Add --set, which may be given again."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a hyperparameter; may be given again (docs/hyperparameters.md lists them)",
    )


def dataset_dirs(options: argparse.Namespace) -> dict[DatasetName, Path]:
    """The folders named on the command line, by dataset."""
    return {name: path for name in DATASET_TITLES if (path := getattr(options, name))}


def named_dirs(options: argparse.Namespace) -> dict[str, Path]:
    """The folders named on the command line, by channel."""
    return dict(dataset_dirs(options).items())


def find_absent_dirs(options: argparse.Namespace) -> list[str]:
    """What is wrong with the folders named on the command line: no such folder, or a file."""
    return [
        f"--{name} {path}: {'not a folder' if path.exists() else 'no such folder'}; correct the "
        "path"
        for name, path in dataset_dirs(options).items()
        if not path.is_dir()
    ]


def positive(text: str) -> int:
    """A whole number of at least 1.

    Raises:
        ArgumentTypeError: If the text is none.
    """
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, at least 1, got {text!r:.50}")
    return number


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """Reads a whole number in a range, both ends included, for an option's `type`."""

    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {lowest} to {highest}, got {text!r:.50}"
            )
        return number

    return read
