"""Memory and start-up time of a real training process: phase 1 on a synthetic sample.

    python -m bench.memory [--json FILE]

Runs `python -m app train --set phase=1` and watches its whole process tree from outside. Then the
smallest training there is, with validation photos of 512 px and of 3072.
"""

import contextlib
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import rasterio

from app.base.units import GIB
from app.synthetic.staging import SplitParameters
from app.synthetic.write_rid import write_rid
from bench.support.environment import describe_conditions, load_average
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.workers import start_logged

_TARGETS = (
    Target("phase1_peak_uss_gib", "<=", 3),
    Target("growth_mib_per_epoch", "<", 5),
    Target("first_step_s", "<=", 15),
    Target("large_photos_peak_ratio", "<=", 1.1),
)
_SAMPLE_INTERVAL_S = 0.2
_NUM_TRAIN, _NUM_VAL, _NUM_TEST = 10, 2, 1
# Every other setting takes more memory, and less of it for photos.
_SMALLEST = {
    "crop_size_px": "64", "batch_size": "1", "steps_per_epoch": "1", "max_val_samples": "1",
    "num_workers": "0", "epochs": "1",
}  # fmt: skip
_LARGE_TIMES = 6  # photos of 512 px side by side, along each side of a large one
_FIRST_STEP = "first step done"
_EPOCH_END = re.compile(r"\bepoch (\d+)/\d+ ")
_MIB = 2**20


class Sample(NamedTuple):
    """Memory of the process tree at one moment."""

    time_s: float
    uss_bytes: int
    rss_bytes: int


class LogLine(NamedTuple):
    """A line of the training process, and when it came."""

    time_s: float
    text: str


@dataclass
class Watch:
    """Samples of a training process's memory, and its log; times count from its start."""

    samples: list[Sample] = field(default_factory=list)
    lines: list[LogLine] = field(default_factory=list)

    def first_step_s(self) -> float:
        """When the first optimizer step was done."""
        times_s = [line.time_s for line in self.lines if _FIRST_STEP in line.text]
        if not times_s:
            sys.exit(f'memory: the log has no line "{_FIRST_STEP}"; expected it of a training')
        return times_s[0]

    def epochs_mib(self) -> list[list[float]]:
        """USS of the tree, MiB, for each epoch: all samples up to the line that ends the epoch."""
        ends_s = [line.time_s for line in self.lines if _EPOCH_END.search(line.text)]
        starts_s = [self.first_step_s(), *ends_s[:-1]]
        return [
            [sample.uss_bytes / _MIB for sample in self.samples if start < sample.time_s <= end]
            for start, end in zip(starts_s, ends_s, strict=True)
        ]


def growth_per_epoch(values: Sequence[float]) -> float:
    """The median of the slopes between all pairs of epochs (Theil and Sen), which ignores spikes.

    Args:
        values: One for each epoch, in order; at least two.
    """
    pairs = combinations(range(len(values)), 2)
    return statistics.median((values[j] - values[i]) / (j - i) for i, j in pairs)


