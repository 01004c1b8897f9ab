"""Series that keep their length within bounds."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def add_row(
    rows: list[Row],
    row: Row,
    merge: Callable[[Row, Row], Row],
    *,
    is_open: bool,
    max_rows: int,
) -> bool:
    """Add a row to a series, and say whether the series was halved for it.

    Args:
        rows: In order; changed in place.
        row: What to add.
        merge: Makes one row of two, the earlier one first.
        is_open: Whether the last row of the series takes it up, so that there is no new one.
        max_rows: A longer series is halved.
    """
    if is_open:
        rows[-1] = merge(rows[-1], row)
    else:
        rows.append(row)
    if len(rows) <= max_rows:
        return False
    rows[:] = halve(rows, merge)
    return True


def halve(rows: Sequence[Row], merge: Callable[[Row, Row], Row]) -> list[Row]:
    """Half as many rows: each two neighbours merged, and an odd last one unchanged.

    Args:
        rows: In order.
        merge: Makes one row of two, the earlier one first.
    """
    pairs = zip(rows[::2], rows[1::2], strict=False)
    odd_last = rows[-1:] if len(rows) % 2 else []
    return [*(merge(first, second) for first, second in pairs), *odd_last]
