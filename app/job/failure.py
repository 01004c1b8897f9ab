"""The failure file: why a job failed, in one line first.

Of several processes that fail, the first one's reason stays: the file is made by `hardlink_to`,
which leaves a file that is there already.
"""

import contextlib
import logging
import os

from app.job.paths import Paths

logger = logging.getLogger(__name__)
# DescribeTrainingJob shows the first 1024 characters, and its own prefix takes some of them.
_MAX_MESSAGE_CHARS = 1000


def clear_failure(paths: Paths) -> None:
    """Remove the failure file of an earlier job in the same tree."""
    with contextlib.suppress(OSError):
        paths.failure_file.unlink()


def write_failure(paths: Paths, message: str, details: str = "") -> None:
    """Leave the reason why the job fails where the platform looks for it.

    An earlier reason stays. Never raises, since it is called while another error is handled: a
    failure to write is only logged.

    Args:
        paths: The job's folders.
        message: What went wrong; stands first, and is cut after 1000 characters.
        details: Stand after it, for the log that a person reads: a traceback.
    """
    if len(message) > _MAX_MESSAGE_CHARS:
        message = message[: _MAX_MESSAGE_CHARS - 3] + "..."
    path = paths.failure_file
    # Written beside and linked: a job killed meanwhile leaves no half message.
    temporary = path.with_name(f".failure.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = f"{message}\n\n{details}" if details else f"{message}\n"
        # backslashreplace: an error text may hold a file name that is not valid UTF-8.
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            temporary.replace(path)
        temporary.unlink(missing_ok=True)
    except OSError as error:
        logger.error("%s: cannot write the reason of the failure: %s", path, error)


def read_failure(paths: Paths) -> str | None:
    """The first line of the failure file; None where there is none, or an empty one."""
    try:
        with paths.failure_file.open(encoding="utf-8", errors="backslashreplace") as file:
            return file.readline(2 * _MAX_MESSAGE_CHARS).strip() or None
    except OSError:
        return None
