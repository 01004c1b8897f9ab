"""What audits of all datasets share: samples of many, names of many, progress."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

Result = TypeVar("Result")

_MAX_NAMES: Final = 10


class Track(Protocol):
    """Shows how many of the expected results are there, as a progress bar does."""

    def __call__(self, results: Iterable[Result], num_results: int, title: str) -> Iterable[Result]:
        """The same results, in the same order.

        Args:
            results: Results of the files, as they come.
            num_results: How many there will be.
            title: Title of the bar.
        """


def no_track(results: Iterable[Result], num_results: int, title: str) -> Iterable[Result]:  # noqa: ARG001
    """The results without a progress bar."""
    return results


def name_some(names: Sequence[str]) -> str:
    """The first ten names, and how many more there are."""
    num_hidden = len(names) - _MAX_NAMES
    shown = ", ".join(names[:_MAX_NAMES])
    return f"{shown} and {num_hidden} more" if num_hidden > 0 else shown


def split_remedy(text: str) -> tuple[str, str]:
    """What is wrong and what to do about it, of a line that says both of one problem.

    A line that joins several problems, or names no remedy, stays whole: its last part is none.
    """
    parts = text.split("; ")
    return (parts[0], parts[1]) if len(parts) == 2 else (text, "")


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which 2.tif stands before 10.tif."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(0, int(digits), "") if digits else (1, 0, text) for digits, text in parts]
