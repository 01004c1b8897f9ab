"""GeoPackages that another program has not put away: read without a change to the user's files.

A GeoPackage is an SQLite database. Where a program such as QGIS holds it open, or was killed, what
was last saved lies in a log beside it (-wal), or half of an unfinished change is in it and the way
back beside it (-journal). SQLite sorts that out in the files themselves, as soon as they are read,
and cannot where the folder is read-only: then the newest changes would be absent without a word.

Source: "Database File Format", sections 1.3.3 and 4, of sqlite.org.
"""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.base.errors import first_line
from app.data.files.problems import FileProblem
from app.job.paths import scratch_folder

LOG_ENDS: Final = ("-wal", "-journal")
# The byte of the header that says how a file is to be read; 2 where changes go to a log.
_VERSION_BYTE: Final = 19
_HAS_LOG: Final = 2


@contextlib.contextmanager
def put_away(path: Path) -> Iterator[Path]:
    """A GeoPackage with all that was saved: itself, or a copy that SQLite has sorted out.

    Args:
        path: The GeoPackage; a file that is none is yielded unchanged.

    Raises:
        FileProblem: If it cannot be copied, or is no database.
    """
    if not _is_unsettled(path):
        yield path
        return
    with scratch_folder() as folder:
        copy = folder / "copy.gpkg"
        try:
            for end in ("", *LOG_ENDS):
                beside = path.with_name(path.name + end)
                if beside.is_file():
                    shutil.copyfile(beside, f"{copy}{end}")
            with contextlib.closing(sqlite3.connect(copy)) as database:
                database.execute("PRAGMA journal_mode=DELETE")
        except (OSError, sqlite3.Error) as error:
            got = f"a GeoPackage that another program has not put away ({first_line(error)})"
            remedy = "close it there, such as in QGIS, and copy it again"
            raise FileProblem(path, got, "one that can be read", remedy) from error
        yield copy


def _is_unsettled(path: Path) -> bool:
    if path.suffix.lower() != ".gpkg":
        return False
    try:
        with path.open("rb") as file:
            header = file.read(_VERSION_BYTE + 1)
        logs = [path.with_name(path.name + end) for end in LOG_ENDS]
        has_log = any(log.is_file() and log.stat().st_size > 0 for log in logs)
    except OSError:
        return False  # said when it is opened
    return has_log or header[_VERSION_BYTE:] == bytes([_HAS_LOG])
