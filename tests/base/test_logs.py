import contextlib
import io
import logging
import os
import re
import sys
import time
import warnings

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from tqdm import tqdm

from app.base.logs import (
    ForgivingStream,
    configure_logging,
    ignore_expected_warnings,
    metric_line,
)

METRIC_REGEX = r"val/segments/miou=([-+]?[0-9]+\.?[0-9]*)"


@pytest.fixture(autouse=True)
def _restore_logging():
    loggers = [logging.getLogger(name) for name in ("app", "py.warnings")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture
def _tokyo(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_tokyo")
def test_times_are_utc(capsys):
    configure_logging()
    record = logging.makeLogRecord(
        {
            "name": "app.training.train",
            "levelno": logging.INFO,
            "levelname": "INFO",
            "msg": "epoch 3",
        }
        | {"created": 86_399.25, "msecs": 250.0}
    )
    logging.getLogger("app.training.train").handle(record)
    assert capsys.readouterr().out == "1970-01-01T23:59:59.250Z INFO app.training.train: epoch 3\n"


def test_rank_0_logs_info_to_stdout(capsys):
    configure_logging()
    logging.getLogger("app.training.train").info("epoch %d", 3)
    logging.getLogger("app.training.train").debug("detail")
    captured = capsys.readouterr()
    assert re.fullmatch(r"\S+Z INFO app\.training\.train: epoch 3\n", captured.out)
    assert captured.err == ""


def test_other_ranks_log_warnings_with_their_rank(capsys):
    configure_logging(rank=3)
    logging.getLogger("app.training.train").info("epoch 3")
    logging.getLogger("app.training.train").warning("slow disk")
    out = capsys.readouterr().out
    assert re.fullmatch(r"\S+Z WARNING \[rank 3\] app\.training\.train: slow disk\n", out)


def test_second_call_replaces_the_first(capsys):
    configure_logging(rank=1)
    configure_logging(rank=0)
    logging.getLogger("app").info("once")
    out = capsys.readouterr().out
    assert out.count("once") == 1
    assert "rank 1" not in out


def test_warnings_go_to_the_log(capsys):
    configure_logging()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest has put its own recorder in the way; logging's hook is what a job runs with.
        warnings.showwarning = logging._showwarning
        warnings.warn("old file", UserWarning, stacklevel=1)
    captured = capsys.readouterr()
    assert "WARNING py.warnings: " in captured.out
    assert "UserWarning: old file" in captured.out
    assert captured.err == ""


def test_a_record_is_one_line_whatever_names_are_in_it(capsys):
    configure_logging()
    logging.getLogger("app").warning("set aside %s", "a\nb\x1b[2J\udcff.tif")
    out = capsys.readouterr().out
    assert out.endswith("set aside a\\nb\\x1b[2J\\udcff.tif\n")
    assert out.count("\n") == 1


def test_a_traceback_keeps_its_lines(capsys):
    configure_logging()
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("app").exception("internal error")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("ERROR app: internal error")
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: why"


def test_images_without_georeference_are_no_news(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with rasterio.open(
            tmp_path / "a.png", "w", driver="PNG", width=4, height=4, count=1, dtype="uint8"
        ) as file:
            file.write(np.zeros((1, 4, 4), np.uint8))
        assert NotGeoreferencedWarning in [warning.category for warning in caught]
        caught.clear()
        ignore_expected_warnings()
        rasterio.open(tmp_path / "a.png").close()
        assert caught == []


def test_other_loggers_stay_as_they_are():
    others = [logging.getLogger(), logging.getLogger("rasterio")]
    before = [(logger.handlers[:], logger.level) for logger in others]
    configure_logging()
    assert [(logger.handlers, logger.level) for logger in others] == before


def test_metric_line_in_full():
    line = metric_line({"val/segments/miou": 0.6132, "val/depth/mae_m": None}, epoch=3, step=1200)
    assert line == "metric epoch=3 step=1200 val/segments/miou=0.6132"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.6132, "0.6132"),
        (1e-05, "0.00001"),
        (1.5e-7, "0.00000015"),
        (0.1 + 0.2, "0.3"),
        (2 / 3, "0.66666667"),
        (1.0, "1"),
        (0, "0"),
        (-0.5, "-0.5"),
        (123456789012, "123456789012"),
        (1e22, "10000000000000000000000"),
    ],
)
def test_numbers_are_plain_decimals_a_regex_reads(value, text):
    line = metric_line({"val/segments/miou": value, "val/lines/f1": 0.25}, epoch=1, step=2)
    found = re.search(METRIC_REGEX, line)
    assert found is not None
    assert found.groups() == (text,)
    assert float(text) == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_undefined_values_are_left_out(value):
    assert metric_line({"val/segments/miou": value}, epoch=1, step=2) == "metric epoch=1 step=2"


