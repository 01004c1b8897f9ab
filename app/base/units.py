"""Sizes that many modules count in."""

from typing import Final

GIB: Final = 2**30  # bytes
MPX: Final = 2**20  # pixels
