"""Why a data worker was lost: torch says only that it was."""

import contextlib
import signal
from collections.abc import Iterator

from app.base.errors import DataError, WorkerLostError
from app.resources.memory_sampler import MemorySampler

# What PyTorch says when a worker finds no room for a batch.
_NO_SHARED_MEMORY = (
    "unable to allocate shared memory",
    "unable to mmap",
    "unable to write to file",
)


@contextlib.contextmanager
def explained_loss_of_workers(memory: MemorySampler) -> Iterator[None]:
    """Say why a data worker was lost, or had no room.

    Raises:
        DataError: Instead of what PyTorch raises.
    """
    try:
        yield
    except WorkerLostError as error:
        raise DataError(explain_lost_worker(error.exit_code, memory)) from error
    except (RuntimeError, MemoryError) as error:
        if not any(words in str(error) for words in _NO_SHARED_MEMORY):
            raise
        raise DataError(_describe_no_room(memory)) from error


def explain_lost_worker(exit_code: int, memory: MemorySampler) -> str:
    """Why a data worker ended, and what helps.

    Args:
        exit_code: As WorkerLostError has it.
        memory: Sampler of memory that began before the worker did.
    """
    number = -exit_code
    if number == signal.SIGBUS or (number == signal.SIGKILL and memory.has_run_out()):
        return _describe_no_room(memory)
    if number == signal.SIGKILL:
        return (
            f"a data worker was killed by something outside, not for memory "
            f"({memory.describe_peak()}): a person, a scheduler or another program; the same job "
            "resumes"
        )
    if number in set(signal.Signals):
        return (
            f"a data worker ended by {signal.Signals(number).name}: a crash in native code, "
            "perhaps on a damaged file; check-data names those, and num_workers=0 reads without it"
        )
    return f"a data worker ended with exit code {exit_code}; the log has its words"


def _describe_no_room(memory: MemorySampler) -> str:
    return (
        f"a data worker was killed, probably out of memory or of /dev/shm: "
        f"{memory.describe_peak()}; lower num_workers, batch_size or crop_size_px, or give the "
        "container more (docker run --memory, --shm-size)"
    )
