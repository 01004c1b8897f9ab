"""What the end of a run says: what was reached, where it is, how long it took, what comes next."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.base.commands import describe_command
from app.base.units import describe_duration
from app.job.paths import SAGEMAKER_DIR, Paths
from app.metrics.by_dataset import describe_by_dataset
from app.training.results import Validation


@dataclass(frozen=True)
class Ending:
    """What a run has come to.

    Attributes:
        paths: The job's folders.
        shown: The validation whose metrics are reported; None without one.
        num_val: Validation photos by dataset.
        report: The report, as people can open it; None where it could not be written.
        duration_s: Seconds that the run took, earlier parts of it included.
        is_stopped: Whether it was asked to stop before its end.
        drawn: The datasets that a program drew.
    """

    paths: Paths
    shown: Validation | None
    num_val: Mapping[str, int]
    report: Path | str | None
    duration_s: float
    is_stopped: bool = False
    drawn: Collection[str] = ()


def describe_end(ending: Ending) -> list[str]:
    """The lines that end a run: what was reached by dataset, and all that a person asks next."""
    lines = _describe_reached(ending)
    lines.append(f"model: {ending.paths.model_dir}")
    if ending.report is not None:
        lines.append(f"report: {ending.report}")
    took = f"took {describe_duration(ending.duration_s)}"
    if ending.is_stopped:
        return [*lines, f"{took} so far; the same command resumes"]
    if ending.paths.base_dir == SAGEMAKER_DIR:  # where nobody can type a next command
        return [*lines, took]
    words = ("--model", str(ending.paths.model_dir), "--out", "predictions", "PHOTO.tif")
    return [*lines, took, f"next: {describe_command('predict', *words)}"]


def _describe_reached(ending: Ending) -> list[str]:
    if ending.shown is None:
        return []
    values = {name: metric["value"] for name, metric in ending.shown.metrics.items()}
    table = describe_by_dataset(values, "val", ending.num_val, ending.drawn)
    return ["reached on validation photos, which were not trained on:", *table] if table else []
