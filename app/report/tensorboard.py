"""The numbers of a run as TensorBoard shows them: a folder for each run, with one file in it."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.report.events import first_record, read_records, scalars_record, size_of

# TensorBoard takes files with "tfevents" in their names. Always the same, so that a run that is
# written again finds its file.
EVENTS_FILE: Final = "events.out.tfevents.0000000000.roof-model"
# They are the axes of all others.
_AXES: Final = ("step", "time_s")


def identify(row: Mapping[str, Any]) -> str:
    """What tells a run from others: a digest of its first row, whose times no other run has."""
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def describe_row(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row that can be drawn."""
    return {
        name: float(value)
        for name, value in row.items()
        if name not in _AXES and isinstance(value, int | float)
    }


def date_row(row: Mapping[str, Any], last: Mapping[str, Any], ended_s: float) -> float:
    """When a row was found, in seconds since 1970.

    Args:
        row: The row; one of an initial model has no "time_s" and stands at the start.
        last: The newest row.
        ended_s: When that was found.
    """
    return ended_s - (float(last.get("time_s") or 0) - float(row.get("time_s") or 0))


def write_rows(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], ended_s: float) -> int:
    """Write what the file of a run lacks; returns how many rows that were.

    Rows are added at the end of the file, which TensorBoard reads on while it grows. What a process
    that was killed has left of a row is cut off.

    Args:
        folder: Of all runs; made if it is not there.
        name: How people call the run.
        rows: Of metrics.jsonl, from the first on.
        ended_s: When the last one was found, in seconds since 1970.

    Raises:
        OSError: If it cannot be written.
    """
    if not rows:
        return 0
    path = folder / f"{name}-{identify(rows[0])[:8]}" / EVENTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    records = list(read_records(path.read_bytes())) if path.exists() else []
    missing = rows[max(0, len(records) - 1) :]
    added = [
        scalars_record(date_row(row, rows[-1], ended_s), int(row["step"]), describe_row(row))
        for row in missing
    ]
    if not records:
        added.insert(0, first_record(date_row(rows[0], rows[-1], ended_s)))
    with path.open("ab") as file:
        file.truncate(sum(size_of(data) for data in records))
        file.write(b"".join(added))
        file.flush()
        os.fsync(file.fileno())
    return len(missing)
