"""Values that a run has measured for itself, kept beside its checkpoints.

A resumed run must reuse these values; measuring again could give different ones.
"""

import json
from pathlib import Path
from typing import Final

from app.base.storage import replacing

_FILE: Final = "settled.json"
# As app.training.checkpoints names them. Without one there is nothing to resume.
_CHECKPOINTS: Final = "step-*.pt"


def remember(folder: Path, name: str, value: object) -> None:
    """Keep a settled value.

    Args:
        folder: Folder of the checkpoints; made if it is missing.
        name: Name of the hyperparameter.
        value: Anything that JSON can hold; replaces an earlier value of that name.

    Raises:
        OSError: If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = {**_read(folder), name: value}
    with replacing(folder / _FILE) as file:
        file.write((json.dumps(document) + "\n").encode())


def recall(folder: Path, name: str, resume: str) -> object:
    """The value settled earlier by the run that resumes here; None if there is none.

    Args:
        folder: Folder of the checkpoints.
        name: Name of the hyperparameter.
        resume: The hyperparameter `resume`.
    """
    if resume == "never" or not any(folder.glob(_CHECKPOINTS)):
        return None
    return _read(folder).get(name)


def _read(folder: Path) -> dict[str, object]:
    """The file's content; empty where it is missing or damaged."""
    try:
        document = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
