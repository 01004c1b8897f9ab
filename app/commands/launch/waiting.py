"""Something that AWS makes or does, asked for its status until it is no longer under way."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from app.commands.launch import follow
from app.commands.launch.aws import AwsUnavailableError, explain_aws_errors

logger = logging.getLogger(__name__)


def wait_until_settled(
    describe: Callable[[], Mapping[str, Any]],
    status_name: str,
    under_way: Collection[str],
    what: str,
) -> Mapping[str, Any]:
    """The first description whose status is none of those under way; each new status is logged.

    Args:
        describe: Asks AWS.
        status_name: Its key in a description.
        under_way: Statuses to wait for the end of.
        what: It is, for messages.

    Raises:
        ConfigError: If AWS refuses to tell, or has not answered for a while.
    """
    shown, num_failed = "", 0
    while True:
        try:
            with explain_aws_errors(f"waiting for {what}, which keeps running"):
                description = describe()
        except AwsUnavailableError as error:
            num_failed += 1
            if num_failed == follow.MAX_FAILED_POLLS:
                raise
            if num_failed == 1:
                logger.warning("%s; still trying", error)
        else:
            num_failed = 0
            status = str(description[status_name])
            if status != shown:
                logger.info("%s: %s", what, status)
            shown = status
            if status not in under_way:
                return description
        time.sleep(follow.POLL_INTERVAL_S)
