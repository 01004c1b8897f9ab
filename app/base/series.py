"""Series that keep their length within bounds."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def halve(rows: Sequence[Row], merge: Callable[[Row, Row], Row]) -> list[Row]:
    """Half as many rows: each two neighbours merged, and an odd last one unchanged.

    Args:
        rows: In order.
        merge: Makes one row of two, the earlier one first.
    """
    pairs = zip(rows[::2], rows[1::2], strict=False)
    odd_last = rows[-1:] if len(rows) % 2 else []
    return [*(merge(first, second) for first, second in pairs), *odd_last]
