"""The bar of a run: what it says of the time that is left, and where it shows."""

import io
import sys

import pytest

from app.training.bar import Pace, RunBar


@pytest.fixture
def open_screen(monkeypatch):
    """Opens a terminal of 120 columns."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("app.training.bar._REFRESH_S", 0.0)

    def patch(*, is_terminal=True):  # in the test, since pytest puts its own stream in place before
        screen = io.StringIO()
        screen.isatty = lambda: is_terminal
        monkeypatch.setattr(sys, "stderr", screen)
        return screen

    return patch


def test_the_time_left_is_that_of_steps_and_validations():
    pace = Pace()
    for seconds in (90.0, 2.0):
        pace.add_step(seconds)
        assert pace.describe_left(100, 3) == ""
    pace.add_step(4.0)  # 3 s a step; the first one is none of them
    assert pace.step_s == 3.0
    assert pace.describe_left(100, 3) == "5 min 0 s and 3 validations left"
    assert pace.describe_left(10, 1) == "30 s and 1 validation left"
    pace.add_validation(700.0)
    pace.add_validation(600.0)
    assert pace.describe_left(100, 3) == "35 min left"
    assert pace.describe_left(0, 9) == "1 h 30 min left"


def test_steps_and_photos_go_through_and_are_shown(open_screen):
    screen = open_screen()
    bar = RunBar(3, 4, is_first=True)
    assert list(bar.steps("abcd", 2, 4, lambda: 1.25)) == list("abcd")
    shown = screen.getvalue()
    assert "epoch 2/3 100%" in shown
    assert "4/4, loss 1.250, " in shown
    assert "and 2 validations left" in shown
    assert list(bar.validation("xy", 2, 2)) == ["x", "y"]
    assert "validating after epoch 2/3  50%" in screen.getvalue()
    assert list(bar.validation("x", 0, 1)) == ["x"]
    assert "validating the initial model" in screen.getvalue()


def test_an_epoch_that_resumes_begins_where_it_was(open_screen):
    screen = open_screen()
    assert list(RunBar(1, 10, is_first=True).steps("ab", 1, 2, lambda: None)) == ["a", "b"]
    assert " 80%" in screen.getvalue()
    assert "10/10" in screen.getvalue()


@pytest.mark.parametrize(("is_first", "is_terminal"), [(False, True), (True, False)])
def test_elsewhere_nothing_is_shown(open_screen, is_first, is_terminal):
    screen = open_screen(is_terminal=is_terminal)
    bar = RunBar(1, 2, is_first=is_first)
    assert list(bar.steps("ab", 1, 2, lambda: 1.0)) == ["a", "b"]
    assert list(bar.validation("ab", 1, 2)) == ["a", "b"]
    assert screen.getvalue() == ""
