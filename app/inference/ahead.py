"""Work that is done while its earlier results are used."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

Item = TypeVar("Item")


class _End:
    """What comes after the last item."""


_END: Final = _End()


def made_ahead(items: Iterator[Item], num_ahead: int) -> Iterator[Item]:
    """The items in their order, made by one thread of their own.

    An error of making an item comes in its place.

    Args:
        items: Nobody else may ask for them.
        num_ahead: How many are made before they are asked for; at least 1.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        try:
            waiting = deque(thread.submit(next, items, _END) for _ in range(num_ahead))
            while not isinstance(item := waiting.popleft().result(), _End):
                waiting.append(thread.submit(next, items, _END))
                yield item
                del item
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
