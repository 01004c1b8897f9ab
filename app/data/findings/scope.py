"""How an audit of any dataset is called."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.data.findings.report import AuditReport
from app.data.findings.tools import Track, no_track
from app.settings.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class AuditScope:
    """What an audit is about, besides the folder.

    Attributes:
        hyperparameters: Settings of the run to come: its folds, scales and limits.
        scratch_dir: Where an index may be kept for the next start.
        max_files: Read so many files, spread over all, and leave out what needs all of them; None
            reads all.
        track: Shows progress.
    """

    hyperparameters: Hyperparameters
    scratch_dir: Path
    max_files: int | None = None
    track: Track = no_track


# Fills in the report on its root; raises DataError where the folder cannot be used as a whole.
Audit = Callable[[AuditReport, AuditScope], None]
