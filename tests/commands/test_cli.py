"""The command line as a whole: help, and what wrong words are answered with."""

import argparse
import importlib
import sys

import pytest

import app
from app.__main__ import main
from app.commands.cli import build_parser


def commands():
    [found] = [
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    return {name: parser for name, parser in found.choices.items() if name != "probe"}


@pytest.mark.parametrize("name", commands())
def test_every_help_has_a_description_and_an_example(name):
    text = commands()[name].format_help()
    assert commands()[name].description
    assert f"  python -m app {name} " in text.partition("example")[2]


@pytest.mark.parametrize("name", commands())
def test_every_option_says_what_it_is_for_in_lines_that_a_terminal_shows(name):
    parser = commands()[name]
    assert [action.dest for action in parser._actions if not action.help] == []
    lines = f"{parser.description}\n{parser.epilog}".splitlines()
    assert [line for line in lines if len(line) > 100] == []


def test_without_a_word_there_is_help_and_nothing_is_trained(capsys):
    assert main([]) == 2
    output = capsys.readouterr().out
    assert output.startswith("usage: python -m app")
    assert "probe" not in output


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["trian"], "unknown command 'trian'; did you mean train? There are best, check-data, "),
        (["train", "--epochs", "3"], "hyperparameters are given with --set: --set epochs=3\n"),
        (["train", "--lr=0.1"], "given with --set: --set learning_rate=0.1\n"),
        (["train", "--batch-size"], "given with --set: --set batch_size=VALUE\n"),
        (["train", "--nothing-like-it"], "unrecognized arguments: --nothing-like-it\n"),
    ],
)
def test_wrong_words_are_answered_with_what_to_type(capsys, words, answer):
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2
    assert answer in capsys.readouterr().err


def test_an_old_python_is_told_in_a_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit) as ended:
        importlib.reload(app)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "this is Python 3.9, expected 3.11 to 3.13; call .venv/bin/python -m app, which make setup "
        "makes\n"
    )
