"""Files with the same bytes."""

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

from app.data.files.threads import run_in_threads


def find_identical_files(paths: Sequence[Path]) -> list[list[Path]]:
    """Groups of files with the same bytes; only files of equal size are read."""
    by_size: dict[int, list[Path]] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            if path.is_file():
                by_size.setdefault(path.stat().st_size, []).append(path)
    candidates = [path for group in by_size.values() if len(group) > 1 for path in group]
    digests = run_in_threads(lambda index: _digest(candidates[index]), len(candidates))
    groups: dict[bytes, list[Path]] = {}
    for path, digest in zip(candidates, digests, strict=True):
        if digest is not None:
            groups.setdefault(digest, []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def _digest(path: Path) -> bytes | None:
    try:
        return digest_file(path)
    except OSError:
        return None


def digest_file(path: Path) -> bytes:
    """A digest that is equal for files with the same bytes.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
