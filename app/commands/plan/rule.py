"""A rule or an assumption of a plan."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A rule or an assumption that a plan rests on.

    Attributes:
        name: In JSON.
        value: A number or a text.
        text: What it is used for.
    """

    name: str
    value: float | str
    text: str
