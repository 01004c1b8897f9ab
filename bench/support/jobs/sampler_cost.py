"""The cost of watching memory in a training run: the samplers' share of all CPU time.

    python -m bench.support.jobs.sampler_cost

A real run is watched: phase 1 with its two data workers, under the sampler of the training process
and, in this process, the launcher's. Not by comparing steps with and without: two runs differ by
ten times the cost.
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from app.job.supervisor import _SAMPLE_INTERVAL_S as LAUNCHER_INTERVAL_S
from app.resources.cores import num_cores
from app.resources.memory_sampler import MemorySampler
from app.synthetic.staging import SplitParameters
from app.synthetic.write_rid import write_rid
from bench.support.environment import describe_conditions, load_average
from bench.support.workers import start_logged

TARGET_PERCENT = 0.5
_NUM_TRAIN, _NUM_VAL, _NUM_TEST = 10, 2, 1


class TimedSampler(MemorySampler):
    """A sampler that counts the CPU time of its samples, whichever thread takes them.

    Attributes:
        cpu_s: CPU time of all samples.
        num_samples: How many.
        wall_s: From entering to leaving.
    """

    last: "TimedSampler | None" = None

    def __init__(self, interval_s: float, **options: Any) -> None:  # noqa: ANN401 - as the sampler's
        super().__init__(interval_s, **options)
        self.cpu_s, self.num_samples, self.wall_s = 0.0, 0, 0.0
        self._count_lock = threading.Lock()
        TimedSampler.last = self

    def __enter__(self) -> Self:
        self._entered_s = time.monotonic()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.wall_s = time.monotonic() - self._entered_s

    def _sample(self, walk_due: bool, with_peak: bool = False) -> None:
        before_s = time.thread_time()
        super()._sample(walk_due, with_peak)
        with self._count_lock:
            self.cpu_s += time.thread_time() - before_s
            self.num_samples += 1

    def figures(self) -> dict[str, float]:
        """The cost in per cent of all cores' time, and its parts."""
        return {
            "percent": 100 * self.cpu_s / (self.wall_s * num_cores()),
            "num_samples": self.num_samples,
            "ms_per_sample": 1000 * self.cpu_s / self.num_samples,
            "wall_s": self.wall_s,
        }


def measure_costs(num_epochs: int, settings: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Figures of the samplers of "launcher" and "training"; see `TimedSampler.figures`.

    Args:
        num_epochs: Epochs of the run; one takes a quarter of a minute on two cores.
        settings: Hyperparameters beside those of phase 1.

    Raises:
        RuntimeError: If the run fails; says what it wrote last.
    """
    changes = {"phase": "1", "epochs": str(num_epochs), **settings}
    with tempfile.TemporaryDirectory(prefix="roof-bench-") as scratch:
        rid, answer = Path(scratch) / "rid", Path(scratch) / "sampler.json"
        write_rid(rid, SplitParameters(_NUM_TRAIN, _NUM_VAL, _NUM_TEST, seed=0))
        arguments = ["train", "--in-process", "--base-dir", f"{scratch}/ml", "--rid", str(rid)]
        for name, value in changes.items():
            arguments += ["--set", f"{name}={value}"]
        command = [sys.executable, "-m", __spec__.name, str(answer), *arguments]
        with TimedSampler(LAUNCHER_INTERVAL_S, with_walks=False) as launchers:
            run = start_logged(command)
            output, _ = run.communicate()
        if run.returncode != 0:
            raise RuntimeError(
                f"sampler_cost: training ended with {run.returncode}, expected 0: {output[-2000:]}"
            )
        trainings: dict[str, float] = json.loads(answer.read_text())
    return {"launcher": launchers.figures(), "training": trainings}


def measure_sampler_cost(num_epochs: int = 8, settings: Mapping[str, str] | None = None) -> float:
    """Per cent of the CPU time available that both samplers of a run take.

    Args:
        num_epochs: As `measure_costs`.
        settings: As `measure_costs`.
    """
    costs = measure_costs(num_epochs, settings or {})
    return sum(figures["percent"] for figures in costs.values())


def _train(answer: Path, arguments: list[str]) -> int:
    """The training process, with a sampler that counts; returns its exit code."""
    import app.training.train
    from app.__main__ import main as run_app

    app.training.train.MemorySampler = TimedSampler  # type: ignore[misc]
    exit_code = run_app(arguments)
    if TimedSampler.last is not None:
        answer.write_text(json.dumps(TimedSampler.last.figures()))
    return exit_code


def main() -> None:
    """Measure and print."""
    print(describe_conditions(), flush=True)
    costs = measure_costs(8, {})
    for name, figures in costs.items():
        print(
            f"sampler of the {name}: {figures['percent']:.3f} % of {num_cores()} cores over "
            f"{figures['wall_s']:.0f} s; {figures['num_samples']:.0f} samples of "
            f"{figures['ms_per_sample']:.1f} ms"
        )
    total = sum(figures["percent"] for figures in costs.values())
    verdict = "PASS" if total < TARGET_PERCENT else "above target"
    print(f"sampler_cost_percent {total:.3f}   target < {TARGET_PERCENT:g}   {verdict}")
    print(f"load {load_average()}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(_train(Path(sys.argv[1]), sys.argv[2:]))
    main()
