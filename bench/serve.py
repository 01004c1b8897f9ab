"""Speed, memory and losses of `serve` on a CPU, as one client and as eight see them.

    python -m bench.serve [--model DIR] [--image IMAGE] [--json FILE]

Without --image a process of this interpreter serves; with it a container, whose start counts. Each
photo is a GeoTIFF of 512 px with roofs, each answer GeoJSON. The overhead is what a client waits
beside the computing that the server's log tells, for one client at a time. --model, or that of
`make train`, or random weights, which take as long.
"""

import contextlib
import http.client
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from bench.support.environment import ROOT, describe_conditions, load_average
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.jobs.containers import docker, require_image
from bench.support.predicting.models import DEFAULT_MODEL, choose_model
from bench.support.predicting.photos import draw_village, write_photo

_TARGETS: Final = (
    Target("latency_s", "<=", 0.6),
    Target("ready_s", "<=", 8),
    Target("lost", "<=", 0),
    Target("growth_mib", "<=", 50),
    Target("overhead_percent", "<=", 5),
)
_SIDE_PX: Final = 512
_NUM_CLIENTS: Final = 8
_LIMIT_S: Final = 120.0
_MIB: Final = 2**20
_COMPUTED: Final = re.compile(r"POST /invocations 200: .*computed ([\d.]+) s, in all")


class _Server(NamedTuple):
    """A server that is starting.

    Attributes:
        port: Where it listens, on this machine.
        process: Process 1.
        log: Where its output goes; empty for a container.
        container: Its name; empty for a process.
    """

    port: int
    process: psutil.Process
    log: Path | None
    container: str

    def read_log(self) -> str:
        """What it has printed."""
        if self.log is not None:
            return self.log.read_text()
        result = docker("logs", self.container)
        return result.stdout + result.stderr


@contextlib.contextmanager
def _in_process(model: Path, scratch: Path) -> Iterator[_Server]:
    port = _find_port()
    log = scratch / "serve.log"
    command = [sys.executable, "-m", "app", "serve", "--host=127.0.0.1", f"--port={port}"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, f"--model={model}"], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield _Server(port, psutil.Process(process.pid), log, "")
    finally:
        process.terminate()
        print(f"ended with {process.wait(60)}")


@contextlib.contextmanager
def _in_container(image: str, model: Path) -> Iterator[_Server]:
    port = _find_port()
    words = ("run", "--detach", "--publish", f"127.0.0.1:{port}:8080")
    started = docker(*words, "--volume", f"{model.resolve()}:/opt/ml/model:ro", image, "serve")
    if started.returncode:
        sys.exit(f"docker run failed: {started.stderr.strip()}")
    container = started.stdout.strip()
    try:
        number = docker("inspect", "--format", "{{.State.Pid}}", container).stdout
        yield _Server(port, psutil.Process(int(number)), None, container)
        docker("stop", "--time", "30", container)
        print(f"ended with {docker('wait', container).stdout.strip()}")
    finally:
        docker("rm", "--force", container)


def _find_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, int]:
    """Status and number of bytes of an answer; status 0 where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LIMIT_S)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request(method, path, body, {"Content-Type": "image/tiff"})
        reply = connection.getresponse()
        return reply.status, len(reply.read())
    return 0, 0


def _wait_until_ready(port: int) -> None:
    deadline_s = time.monotonic() + _LIMIT_S
    while _ask(port, "GET", "/ping")[0] != 200:
        if time.monotonic() > deadline_s:
            sys.exit("serve: not ready in time")
        time.sleep(0.02)


def _measure(server: _Server, photo: bytes, num_single: int, num_shared: int) -> dict[str, float]:
    """Latency and overhead of one client, then losses and memory of eight."""
    times_s = []
    for number in range(num_single + 2):
        start_s = time.perf_counter()
        status, size = _ask(server.port, "POST", "/invocations", photo)
        if status != 200:
            sys.exit(f"serve: status {status} for a photo\n{server.read_log()[-2000:]}")
        if number >= 2:  # the first ones warm up
            times_s.append(time.perf_counter() - start_s)
    computed_s = _read_computed(server, num_single + 2)[2:]
    shares = [
        100 * (whole - computed) / computed
        for whole, computed in zip(times_s, computed_s, strict=True)
    ]
    rows = [
        ["one client, s", *_spread(times_s)],
        ["computed, s", *_spread(computed_s)],
        ["overhead, %", *_spread(shares)],
    ]
    print_table(["", "median", "least", "most"], rows)
    print(f"an answer has {size} bytes; load {load_average()}", flush=True)
    before = server.process.memory_info().rss
    start_s = time.perf_counter()
    with ThreadPoolExecutor(_NUM_CLIENTS) as clients:
        replies = list(
            clients.map(
                lambda _: _ask(server.port, "POST", "/invocations", photo), range(num_shared)
            )
        )
    elapsed_s = time.perf_counter() - start_s
    after = server.process.memory_info().rss
    print(
        f"{num_shared} requests of {_NUM_CLIENTS} clients in {elapsed_s:.1f} s; memory "
        f"{before / _MIB:.0f} MiB before, {after / _MIB:.0f} MiB after",
        flush=True,
    )
    return {
        "latency_s": statistics.median(times_s),
        "overhead_percent": statistics.median(shares),
        "lost": sum(reply != (200, size) for reply in replies),
        "growth_mib": (after - before) / _MIB,
        "requests_per_s": num_shared / elapsed_s,
    }


def _read_computed(server: _Server, num_answers: int) -> list[float]:
    """Seconds of computing that the log tells of each answer; an engine passes it on with delay."""
    deadline_s = time.monotonic() + _LIMIT_S
    while len(told := _COMPUTED.findall(server.read_log())) < num_answers:
        if time.monotonic() > deadline_s:
            sys.exit(f"serve: its log tells of {len(told)} answers, expected {num_answers}")
        time.sleep(0.1)
    return [float(text) for text in told]


def _spread(values: list[float]) -> list[str]:
    return [f"{value:.3f}" for value in (statistics.median(values), min(values), max(values))]


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="DIR")
    parser.add_argument("--image", help="measure a container of this image, as roof-model:cpu")
    parser.add_argument("--requests", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--single", type=int, default=30, help="default: %(default)s")
    options = parser.parse_args()
    if options.image:
        require_image(options.image)
    print(describe_conditions(), flush=True)
    with tempfile.TemporaryDirectory(prefix="roof-bench-") as name:
        scratch = Path(name)
        model, is_trained = choose_model(options.model, scratch)
        print(f"model: {'trained' if is_trained else 'random weights'}")
        village = draw_village(_SIDE_PX * 2)[:, :_SIDE_PX, :_SIDE_PX]
        photo = write_photo(scratch / "photo.tif", village, _SIDE_PX).read_bytes()
        start_s = time.perf_counter()
        with (
            _in_container(options.image, model) if options.image else _in_process(model, scratch)
        ) as server:
            _wait_until_ready(server.port)
            figures = {"ready_s": time.perf_counter() - start_s}
            figures |= _measure(server, photo, options.single, options.requests)
    print()
    report(figures, _TARGETS, options.json)


if __name__ == "__main__":
    main()
