"""Questions of a plan to a child process, which has one answer."""

import json
from collections.abc import Mapping
from typing import Any

from app.base.children import ask_child
from app.base.errors import ConfigError


def ask_one(
    command: str, question: Mapping[str, Any], answer: tuple[str, str], timeout_s: float
) -> Any:  # noqa: ANN401 - JSON
    """The answer of a child process.

    Args:
        command: The child's.
        question: What it is told, as plain JSON.
        answer: Kind of the answer, and what the child does for it, in a word for messages.
        timeout_s: Seconds that it may take.

    Raises:
        ConfigError: If it has no answer; says why.
    """
    kind, doing = answer
    reply = ask_child(command, json.dumps(question), timeout_s)
    found = reply.of_kind(kind)
    if reply.failure is not None or not found:
        failure = reply.failure or "it ended without an answer"
        raise ConfigError(failure if reply.is_told else f"plan: {doing}: {failure}")
    return found[-1]
