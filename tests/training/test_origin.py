"""What metrics.json says of how a run was started."""

import pytest

from app.training.origin import describe_command

PROGRAM = "/opt/roof-model/app/__main__.py"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([PROGRAM, "train", "--base-dir", "local/my run"],
         "python -m app train --base-dir 'local/my run'"),
        ([PROGRAM, "train", "--set", "epochs=3", "--supervised", "rank"],
         "python -m app train --set epochs=3"),
        ([PROGRAM, "train", "--set=api_key=hush", "--set", "token=hush"],
         "python -m app train '--set=api_key=***' --set 'token=***'"),
        (["/usr/bin/pytest", "tests"], ""),
        ([""], ""),
    ],
)  # fmt: skip
def test_the_command_is_what_one_types_without_secrets(arguments: list[str], command: str) -> None:
    assert describe_command(arguments) == command
