"""What a run has found out for itself, kept beside its checkpoints.

A run that goes on from them has to go on with it: measured anew, it could come out otherwise.
"""

import json
from pathlib import Path
from typing import Final

from app.base.storage import replacing

_FILE: Final = "settled.json"
# As app.training.checkpoints names them. Without one there is nothing to resume.
_CHECKPOINTS: Final = "step-*.pt"


def remember(folder: Path, name: str, value: object) -> None:
    """Keep what was settled; anything that JSON can hold.

    Args:
        folder: Of the checkpoints; made if it is not there.
        name: Of the hyperparameter.
        value: Takes the place of an earlier one of that name.

    Raises:
        OSError: If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = {**_read(folder), name: value}
    with replacing(folder / _FILE) as file:
        file.write((json.dumps(document) + "\n").encode())


def recall(folder: Path, name: str, resume: str) -> object:
    """What was settled for the run that goes on here; None if none does, or nothing was.

    Args:
        folder: Of the checkpoints.
        name: Of the hyperparameter.
        resume: The hyperparameter `resume`.
    """
    if resume == "never" or not any(folder.glob(_CHECKPOINTS)):
        return None
    return _read(folder).get(name)


def _read(folder: Path) -> dict[str, object]:
    """The file's content; nothing where it is not there or damaged."""
    try:
        document = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
