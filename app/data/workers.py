"""The process that data workers are forked from. Imports no torch, so that it can start first."""

import ctypes
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import threading
from multiprocessing import resource_tracker

from app.job.signals import stops_held

START_METHOD = "forkserver"
# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
# Larger than a training window (1.4 MiB at 683 px): fetching its pages from the system for every
# step of the work on it takes longer than the work. Batches are larger than this.
_MMAP_THRESHOLD_BYTES = 4 * 1024 * 1024
_TRIM_THRESHOLD_BYTES = 32 * 1024 * 1024
_PRELOADED = ["app.data.datasets"]


def start_worker_server() -> None:
    """Begin importing, in a process of its own, what workers need.

    A plain fork deadlocks once GDAL or OpenMP threads run in the parent, and spawn would import
    torch again in every worker.
    """
    multiprocessing.get_context(START_METHOD).set_forkserver_preload(_PRELOADED)
    # A scheduler may send a stop to every process of a job. Those that read data are needed until
    # training has ended, and end with it. The tracker lets SIGTERM through, so it is started first.
    with stops_held():
        resource_tracker.ensure_running()
    with stops_held():
        multiprocessing.forkserver.ensure_running()


def leave_with_parent() -> None:
    """Let this worker end when the training process does, however that ended.

    PyTorch's own watch looks at the process it was forked from, which here is the server: a worker
    would outlive a killed training process for good, and keep the server and a log's pipe open.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, name="leave-with-parent", daemon=True).start()


def keep_heap_small() -> None:
    """Give batches back to the system as soon as they are freed, where the C library can.

    glibc raises its threshold with every freed array, up to 32 MiB; batches then live on the heap
    and fragment it, and a worker grows by megabytes an epoch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
