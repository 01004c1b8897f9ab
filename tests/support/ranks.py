"""Two ranks of one machine, which meet over gloo: real processes, started by hand."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile

from tests.support.paths import ROOT

LIMIT_S = 180


def run_two_ranks(code, *arguments):
    """Exit code and output of both, each a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    common = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    with contextlib.ExitStack() as stack:
        # Not pipes: one that nobody reads yet takes 64 KiB.
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in (0, 1)]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=file,
                cwd=ROOT,
            )
            for rank, file in enumerate(files)
        ]
        for process in processes:
            stack.callback(process.kill)
        exit_codes = [process.wait(timeout=LIMIT_S) for process in processes]
        for file in files:
            file.seek(0)
        return exit_codes, [file.read() for file in files]


def ask_two_ranks(code, *arguments):
    """What each of two processes that end well has printed as JSON."""
    exit_codes, outputs = run_two_ranks(code, *arguments)
    assert exit_codes == [0, 0]
    return [json.loads(output) for output in outputs]
