"""Logs on stdout: in UTC, a record a line, or short and in colour where stdout is a terminal.

`metric_line` writes the one line per evaluation that SageMaker's metric regexes read.
"""

import contextlib
import logging
import math
import os
import shutil
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, TextIO

from app.base.errors import printable

_HANDLER_NAME = "app.stdout"
_NUM_DIGITS = 8
# Back to the first column, and away with what stands there: a progress bar, of this process or of
# one that it started.
_CLEAR_LINE: Final = "\r\x1b[K"
_DIM, _YELLOW, _RED, _PLAIN = "\x1b[2m", "\x1b[33m", "\x1b[1;31m", "\x1b[0m"
# A narrower terminal shows lines as they are.
_LEAST_COLUMNS: Final = 40


def configure_logging(rank: int = 0) -> None:
    """Send what `app` logs, and Python's warnings, to stdout.

    Into a file or a pipe goes one line a record, whatever names of files are in it, with UTC times;
    only a traceback adds more. A terminal gets short local times, levels by colour, and long lines
    wrapped between words.

    A second call replaces what the first one set up; the root logger and those of libraries stay
    unchanged.

    Args:
        rank: Global rank of this process. Rank 0 logs from INFO, the others from WARNING with their
            rank in front, so that a line appears once and not once per process.
    """
    prefix = "" if rank == 0 else f"[rank {rank}] "
    formatter: logging.Formatter
    if is_terminal():
        formatter = _TerminalFormatter(prefix, has_colours=_shows_colours())
    else:
        formatter = _LineFormatter(
            f"%(asctime)s.%(msecs)03dZ %(levelname)s {prefix}%(name)s: %(message)s",
            datefmt="%Y-%m-%dT%H:%M:%S",
        )
        formatter.converter = time.gmtime
    kind = _TerminalHandler if is_terminal() else _StdoutHandler
    handler = kind(sys.stdout)
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


def is_terminal() -> bool:
    """Whether a person reads along: stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def _shows_colours() -> bool:
    # https://no-color.org: any value but an empty one.
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _LineFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record).rstrip())


class _TerminalFormatter(logging.Formatter):
    """`02:31:47 message`, wrapped below its first word, with WARNING and ERROR said in colour.

    Args:
        prefix: In front of every message.
        has_colours: Whether the terminal has colours, and may be asked to clear a line.
    """

    def __init__(self, prefix: str, *, has_colours: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._prefix = prefix
        self._has_colours = has_colours

    def formatMessage(self, record: logging.LogRecord) -> str:
        stamp = f"{self.formatTime(record, self.datefmt)} "
        level, colour = "", ""
        if record.levelno >= logging.ERROR:
            level, colour = "error: ", _RED
        elif record.levelno >= logging.WARNING:
            level, colour = "warning: ", _YELLOW
        message = printable(record.message.rstrip())
        lines = _wrap(self._prefix + level + message, indent=len(stamp))
        if not self._has_colours:
            return "\n".join([stamp + lines[0], *lines[1:]])
        if level:
            lines[0] = lines[0].replace(level, f"{colour}{level}{_PLAIN}", 1)
        return _CLEAR_LINE + "\n".join([f"{_DIM}{stamp}{_PLAIN}{lines[0]}", *lines[1:]])


def _wrap(text: str, indent: int) -> list[str]:
    """The lines of a text on a terminal; all but the first begin with the indent.

    Rows of a table, which begin with a space, stay whole; so do words, such as paths.
    """
    width = shutil.get_terminal_size().columns - indent
    if text.startswith(" ") or width < _LEAST_COLUMNS:
        return [text]
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return [line if number == 0 else " " * indent + line for number, line in enumerate(lines)] or [
        text
    ]


@contextlib.contextmanager
def _bars_aside() -> Iterator[None]:
    """Takes progress bars of this process off the screen for the block, and shows them again."""
    # Who shows a bar has imported tqdm; the others need not.
    tqdm = sys.modules.get("tqdm")
    if tqdm is None or not hasattr(tqdm, "tqdm"):
        yield
        return
    with tqdm.tqdm.external_write_mode(file=sys.stdout):
        yield


class _StdoutHandler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        # Nobody reads our lines any more, as after `| head`, or when the terminal was closed; the
        # rest of the work is still done.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _TerminalHandler(_StdoutHandler):
    def emit(self, record: logging.LogRecord) -> None:
        # A terminal that was closed, which a bar notices first.
        with contextlib.suppress(OSError), _bars_aside():
            super().emit(record)


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

    # tqdm asks whether a bar is on the screen that something else is written to.
    def __eq__(self, other: object) -> bool:
        return self._stream is other or self is other

    def __hash__(self) -> int:
        return hash(self._stream)


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
