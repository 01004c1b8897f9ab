"""Several files at a time: reading and unpacking them lets go of the GIL."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.resources.cores import num_cores

Result = TypeVar("Result")


def run_in_threads(
    function: Callable[[int], Result], num_calls: int, num_threads: int | None = None
) -> Iterator[Result]:
    """function(0), function(1) ... in order, several at a time.

    Args:
        function: What to do.
        num_calls: How often.
        num_threads: At a time; None is one per core that this process may use.
    """
    executor = ThreadPoolExecutor(num_threads or num_cores())
    try:
        yield from executor.map(function, range(num_calls))
    finally:
        executor.shutdown(cancel_futures=True)
