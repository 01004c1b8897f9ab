"""How far a command is that looks at many photos."""

import logging
import time
from typing import Final, Self

from tqdm import tqdm

logger = logging.getLogger(__name__)

_LINE_EVERY_S: Final = 60.0


class Progress:
    """How many photos are done: a bar on a terminal, a line a minute elsewhere.

    Args:
        num_photos: All of them.
    """

    def __init__(self, num_photos: int) -> None:
        self._num_photos = num_photos
        self._num_done = 0
        self._bar = tqdm(total=num_photos, unit=" photos", disable=None)
        self._next_line_s = time.monotonic() + _LINE_EVERY_S

    def advance(self) -> None:
        """One more is done."""
        self._num_done += 1
        self._bar.update()
        if self._bar.disable and time.monotonic() >= self._next_line_s:
            logger.info("%d of %d photos done", self._num_done, self._num_photos)
            self._next_line_s = time.monotonic() + _LINE_EVERY_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
