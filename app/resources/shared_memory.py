"""How many data workers /dev/shm has room for: batches go through it from worker to training."""

import logging
import os
import shutil
import sys

from app.base.machine import SHM_DIR
from app.base.units import GIB
from app.resources.sample_path import device_makes_samples
from app.settings.hyperparameters import Hyperparameters

logger = logging.getLogger(__name__)

# Bytes of a pixel in a Batch: image 3, segments 1, lines 4, depth 4, superstructures 1.
BATCH_BYTES_PER_PX = 13
# Of what workers cut where a GPU makes the samples. Samples of 1024 px had 6 (RID) to 16 (Roofline)
# on average, and single ones have up to 44: turned by 45 degrees, of photos twice as fine.
CUT_BYTES_PER_PX = 26
# The rest is for other files there.
_USABLE_SHARE = 0.9


def fit_workers(
    hyperparameters: Hyperparameters, num_local_processes: int, device: str = "cpu"
) -> Hyperparameters:
    """The settings with as many data workers as /dev/shm has room for, and a warning if fewer.

    A full /dev/shm ends a worker by SIGBUS. Docker gives 64 MiB, and no image can ask for more.

    Args:
        hyperparameters: As asked for.
        num_local_processes: Training processes on this host, which share it.
        device: Kind of the device that trains.
    """
    if hyperparameters.num_workers == 0:
        return hyperparameters
    shm = read_shm_gib()
    if sys.platform == "linux" and (shm is None or not os.access(SHM_DIR, os.W_OK)):
        logger.warning(
            "%s is not there or cannot be written to, and num_workers=%d needs it: using 0; mount "
            "it writable (tmpfs)",
            SHM_DIR,
            hyperparameters.num_workers,
        )
        return hyperparameters.model_copy(update={"num_workers": 0})
    if shm is None:
        return hyperparameters
    free_bytes = shm[1] * GIB * _USABLE_SHARE / num_local_processes
    num_workers = count_workers(hyperparameters, free_bytes, device)
    if num_workers == hyperparameters.num_workers:
        return hyperparameters
    logger.warning(
        "/dev/shm has %.0f MiB free, too little for the batches of num_workers=%d: using %d; give "
        "the container more (docker run --shm-size=1g, compose shm_size)",
        shm[1] * 1024,
        hyperparameters.num_workers,
        num_workers,
    )
    return hyperparameters.model_copy(update={"num_workers": num_workers})


def count_workers(hyperparameters: Hyperparameters, free_bytes: float, device: str = "cpu") -> int:
    """The most workers, up to num_workers, whose batches fit into free_bytes; perhaps none.

    Workers of training keep reading ahead while those of validation read. Each holds
    prefetch_factor batches (2 in validation), and the step under way holds its own.
    """
    train_bytes = count_batch_bytes(hyperparameters, device)
    # Photos larger than a window do not come from workers.
    val_bytes = BATCH_BYTES_PER_PX * hyperparameters.window_px**2
    fixed_bytes = hyperparameters.grad_accum_steps * train_bytes + val_bytes
    bytes_per_worker = hyperparameters.prefetch_factor * train_bytes + 2 * val_bytes
    num_fitting = int(max(0.0, free_bytes - fixed_bytes) // bytes_per_worker)
    return min(hyperparameters.num_workers, num_fitting)


def count_batch_bytes(hyperparameters: Hyperparameters, device: str = "cpu") -> int:
    """Bytes of shared memory that a micro-batch takes on its way from a worker to training.

    Args:
        hyperparameters: With a number as batch_size.
        device: Kind of the device that trains.
    """
    makes = device_makes_samples(hyperparameters, device)
    bytes_per_px = CUT_BYTES_PER_PX if makes else BATCH_BYTES_PER_PX
    return bytes_per_px * hyperparameters.crop_size_px**2 * hyperparameters.micro_batch_size


def read_shm_gib() -> tuple[float, float] | None:
    """Size and free part of shared memory; None where there is none."""
    try:
        usage = shutil.disk_usage(SHM_DIR)
    except OSError:
        return None
    return usage.total / GIB, usage.free / GIB
