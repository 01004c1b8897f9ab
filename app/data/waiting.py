"""Reads that are waited for with open ears: a stall is told of, and a stop is heard.

Storage over a network may not answer for minutes, or never, and a thread that waits for it in the
kernel or a library cannot be interrupted. So another thread reads, and this one waits.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from app.base.errors import StopRequested

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_POLL_INTERVAL_S: Final = 0.2
# After this, and whenever twice as much is over.
FIRST_WARNING_S: Final = 30.0


class PatientReader(Generic[Result]):
    """Does one read after the other in a thread of its own, each when it is asked for.

    It never reads ahead. A read that does not end holds up that thread alone, and not the end of
    the process.

    Args:
        read: Does a read.
        what: Names what is being read, for the warnings.
        stop_requested: Asked several times a second while a read takes long.
        first_warning_s: Seconds after which a read is told of.
    """

    def __init__(
        self,
        read: Callable[[], Result],
        what: Callable[[], str],
        stop_requested: Callable[[], bool],
        first_warning_s: float = FIRST_WARNING_S,
    ) -> None:
        self._read = read
        self._what = what
        self._stop_requested = stop_requested
        self._first_warning_s = first_warning_s
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Result | None, BaseException | None]]
        self._answers = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_reading = False

    @property
    def is_reading(self) -> bool:
        """Whether a read is under way: between reads, or after a stop that did not wait for it."""
        return self._is_reading

    def next(self, patience_s: float = 0.0) -> Result:
        """What the next read gives.

        Args:
            patience_s: How long after a stop the read may still take.

        Raises:
            StopRequested: If asked to stop, and the read has not ended. A later call waits for the
                same read.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="patient-reader", daemon=True)
            self._thread.start()
        if not self._is_reading:
            self._is_reading = True
            self._asked.put(True)
        result, error = self._wait(patience_s)
        self._is_reading = False
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def close(self, limit_s: float = 1.0) -> None:
        """Let the thread end, and wait for that unless it reads."""
        self._asked.put(False)
        if self._thread is not None and not self._is_reading:
            self._thread.join(limit_s)

    def _run(self) -> None:
        while self._asked.get():
            try:
                self._answers.put((self._read(), None))
            except BaseException as error:
                self._answers.put((None, error))

    def _wait(self, patience_s: float) -> tuple[Result | None, BaseException | None]:
        started_s = time.monotonic()
        warn_after_s = self._first_warning_s
        stopped_s: float | None = None
        while True:
            try:
                answer = self._answers.get(timeout=_POLL_INTERVAL_S)
            except queue.Empty:
                now_s = time.monotonic()
            else:
                if warn_after_s > self._first_warning_s:
                    waited_s = time.monotonic() - started_s
                    logger.warning("%s: there after %.0f s", self._what(), waited_s)
                return answer
            if stopped_s is None and self._stop_requested():
                stopped_s = now_s
            if stopped_s is not None and now_s - stopped_s >= patience_s:
                raise StopRequested
            if now_s - started_s >= warn_after_s:
                warn_after_s *= 2
                logger.warning(
                    "%s: waiting for %.0f s; its storage is slow or does not answer, and training "
                    "waits with it; a stop would be heard",
                    self._what(),
                    now_s - started_s,
                )


def wait_for(
    read: Callable[[], Result],
    what: str,
    stop_requested: Callable[[], bool],
    *,
    patience_s: float = 0.0,
    first_warning_s: float = FIRST_WARNING_S,
) -> Result:
    """What a single read gives, as PatientReader waits for it.

    Raises:
        StopRequested: If asked to stop, and the read has not ended patience_s later.
    """
    reader = PatientReader(read, lambda: what, stop_requested, first_warning_s)
    try:
        return reader.next(patience_s)
    finally:
        reader.close()