def _watch(command: Sequence[str], process_start_s: float) -> Watch:
    """Run the command to its end, sampling its tree; exits where the command fails."""
    watch = Watch()
    process = start_logged(command)
    root_process = psutil.Process(process.pid)

    def read_lines() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            watch.lines.append(LogLine(time.monotonic() - process_start_s, line.rstrip()))
            if _EPOCH_END.search(line):
                print(line.rstrip(), flush=True)

    reader = threading.Thread(target=read_lines, daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
                watch.samples.append(_sample_tree(root_process, process_start_s))
            time.sleep(_SAMPLE_INTERVAL_S)
    finally:
        process.terminate()
    reader.join(timeout=10)
    if process.returncode != 0:
        print("\n".join(line.text for line in watch.lines[-20:]), file=sys.stderr)
        sys.exit(f"memory: training ended with {process.returncode}, expected 0")
    return watch


def _sample_tree(process: psutil.Process, process_start_s: float) -> Sample:
    uss_bytes = rss_bytes = 0
    time_s = time.monotonic() - process_start_s
    for member in (process, *process.children(recursive=True)):
        try:
            memory = member.memory_full_info()
        except psutil.Error:  # it ended since it was listed
            continue
        uss_bytes += memory.uss
        rss_bytes += memory.rss
    return Sample(time_s, uss_bytes, rss_bytes)


def _train(settings: Mapping[str, str], num_times: int = 1) -> Watch:
    """Write a sample, train on it and return the samples of its memory.

    Args:
        settings: Hyperparameters, as texts.
        num_times: How many photos of 512 px make up a side of a validation photo.
    """
    with tempfile.TemporaryDirectory(prefix="roof-bench-") as scratch:
        rid = Path(scratch) / "rid"
        write_rid(rid, SplitParameters(_NUM_TRAIN, _NUM_VAL, _NUM_TEST, seed=0))
        _enlarge_val_photos(rid, num_times)
        command = [sys.executable, "-m", "app", "train", "--base-dir", f"{scratch}/ml"]
        command += ["--rid", str(rid), *(f"--set={name}={text}" for name, text in settings.items())]
        return _watch(command, process_start_s=time.monotonic())


def _enlarge_val_photos(rid: Path, num_times: int) -> None:
    """Lay each validation photo side by side with itself, with no word of where it is."""
    lists = rid / "filenames_train_val_test_split/val_filenames_1_rev.txt"
    for name in lists.read_text().split():
        for path in rid.rglob(f"{Path(name).stem}.*"):
            with rasterio.open(path) as file:
                profile, pixels = file.profile, np.tile(file.read(), (1, num_times, num_times))
            # In its place it would show ground of other photos.
            del profile["crs"], profile["transform"]
            profile |= {"height": pixels.shape[1], "width": pixels.shape[2]}
            with rasterio.open(path, "w", **profile) as file:
                file.write(pixels)


def _peak_gib(watch: Watch) -> float:
    return max(sample.uss_bytes for sample in watch.samples) / GIB


def _print_epochs(epochs_mib: Sequence[Sequence[float]]) -> None:
    rows = [
        [str(i + 1), str(len(epoch)), f"{statistics.median(epoch):.0f}", f"{max(epoch):.0f}"]
        for i, epoch in enumerate(epochs_mib)
    ]
    print_table(["epoch", "samples", "median USS MiB", "peak USS MiB"], rows)


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--epochs", type=int, default=12, help="at least 3; default: %(default)s")
    options = parser.parse_args()
    print(describe_conditions(), flush=True)
    watch = _train({"phase": "1", "epochs": str(options.epochs)})
    small, large = (_train(_SMALLEST, times) for times in (1, _LARGE_TIMES))
    epochs_mib = watch.epochs_mib()
    medians_mib = [statistics.median(epoch) for epoch in epochs_mib]
    figures = {
        "phase1_peak_uss_gib": _peak_gib(watch),
        "phase1_peak_rss_gib": max(sample.rss_bytes for sample in watch.samples) / GIB,
        "growth_mib_per_epoch": growth_per_epoch(medians_mib[1:]),
        "first_step_s": watch.first_step_s(),
        "large_photos_peak_ratio": _peak_gib(large) / _peak_gib(small),
    }
    print()
    _print_epochs(epochs_mib)
    print(
        "\nUSS: memory that one process alone maps, summed over the tree of parent, training "
        f"process and data workers, every {_SAMPLE_INTERVAL_S} s; RSS, which counts shared pages "
        f"once for each process: {figures['phase1_peak_rss_gib']:.2f} GiB at most\n"
        f"growth: median slope between all pairs of epochs 2 to {len(epochs_mib)} of an epoch's "
        "median\nfirst step: from the start of the command to the end of the first optimizer step\n"
        f"large photos: {_peak_gib(large):.2f} GiB of USS at most with one validation photo of "
        f"{512 * _LARGE_TIMES} px, {_peak_gib(small):.2f} GiB with one of 512\n"
        f"load {load_average()}\n"
    )
    report(figures, _TARGETS, options.json)


if __name__ == "__main__":
    main()