def test_a_terminal_that_was_closed_ends_nothing(monkeypatch, capfd):
    """As when an ssh session is lost: every write fails from then on."""
    master, terminal = os.openpty()
    os.close(master)
    stream = os.fdopen(terminal, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    configure_logging()
    logging.getLogger("app.test").warning("not read by anybody")
    forgiving = ForgivingStream(stream)
    assert forgiving.write("a bar") == 5
    forgiving.flush()
    assert forgiving.fileno() == terminal
    monkeypatch.undo()
    with contextlib.suppress(OSError):
        stream.close()
    assert capfd.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def open_terminal(monkeypatch):
    """Opens a terminal of 60 columns and of colours, which stdout and stderr share."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def patch():  # in the test, since pytest puts its own streams in place before it
        screen = Terminal()
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, screen)
        return screen

    return patch


def test_a_terminal_gets_short_times_and_levels_in_colour(open_terminal):
    terminal = open_terminal()
    configure_logging()
    logger = logging.getLogger("app.training.train")
    logger.info("epoch %d", 3)
    logger.warning("slow disk")
    logger.error("no disk")
    lines = terminal.getvalue().rstrip("\n").split("\n")
    assert [re.sub(r"\d\d:\d\d:\d\d", "02:31:47", line) for line in lines] == [
        "\r\x1b[K\x1b[2m02:31:47 \x1b[0mepoch 3",
        "\r\x1b[K\x1b[2m02:31:47 \x1b[0m\x1b[33mwarning: \x1b[0mslow disk",
        "\r\x1b[K\x1b[2m02:31:47 \x1b[0m\x1b[1;31merror: \x1b[0mno disk",
    ]


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_may_be_spared_colours_but_no_escapes_of_names(
    open_terminal, monkeypatch, variable, value
):
    monkeypatch.setenv(variable, value)
    terminal = open_terminal()
    configure_logging(rank=1)
    logging.getLogger("app").warning("set aside %s", "a\x1b[2J.tif")
    assert terminal.getvalue()[8:] == " [rank 1] warning: set aside a\\x1b[2J.tif\n"


def test_long_lines_are_wrapped_between_words_and_tables_are_not(open_terminal):
    terminal = open_terminal()
    configure_logging()
    words = " ".join(["word"] * 20)
    for text in (words, "see /a/" + "long" * 20, "  a table" + " 0.1" * 30):
        logging.getLogger("app").info("%s", text)
    lines = terminal.getvalue().rstrip("\n").split("\n")
    indent = " " * len("02:31:47 ")
    assert lines[1] == indent + " ".join(["word"] * 10)
    assert lines[3] == indent + "/a/" + "long" * 20
    assert lines[4].endswith("  a table" + " 0.1" * 30)
    assert len(lines) == 5


def test_a_bar_makes_room_for_a_line_and_is_there_again(open_terminal):
    terminal = open_terminal()
    configure_logging()
    with tqdm(total=2, desc="epoch 1/3", file=ForgivingStream(terminal), leave=False) as bar:
        bar.update()
        bar.refresh()
        terminal.truncate(0)
        logging.getLogger("app").info("a line")
        shown = terminal.getvalue().lstrip("\0")
    before, line, after = re.split(r"(\d\d:\d\d:\d\d .*a line\n)", shown)
    assert "epoch 1/3" not in before
    assert line
    assert "epoch 1/3" in after
