"""Checkpoints to resume from: saved, found again, and compared with the run that resumes.

Loading runs no code from a file, since weights_only=True lets torch unpickle only tensors and plain
types.
"""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from app.base.errors import CheckpointError, first_line, join_problems
from app.base.storage import replacing

logger = logging.getLogger(__name__)


_CHECKPOINT_NAME = re.compile(r"step-(\d{8})\.pt")


def save_checkpoint(
    directory: Path, step: int, payload: Mapping[str, Any], keep_checkpoints: int
) -> Path:
    """Write step-NNNNNNNN.pt and delete all but the newest checkpoints.

    Args:
        directory: Made if it is not there.
        step: Optimizer steps done.
        payload: Tensors and plain Python types.
        keep_checkpoints: How many to keep, at least 1.

    Raises:
        OSError: If the file cannot be written; those before it are still there then.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"step-{step:08d}.pt"
    with replacing(path) as file:
        _save(payload, file)
    for left_over in directory.glob("step-*.pt.tmp"):  # of a run that was killed
        left_over.unlink(missing_ok=True)
    # A checkpoint ahead of this step belongs to a run that was given up and must not be resumed.
    found = _list_checkpoints(directory)
    kept = [old_path for old_path in found if old_path.name <= path.name][:keep_checkpoints]
    for old_path in found:
        if old_path not in kept:
            old_path.unlink(missing_ok=True)
    return path


def _save(payload: Mapping[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(dict(payload), file)
    except RuntimeError as error:
        # After an error of the disk, torch also fails to close its file, and raises that error
        # instead.
        if isinstance(error.__context__, OSError):
            raise OSError(*error.__context__.args) from error
        raise


def load_latest_checkpoint(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, or None if there is none.

    Raises:
        CheckpointError: If there are checkpoints and every one is damaged.
    """
    problems = []
    for path in _list_checkpoints(directory):
        try:
            payload: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        # A damaged file fails in whatever part of the reader meets the damage first.
        except Exception as error:
            problems.append(f"{path.name}: {first_line(error)}")
            logger.warning("checkpoint %s is damaged, trying the one before: %s", path, error)
            continue
        return path, payload
    if problems:
        raise CheckpointError(
            f"every checkpoint in {directory} is damaged: {join_problems(problems)}; delete them, "
            "or set resume=never to start anew"
        )
    return None


def count_checkpoints(directory: Path) -> int:
    """How many checkpoints there are."""
    return len(_list_checkpoints(directory))


def find_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings that differ from an earlier run's, in words: `epochs was 2, now 3`."""
    return [
        f"{key} was {old.get(key)}, now {new.get(key)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]


def _list_checkpoints(directory: Path) -> list[Path]:
    """Newest first."""
    if not directory.is_dir():
        return []
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if _CHECKPOINT_NAME.fullmatch(entry.name)]
    return [directory / name for name in sorted(names, reverse=True)]
