"""Checkpoints to resume from: saved, found again, and compared with the run that resumes.

A folder of checkpoints holds those of one run, and beside them the averaged weights of its best
validation, best-NNNNNNNN.pt. What an earlier run left there is moved into a folder earlier-N beside
them when this run saves for the first time, and never deleted.

Loading runs no code from a file, since weights_only=True lets torch unpickle only tensors and plain
types.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from app.base.errors import CheckpointError, first_line, join_problems
from app.base.storage import move_aside, replacing
from app.base.units import GIB
from app.settings.settled import SETTLED_FILE, remember

logger = logging.getLogger(__name__)


_CHECKPOINT_NAME = re.compile(r"step-(\d{8})\.pt")
_BEST_NAME = re.compile(r"best-(\d{8})\.pt")

Payload = dict[str, Any]


@dataclass
class RunCheckpoints:
    """A run's checkpoints, in a folder where earlier runs may have left theirs.

    Attributes:
        folder: Where they are; made if it is not there.
        num_kept: How many to keep, at least 1.
        job: Identifier of the platform's job, which stays when the job is interrupted and started
            again; None where there is none.
        own: Names of those that are this run's, oldest first. Only these are ever deleted.
        keeps_best: Whether weights of validations are stored, too.
        own_best: Names of the stored ones that are this run's. Only these are ever deleted.
    """

    folder: Path
    num_kept: int
    job: str | None = None
    own: list[str] = field(default_factory=list)
    keeps_best: bool = False
    own_best: set[str] = field(default_factory=set)
    _has_begun: bool = field(init=False, default=False)
    _has_saved: bool = field(init=False, default=False)

    def save(self, step: int, payload: Mapping[str, Any], settled: Mapping[str, object]) -> Path:
        """Write step-NNNNNNNN.pt and delete all but the run's newest checkpoints.

        Args:
            step: Optimizer steps done; never less than before.
            payload: Tensors and plain Python types.
            settled: As app.settings.settled keeps them; written with the first checkpoint.

        Raises:
            OSError: If the file cannot be written; those before it are still there then.
        """
        self._begin()
        if not self._has_saved:
            # Before the checkpoint: without one it means nothing, and a checkpoint without it could
            # not be resumed.
            remember(self.folder, settled, self.job, is_resumed=bool(self.own))
        path = self.folder / f"step-{step:08d}.pt"
        with replacing(path) as file:
            _save(payload, file)
        self._has_saved = True
        if path.name not in self.own:
            self.own.append(path.name)
        for name in self.own[: -self.num_kept]:
            (self.folder / name).unlink(missing_ok=True)
        del self.own[: -self.num_kept]
        self._prune_best()
        return path

    def save_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Write best-NNNNNNNN.pt; those that a kept checkpoint may name stay.

        Args:
            step: Optimizer steps done.
            tensors: Weights and buffers.

        Raises:
            OSError: If the file cannot be written.
        """
        self._begin()
        path = self.folder / best_name(step)
        with replacing(path) as file:
            _save(tensors, file)
        self.own_best.add(path.name)

    def load_best(self, step: int) -> Payload:
        """The tensors that `save_best` stored, read from the file only where they are used."""
        return _load(self.folder / best_name(step), mmap=True)

    def _prune_best(self) -> None:
        """Delete those that no kept checkpoint names.

        A checkpoint names the last one before itself, or the one of its own step, and those after
        the oldest checkpoint are named by later ones.
        """
        before_oldest = sorted(
            name
            for name in self.own_best
            if _number(_BEST_NAME, name) < _number(_CHECKPOINT_NAME, self.own[0])
        )
        for name in before_oldest[:-1]:
            (self.folder / name).unlink(missing_ok=True)
            self.own_best.discard(name)

    def others(self) -> list[Path]:
        """Checkpoints in the folder that are not this run's, oldest first."""
        return [path for path in list_checkpoints(self.folder) if path.name not in self.own][::-1]

    def _begin(self) -> None:
        """Make the folder this run's own, before its first file is written."""
        if self._has_begun:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._move_others()
        self._has_begun = True

    def _move_others(self) -> None:
        others = self.others()
        if not others:
            return
        best = sorted(one for one in self.folder.iterdir() if _BEST_NAME.fullmatch(one.name))
        moved = [*others, *(one for one in best if one.name not in self.own_best)]
        if not self.own and (self.folder / SETTLED_FILE).exists():
            moved.append(self.folder / SETTLED_FILE)
        size_gib = sum(path.stat().st_size for path in moved) / GIB
        earlier = move_aside(moved)
        logger.info(
            "checkpoints that this run does not resume (%s, %.2f GiB) are now in %s; remove them "
            "when nobody needs them any more",
            ", ".join(path.name for path in others),
            size_gib,
            earlier,
        )


def best_name(step: int) -> str:
    """The name of the file with the averaged weights of a step."""
    return f"best-{step:08d}.pt"


def _number(pattern: re.Pattern[str], name: str) -> int:
    match = pattern.fullmatch(name)
    assert match is not None
    return int(match[1])


def _save(payload: Mapping[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(dict(payload), file)
    except RuntimeError as error:
        # After an error of the disk, torch also fails to close its file, and raises that error
        # instead.
        if isinstance(error.__context__, OSError):
            raise OSError(*error.__context__.args) from error
        raise


def load_latest_checkpoint(
    folder: Path, is_wanted: Callable[[Payload], bool] | None = None
) -> tuple[Path, Payload] | None:
    """The newest checkpoint that can be read, or None if there is none.

    Args:
        folder: Where checkpoints are.
        is_wanted: Says of a checkpoint's content, its tensors not yet read, whether it counts; of a
            damaged one nobody knows. None: all count.

    Raises:
        CheckpointError: If all count and every one is damaged.
    """
    problems = []
    for path in list_checkpoints(folder):
        try:
            if is_wanted is None or is_wanted(_load(path, mmap=True)):
                return path, _load(path)
        # A damaged file fails in whatever part of the reader meets the damage first.
        except Exception as error:
            problems.append(f"{path.name}: {first_line(error)}")
            logger.warning("checkpoint %s is damaged, trying the one before: %s", path, error)
    if problems and is_wanted is None:
        raise CheckpointError(
            f"every checkpoint in {folder} is damaged: {join_problems(problems)}; delete them, "
            "or set resume=never to start again"
        )
    return None


def find_checkpoints(newest: Path, is_wanted: Callable[[Payload], bool]) -> list[str]:
    """Names of the wanted checkpoints beside the newest and of itself, oldest first.

    Args:
        newest: The newest one; later ones do not count, nor do damaged ones.
        is_wanted: As load_latest_checkpoint.
    """
    names = []
    for path in reversed(list_checkpoints(newest.parent)):
        try:
            if path.name <= newest.name and is_wanted(_load(path, mmap=True)):
                names.append(path.name)
        except Exception as error:  # as in load_latest_checkpoint
            logger.warning("checkpoint %s is damaged: %s", path, error)
    return names


def _load(path: Path, *, mmap: bool = False) -> Payload:
    """A checkpoint's content; with mmap its tensors are read only where they are used."""
    payload: Payload = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    return payload


def find_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings that differ from an earlier run's, in words: `epochs was 2, now 3`."""
    return [
        f"{key} was {old.get(key)}, now {new.get(key)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]


def list_checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _CHECKPOINT_NAME.fullmatch(entry.name)]
    return [folder / name for name in sorted(names, reverse=True)]
