"""The trees of `make train`: a link to the newest; one that came to nothing is removed."""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.job.paths import Paths

logger = logging.getLogger(__name__)

# What a tree was made for, as scripts/train_local.sh writes it.
RUN_FILE: Final = "run.txt"


@contextlib.contextmanager
def linked_as_newest(base_dir: Path, link: Path) -> Iterator[None]:
    """Have a link point to a run's tree; a tree without any result is removed after the block.

    The link then points where it pointed before. Data lie in no tree that is removed, and neither
    does anything else that a person has put there.

    Args:
        base_dir: The tree.
        link: The link, which is made where there is none; anything else at its place stays.
    """
    before = _read_link(link)
    if link.is_symlink() or not os.path.lexists(link):
        _point(link, base_dir)
    try:
        yield
    finally:
        if is_without_results(base_dir):
            shutil.rmtree(base_dir, ignore_errors=True)
            if link.is_symlink() and not link.exists():
                link.unlink()
                if before is not None:
                    _point(link, link.parent / before)


def is_without_results(base_dir: Path) -> bool:
    """Whether a tree holds nothing but what it was made with, and the reason of a failure."""
    paths = Paths(base_dir)
    config_dir = paths.hyperparameters.parent
    return all(
        path.is_dir()
        or path in (base_dir / RUN_FILE, paths.failure_file)
        or path.is_relative_to(config_dir)
        for path in base_dir.rglob("*")
    )


def _read_link(link: Path) -> Path | None:
    try:
        return link.readlink()
    except OSError:
        return None


def _point(link: Path, target: Path) -> None:
    """Have a link point to a folder, from one moment to the next."""
    temporary = link.with_name(f".{link.name}-{os.getpid()}")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, link.parent))
        temporary.replace(link)
    except OSError as error:  # a file system without links
        logger.warning("%s: cannot be linked to %s: %s", link, target, error.strerror or error)
