"""What audits of all datasets share: threads over files, copies, samples of many, progress."""

import contextlib
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

from rasterio.errors import NotGeoreferencedWarning

Result = TypeVar("Result")
Item = TypeVar("Item")

_MAX_NAMES: Final = 10


class Track(Protocol):
    """Passes results on while it shows how many of them have come."""

    def __call__(self, results: Iterable[Result], num_results: int, title: str) -> Iterable[Result]:
        """The same results."""


def spread(items: Sequence[Item], max_items: int | None) -> Sequence[Item]:
    """At most so many, evenly spread over all; None is all."""
    if max_items is None or max_items >= len(items):
        return items
    return [items[number * len(items) // max_items] for number in range(max_items)]


def no_track(results: Iterable[Result], num_results: int, title: str) -> Iterable[Result]:  # noqa: ARG001
    """Shows nothing."""
    return results


def run_in_threads(
    function: Callable[[int], Result], num_calls: int, num_threads: int | None = None
) -> Iterator[Result]:
    """function(0), function(1) ... in order, several at a time: reading lets go of the GIL.

    Args:
        function: What to do.
        num_calls: How often.
        num_threads: At a time; None is one per core that this process may use.
    """
    executor = ThreadPoolExecutor(num_threads or len(os.sched_getaffinity(0)))
    try:
        # The readers ignore this warning one file at a time, and threads undo each other's filters.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            yield from executor.map(function, range(num_calls))
    finally:
        executor.shutdown(cancel_futures=True)


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


def name_some(names: Sequence[str]) -> str:
    """The first ten names, and how many more there are."""
    num_hidden = len(names) - _MAX_NAMES
    shown = ", ".join(names[:_MAX_NAMES])
    return f"{shown} and {num_hidden} more" if num_hidden > 0 else shown


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which 2.tif stands before 10.tif."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(0, int(digits), "") if digits else (1, 0, text) for digits, text in parts]


def _digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
