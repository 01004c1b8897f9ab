"""Logs on stdout in UTC, and the one line per evaluation that SageMaker's metric regexes read."""

import contextlib
import logging
import math
import sys
import time
import warnings
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TextIO

from app.base.errors import printable

_HANDLER_NAME = "app.stdout"
_NUM_DIGITS = 8


def configure_logging(rank: int = 0) -> None:
    """Send what `app` logs, and Python's warnings, to stdout with UTC times.

    A second call replaces what the first one set up; the root logger and those of libraries stay
    unchanged. A record is one line, whatever names of files are in it; only a traceback adds
    more.

    Args:
        rank: Global rank of this process. Rank 0 logs from INFO, the others from WARNING with their
            rank in front, so that a line appears once and not once per process.
    """
    prefix = "" if rank == 0 else f"[rank {rank}] "
    formatter = _LineFormatter(
        f"%(asctime)s.%(msecs)03dZ %(levelname)s {prefix}%(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    formatter.converter = time.gmtime
    handler = _StdoutHandler(sys.stdout)
    handler.name = _HANDLER_NAME
    handler.setFormatter(formatter)
    for name in ("app", "py.warnings"):
        logger = logging.getLogger(name)
        for old in [old for old in logger.handlers if old.name == _HANDLER_NAME]:
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    logging.captureWarnings(True)
    ignore_expected_warnings()


def ignore_expected_warnings() -> None:
    """Leave out rasterio's warning of images without georeference, which readers can handle.

    Filters of warnings belong to the whole process: set once, at its start, they need no lock.
    """
    # Matched by its text, since its class would need rasterio, which some processes never import.
    warnings.filterwarnings("ignore", message="Dataset has no geotransform", category=UserWarning)


class _LineFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record).rstrip())


class _StdoutHandler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        # Nobody reads our lines any more, as after `| head`, or when the terminal was closed; the
        # rest of the work is still done.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class ForgivingStream:
    """A stream whose writes fail in silence: a closed terminal does not end what is shown there.

    Args:
        stream: Everything else is its own.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a stream has
        return getattr(self._stream, name)


def metric_line(values: Mapping[str, float | int | None], epoch: int, step: int) -> str:
    """The machine line of an evaluation: `metric epoch=3 step=1200 val/segments/miou=0.6132`.

    Args:
        values: Metric by name, `<split>/<task>/<metric>`. None, NaN and infinity are left out: a
            regex of SageMaker takes plain decimals only.
        epoch: Passes over the data so far.
        step: Optimizer steps so far.
    """
    parts = [
        f"{name}={_plain_decimal(value)}"
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    ]
    return " ".join(["metric", f"epoch={epoch}", f"step={step}", *parts])


def _plain_decimal(value: float) -> str:
    """The number without an exponent: SageMaker would read 1e-05 as 1."""
    if isinstance(value, int):
        return str(value)
    return format(Decimal(f"{value:.{_NUM_DIGITS}g}"), "f")
