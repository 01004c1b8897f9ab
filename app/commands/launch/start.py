"""What every command of `launch` begins with, and what it says when Ctrl-C ends it.

It begins with its region, with what is only shown, and with what it warns of.
"""

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from app.base.errors import EXIT_INTERRUPTED, EXIT_OK
from app.commands.launch.aws import default_region
from app.commands.launch.checks import image_region

logger = logging.getLogger(__name__)


def find_region(region: str | None, image: str) -> str:
    """The region to work in: the one given, or that of the AWS configuration, or the image's.

    Args:
        region: Text of --region.
        image: Text of --image, not yet checked.

    Returns:
        Its name; empty where nothing says it.

    Raises:
        ConfigError: If the AWS configuration cannot be used.
    """
    return region or default_region() or image_region(image) or ""


def show_request(request: Mapping[str, Any]) -> int:
    """Write a request, and nothing else, to stdout; returns the exit code to end with.

    Raises:
        BrokenPipeError: If nobody reads it.
    """
    # The AWS CLI takes it as --cli-input-json.
    sys.stdout.write(json.dumps(request, indent=2) + "\n")
    return EXIT_OK


def warn_of(doubts: Iterable[str]) -> None:
    """Log what can be done, and is hardly what was wanted."""
    for doubt in doubts:
        logger.warning("%s", doubt)


def end_while_sending(name: str, remedy: str, sent: str = "the request was") -> int:
    """Say what Ctrl-C may have left behind; returns the exit code to end with.

    Args:
        name: Of what was to be made.
        remedy: How to be rid of it.
        sent: What was under way, for the message.
    """
    logger.error(
        "stopped by Ctrl-C while %s under way: %s may have been created; %s", sent, name, remedy
    )
    return EXIT_INTERRUPTED


def end_while_waiting(name: str, remedy: str) -> int:
    """Say that Ctrl-C ended the waiting alone; returns the exit code to end with.

    Args:
        name: Of what was waited for.
        remedy: How to end that, too.
    """
    logger.warning("stopped by Ctrl-C: %s keeps running; %s", name, remedy)
    return EXIT_INTERRUPTED
