"""What docs/ says of `launch` and its commands is what they take."""

import json

import pytest

from app.__main__ import main
from tests.support.launch import commands_on_page, options_of, options_on_page


def test_the_page_of_launch_names_its_options_alone():
    assert options_on_page("launch.md", "## Options", "## Permissions") == options_of("launch")


@pytest.mark.parametrize("command", ["launch deploy", "launch predict"])
def test_the_page_names_every_option(command):
    found = options_on_page("deploy.md", f"### Options of `{command}`", "\n#")
    assert found >= options_of(command)


@pytest.mark.parametrize(
    ("page", "beginning", "num_commands"),
    [
        ("launch.md", "launch --image", 2),
        ("deploy.md", "launch deploy", 3),
        ("deploy.md", "launch predict", 1),
    ],
)
def test_the_commands_of_the_page_are_accepted(page, beginning, num_commands, capsys):
    commands = commands_on_page(page, beginning)
    assert len(commands) == num_commands
    for command in commands:
        assert main([*command, "--dry-run"]) == 0
        json.loads(capsys.readouterr().out)
