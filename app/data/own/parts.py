"""What the splits of a folder may show: photos, or parts of them."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, get_args

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: Final[tuple[SplitName, ...]] = get_args(SplitName)


class Part(NamedTuple):
    """A photo, or the part of it that a split may show.

    Attributes:
        photo: Its number in the catalogue.
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.
    """

    photo: int
    top: int
    left: int
    height: int
    width: int


class Splits(NamedTuple):
    """What each split may show.

    Attributes:
        parts: By split.
        absent: Names in the list that are no photos.
        unlisted: Photos that the list does not name.
        close: Pairs of splits of a list that share ground or stand closer than 20 m, with two
            photos of each.
        how: How they came about, for the log.
        listed: The split of every photo in the list; empty without one.
    """

    parts: Mapping[SplitName, Sequence[Part]]
    absent: Sequence[str] = ()
    unlisted: Sequence[str] = ()
    close: Sequence[tuple[str, str, str, str]] = ()
    how: str = ""
    listed: Mapping[str, SplitName] = {}

    def holds(self, split: SplitName, name: str) -> bool:
        """Whether a photo that cannot be used would be of a split: without a list, of train."""
        return self.listed.get(name, "train") == split
