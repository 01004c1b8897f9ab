"""From the start of a job to its child, and from `docker stop` to its end, in phase 1.

    python -m bench.stop [--json FILE] [--rounds 5] [--image roof-model:cpu]

A stop may come at any moment of a step, so it costs the rest of that step, and then the
checkpoint, the model and the report: stop_excess_s is the time beyond two steps.
"""

import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import psutil

from app.base.children import stopping_with_parent
from bench.support.environment import ROOT, describe_conditions, load_average
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.jobs.containers import (
    docker,
    logs,
    require_image,
    running,
    wait_for_line,
    write_job,
)

_TARGETS = (Target("parent_overhead_s", "<", 0.5), Target("stop_excess_s", "<=", 5))
_SETTINGS = {"phase": "1", "epochs": "1000", "steps_per_epoch": "100"}
_NUM_TRAIN, _NUM_VAL, _SIZE_PX = 10, 10, 512
_NUM_TIMED_STEPS = 6
_NUM_STARTS = 9
_LINE = re.compile(r"^(\S+Z) .*(first step done|asked to stop at step (\d+))", re.MULTILINE)


def measure_parent_s(base_dir: Path) -> float:
    """Seconds from the start of `python -m app train` to that of the training process."""
    command = [sys.executable, "-m", "app", "train", "--base-dir", str(base_dir)]
    start_s = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, preexec_fn=stopping_with_parent()
    )
    try:
        parent = psutil.Process(process.pid)
        while not any("--supervised" in child.cmdline() for child in parent.children()):
            if process.poll() is not None:
                sys.exit(f"stop: the job ended with {process.returncode} before its child began")
            time.sleep(0.002)
        return time.monotonic() - start_s
    finally:
        process.kill()
        process.wait()


def read_step_s(printed: str) -> float:
    """Mean seconds of a step, from the log of a job that was stopped.

    Raises:
        ValueError: If the log does not say.
    """
    found = _LINE.findall(printed)
    if len(found) != 2 or not found[1][2]:
        raise ValueError("the log names no first step or no stop, expected both")
    first, last = (datetime.fromisoformat(time_text) for time_text, _, _ in found)
    return (last - first).total_seconds() / (int(found[1][2]) - 1)


def _stop_once(image: str, base_dir: Path, rng: random.Random) -> tuple[float, float]:
    """Seconds of a step, and from `docker stop` to the end, checkpoint and model written."""
    for path in base_dir.glob("checkpoints/*"):
        path.unlink()
    with running(image, base_dir) as container:
        wait_for_line(container, "first step done")
        time.sleep(1 + 2 * _NUM_TIMED_STEPS * rng.uniform(0.7, 1.3))
        start_s = time.monotonic()
        docker("stop", "--time", "120", container)
        stop_s = time.monotonic() - start_s
        exit_code = docker("inspect", "--format", "{{.State.ExitCode}}", container).stdout.strip()
        printed = logs(container)
    metrics = json.loads((base_dir / "model/metrics.json").read_text())
    checkpoint = base_dir / f"checkpoints/step-{metrics['steps']:08d}.pt"
    if exit_code != "0" or metrics["stopped"] is not True or not checkpoint.is_file():
        sys.exit(f"stop: ended with {exit_code}, expected 0 and a checkpoint:\n{printed[-3000:]}")
    return read_step_s(printed), stop_s


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", default="roof-model:cpu")
    options = parser.parse_args()
    require_image(options.image)
    print(describe_conditions(), flush=True)
    rng = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="roof-stop-") as scratch:
        base_dir = Path(scratch)
        write_job(base_dir, _SETTINGS, num_train=_NUM_TRAIN, num_val=_NUM_VAL, size_px=_SIZE_PX)
        starts_s = [measure_parent_s(base_dir) for _ in range(_NUM_STARTS)]
        stops = [_stop_once(options.image, base_dir, rng) for _ in range(options.rounds)]
    rows = [
        [str(i + 1), f"{step_s:.2f}", f"{stop_s:.2f}", f"{stop_s - 2 * step_s:.2f}"]
        for i, (step_s, stop_s) in enumerate(stops)
    ]
    print_table(["stop", "step s", "docker stop to exit s", "beyond two steps s"], rows)
    print(f"\nload {load_average()}\n")
    figures = {
        "parent_overhead_s": statistics.median(starts_s),
        "stop_s": max(stop_s for _, stop_s in stops),
        "stop_excess_s": max(stop_s - 2 * step_s for step_s, stop_s in stops),
    }
    report(figures, _TARGETS, options.json)


if __name__ == "__main__":
    main()
