"""The process that data workers are forked from. Imports no torch, so that it can start first."""

import multiprocessing
import multiprocessing.forkserver

START_METHOD = "forkserver"
_PRELOADED = ["app.data.loading", "app.data.rid"]


def start_worker_server() -> None:
    """Begin importing, in a process of its own, what workers need.

    A plain fork deadlocks once GDAL or OpenMP threads run in the parent, and spawn would import
    torch anew in every worker.
    """
    multiprocessing.get_context(START_METHOD).set_forkserver_preload(_PRELOADED)
    multiprocessing.forkserver.ensure_running()
