"""Counts that are added up field by field."""

from dataclasses import astuple, dataclass
from operator import add
from typing import Self


@dataclass(frozen=True)
class Counts:
    """What the counts of several files have in common: each field of a sum is a sum."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(add, astuple(self), astuple(other)))
