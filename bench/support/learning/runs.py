"""Training runs of a comparison: each once, its result kept in a file, so that work can resume."""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from app.base.children import stopping_with_parent
from app.settings.hyperparameters import Hyperparameters
from bench.support.environment import ROOT
from bench.support.networks.designs import DESIGNS

CACHE: Final = ROOT / "local" / "bench"
# Code that the result of any run depends on, beside the defaults of the hyperparameters: results of
# other code are not reused.
_SOURCES: Final = (
    "app/base/*.py", "app/data/**/*.py", "app/inference/*.py", "app/metrics/*.py", "app/model/*.py",
    "app/synthetic/*.py", "app/training/**/*.py",
    "bench/support/networks/designs.py", "bench/support/learning/learn.py",
    "bench/support/learning/worker.py", "bench/support/learning/scenes.py", "bench/peers.txt",
)  # fmt: skip
# Code that only runs of changed networks depend on.
_VARIANTS_SOURCE: Final = "bench/support/networks/variants.py"


@dataclass(frozen=True)
class Run:
    """One network, trained once.

    Attributes:
        label: Names it in tables and files.
        design: What is trained, by name.
        seed: Seed of first weights and of the order of samples.
        arguments: Arguments of the worker, as `--key` and value.
        python: Interpreter, which peers need their own of.
        init: Weights to start from, of another run; the file's name tells which.
        keeps_weights: Whether the averaged weights are kept beside the result.
    """

    label: str
    design: str
    seed: int
    arguments: Mapping[str, str | Sequence[str]]
    python: Path = field(default_factory=lambda: Path(sys.executable))
    init: Path | None = None
    keeps_weights: bool = False

    def file_name(self) -> str:
        """Name of the result's file: the label, and a digest of everything that defines the run."""
        values = {key: _without_place(value) for key, value in self.arguments.items()}
        identity = json.dumps([sorted(values.items()), self.init and self.init.name])
        digest = hashlib.sha256(identity.encode())
        if self.design not in {design.name for design in DESIGNS}:
            digest.update((ROOT / _VARIANTS_SOURCE).read_bytes())
        return f"{self.label}-seed{self.seed}-{digest.hexdigest()[:8]}.json"

    def command(self, result: Path) -> list[str]:
        """The command line of the process that trains it."""
        words = [str(self.python), "-m", "bench.support.learning.worker", self.design]
        words += ["--seed", str(self.seed), "--result", str(result)]
        for key, values in self.arguments.items():
            for value in [values] if isinstance(values, str) else values:
                words += [f"--{key}", value]
        if self.init is not None:
            words += ["--init", str(self.init)]
        if self.keeps_weights:
            words += ["--weights", str(weights_path(result))]
        return words


def _without_place(value: str | Sequence[str]) -> str | list[str]:
    """An argument that is the same on every machine: paths relative to the project."""
    if not isinstance(value, str):
        return [str(_without_place(part)) for part in value]
    for place, sign in ((ROOT, "."), (ROOT.parent, "..")):
        if Path(value).is_relative_to(place):
            return f"{sign}/{Path(value).relative_to(place)}"
    return value


def weights_path(result: Path) -> Path:
    """Where the weights of a run lie, if they are kept."""
    return result.parent / "weights" / f"{result.stem}.pt"


def add_kept(parser: argparse.ArgumentParser) -> None:
    """Add --from, which `show_kept` reads."""
    parser.add_argument(
        "--from",
        dest="kept",
        type=Path,
        metavar="DIR",
        help="print the runs in a folder of bench/results or local/bench; train none",
    )


def show_kept(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The results in a folder as `read_runs` has them, once the machines are printed."""
    results = read_runs(folder)
    print(describe_machines(results))
    return results


def read_runs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The results in a folder by label, those of each by seed.

    Raises:
        SystemExit: If there are none, or two of the same label and seed.
    """
    results: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*-seed*.json")):
        label = path.name.rpartition("-seed")[0]
        result = json.loads(path.read_text())
        if result["seed"] in results.setdefault(label, {}):
            sys.exit(
                f"{folder} has two runs of {label} with seed {result['seed']}, of other settings; "
                "give a folder with one of them"
            )
        results[label][result["seed"]] = result
    if not results:
        sys.exit(f"no results of runs (NAME-seedN-*.json) in {folder}")
    return {label: [runs[seed] for seed in sorted(runs)] for label, runs in results.items()}


def describe_machines(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The machines on which runs were made, in a line."""
    return " | ".join(sorted({run["machine"] for runs in results.values() for run in runs}))


def results_folder(name: str, more_sources: Sequence[str] = ()) -> Path:
    """Where the results of this code are kept.

    Args:
        name: Of the benchmark.
        more_sources: Patterns of more code that its results depend on.
    """
    digest = hashlib.sha256(version("torch").encode())
    digest.update(Hyperparameters().model_dump_json().encode())
    for pattern in (*_SOURCES, *more_sources):
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return CACHE / f"{name}-{digest.hexdigest()[:8]}"


def run_all(
    runs: Sequence[Run], folder: Path, num_parallel: int = 1
) -> dict[str, list[dict[str, Any]]]:
    """The results of all runs by label, in their order; those that are there are not run again.

    Raises:
        SystemExit: If a run fails; those before it are kept.
    """
    paths = [folder / run.file_name() for run in runs]
    waiting = [(run, path) for run, path in zip(runs, paths, strict=True) if not path.exists()]
    if len(waiting) < len(runs):
        print(f"{len(runs) - len(waiting)} of {len(runs)} runs are there already: {folder}")
    running: list[tuple[Run, subprocess.Popen[bytes]]] = []
    while waiting or running:
        while waiting and len(running) < num_parallel:
            run, path = waiting.pop(0)
            command = run.command(path)
            process = subprocess.Popen(command, cwd=ROOT, preexec_fn=stopping_with_parent())
            running.append((run, process))
        time.sleep(0.5)
        for run, process in running:
            if process.poll():
                for _, other in running:
                    other.terminate()
                sys.exit(f"{run.label}, seed {run.seed}: its process ended; see its message above")
        running = [(run, process) for run, process in running if process.poll() is None]
    results: dict[str, list[dict[str, Any]]] = {}
    for run, path in zip(runs, paths, strict=True):
        results.setdefault(run.label, []).append(json.loads(path.read_text()))
    return results


@dataclass(frozen=True)
class Spread:
    """Values of several seeds.

    Attributes:
        values: One a seed.
    """

    values: Sequence[float]

    def mean(self) -> float:
        """The mean of all values."""
        return statistics.fmean(self.values)

    def cell(self, digits: int) -> str:
        """Mean, and, of several, the distance of the furthest value from it."""
        mean = self.mean()
        if len(self.values) == 1:
            return f"{mean:.{digits}f}"
        furthest = max(abs(value - mean) for value in self.values)
        return f"{mean:.{digits}f} ±{furthest:.{digits}f}"


def spread_of(results: Sequence[Mapping[str, Any]], name: str) -> Spread | None:
    """The spread of a score over runs that differ in their seed; None where a run has none."""
    values = [result["scores"].get(name) for result in results]
    return None if None in values or not values else Spread([float(v) for v in values])
