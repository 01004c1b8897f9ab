"""How a process of ours starts another one, and how it dies with the one that started it."""

import ctypes
import os
import signal
import sys

from app.base.errors import EXIT_BUG

PARENT_VARIABLE = "ROOF_MODEL_PARENT"
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies: two runs never share checkpoints.

    The parent names itself in the environment: it may have died before this process could ask.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if str(os.getppid()) != os.environ.get(PARENT_VARIABLE):
            sys.exit(EXIT_BUG)
