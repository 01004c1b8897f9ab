"""Values that a run has measured for itself, kept beside its checkpoints.

A resumed run must reuse these values; measuring again could give different ones. They are written
with a run's first checkpoint, so that a start that comes to nothing leaves those of the run before.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.base.storage import replacing

SETTLED_FILE: Final = "settled.json"
# As app.training.checkpoints names them. Without one there is nothing to resume.
CHECKPOINTS: Final = "step-*.pt"
BEST_WEIGHTS: Final = "best-*.pt"
_JOB: Final = "job"


def remember(
    folder: Path, values: Mapping[str, object], job: str | None, *, is_resumed: bool
) -> None:
    """Keep a run's settled values; nothing is written where nothing changes.

    Args:
        folder: Folder of the run's checkpoints.
        values: Anything that JSON can hold, by hyperparameter.
        job: Identifier of the platform's job; None where there is none.
        is_resumed: Whether earlier values are those of the same run, and stay unless replaced.

    Raises:
        OSError: If they cannot be written.
    """
    earlier = _read(folder)
    document = {**(earlier if is_resumed else {}), **values, _JOB: job}
    if job is None:
        del document[_JOB]
    if document != earlier:
        with replacing(folder / SETTLED_FILE) as file:
            file.write((json.dumps(document) + "\n").encode())


def recall(folder: Path, name: str, resume: str, job: str | None = None) -> object:
    """The value settled earlier by the run that resumes here; None if there is none.

    Args:
        folder: Folder of the checkpoints.
        name: Name of the hyperparameter.
        resume: The hyperparameter `resume`; "never" resumes what the same job has begun.
        job: Identifier of the platform's job; None where there is none.
    """
    if not any(folder.glob(CHECKPOINTS)):
        return None
    document = _read(folder)
    if resume == "never" and (job is None or document.get(_JOB) != job):
        return None
    return document.get(name)


def _read(folder: Path) -> dict[str, object]:
    """The file's content; empty where it is missing or damaged."""
    try:
        document = json.loads((folder / SETTLED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
