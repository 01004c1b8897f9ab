"""Runs that are finished: known without torch, so that the same call says so at once.

A finished run leaves finished.json beside its checkpoints: what it was asked for, the files that it
left, and the lines that ended its log.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from app.base.storage import replacing
from app.job.paths import Paths
from app.settings.hyperparameters import Hyperparameters

FINISHED_FILE: Final = "finished.json"
# Of a look at sizes and times of all files; where it takes longer, runs are not recognised.
_LOOKING_LIMIT_S: Final = 0.5
_PATH_SETTINGS: Final = ("initial_model", "backbone_weights")


def digest_request(
    hyperparameters: Hyperparameters,
    channels: Mapping[str, Path],
    limit_s: float = _LOOKING_LIMIT_S,
) -> str | None:
    """A digest of what a run is asked for; None where its files cannot be looked at in time.

    Args:
        hyperparameters: The settings as given.
        channels: Folders of datasets, and of models to start from. Names, sizes and times of the
            files in them count, not their content.
        limit_s: Time for the look at them.
    """
    settings = hyperparameters.model_dump(mode="json", exclude={"resume"})
    named = [path for name in _PATH_SETTINGS if (path := Path(str(settings[name]))).exists()]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    deadline_s = time.monotonic() + limit_s
    try:
        for name, path in sorted({**channels, **{str(path): path for path in named}}.items()):
            digest.update(f"\n{name} {path.resolve()}\n".encode(errors="surrogateescape"))
            for line in _look_at(path):
                digest.update(line.encode(errors="surrogateescape"))
                if time.monotonic() > deadline_s:
                    return None
    except OSError:
        return None
    return digest.hexdigest()


def note_finished(paths: Paths, digest: str, lines: Sequence[str], files: Sequence[Path]) -> None:
    """Leave word that a run is finished.

    Args:
        paths: The job's folders.
        digest: As `digest_request`, of before the run.
        lines: What the end of the run says.
        files: The files it left that have to be there for as long as it counts as finished.

    Raises:
        OSError: If it cannot be written.
    """
    document = {"request": digest, "lines": list(lines), "files": _stamp(files)}
    with replacing(paths.checkpoint_dir / FINISHED_FILE) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())


def recall_finished(paths: Paths, digest: str | None) -> list[str] | None:
    """What a run that was asked for the same has said at its end; None if none is finished.

    Args:
        paths: The job's folders.
        digest: As `digest_request`.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        document = json.loads((paths.checkpoint_dir / FINISHED_FILE).read_text(encoding="utf-8"))
        stamps = document["files"]
        is_same = digest is not None and document["request"] == digest
        if is_same and stamps == _stamp(list(map(Path, stamps))):
            return [str(line) for line in document["lines"]]
    return None


def _stamp(files: Sequence[Path]) -> dict[str, list[int]]:
    """Size and time of each file, by its absolute path."""
    found = {str(path.resolve()): path.stat() for path in files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in found.items()}


def _look_at(path: Path) -> Iterator[str]:
    """A line for each file in a folder, or for a file itself, in an order of their names."""
    if path.is_file():
        stat = path.stat()
        yield f"{stat.st_size} {stat.st_mtime_ns}\n"
        return
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_dir():
            yield f"{entry.name}/\n"
            yield from _look_at(Path(entry.path))
        else:
            stat = entry.stat()
            yield f"{entry.name} {stat.st_size} {stat.st_mtime_ns}\n"
