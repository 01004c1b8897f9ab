"""Commands of this program, as people can type them."""

import shlex
import sys
from pathlib import Path


def describe_command(*words: str) -> str:
    """A line for a shell that runs a command of this program: `.venv/bin/python -m app predict`.

    Args:
        words: The command and its arguments.
    """
    return shlex.join([_python(), "-m", "app", *words])


def _python() -> str:
    """This interpreter: from the working directory where it lies there, else by its name."""
    folder = Path(sys.prefix)
    if sys.prefix != sys.base_prefix and folder.parent == Path.cwd():
        return f"{folder.name}/bin/python"
    return "python" if sys.prefix == sys.base_prefix else sys.executable
