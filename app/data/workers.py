"""The process that data workers are forked from. Imports no torch, so that it can start first."""

import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import threading

START_METHOD = "forkserver"
_PRELOADED = ["app.data.loading", "app.data.rid"]


def start_worker_server() -> None:
    """Begin importing, in a process of its own, what workers need.

    A plain fork deadlocks once GDAL or OpenMP threads run in the parent, and spawn would import
    torch anew in every worker.
    """
    multiprocessing.get_context(START_METHOD).set_forkserver_preload(_PRELOADED)
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
