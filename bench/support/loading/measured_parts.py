"""The table of where the CPU time of a sample goes, by dataset and size of window."""

import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.base.dataset_names import DatasetName
from app.synthetic.staging import SplitParameters
from app.synthetic.write_own import write_own
from app.synthetic.write_rid import write_rid
from app.synthetic.write_roofline import CropParameters, write_roofline
from bench.support.environment import load_average
from bench.support.figures import Target, print_table
from bench.support.loading.tiles import write_tiles
from bench.support.workers import Worker

PARTS_TARGETS: Final = (
    Target("rid_512_ms", "<=", 8),
    Target("rid_1024_ms", "<=", 30),
    Target("airs_512_ms", "<=", 6),
    Target("roofline_ms", "<=", 6),
    Target("own_over_rid", "<=", 1.3),
)
SIZES_PX: Final = (512, 1024)
_NUM_SCENES: Final = 24
# 16 of them make a sample of 512 px.
_NUM_CROPS: Final = 320
_CROPS_PER_SAMPLE: Final = 16
_PER_TURN: Final = 24
# One thread, as in a data worker.
_ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "OPENCV_LOG_LEVEL": "ERROR"}
# AIRS's tiles in the two kinds that targets are for.
_KINDS: Final = ("striped", "tiled")


@dataclass
class Parts:
    """CPU time of a dataset's samples.

    Attributes:
        title: The dataset, and the side of its windows.
        first_ms: Of a sample when its photos are read for the first time; all parts together.
        again_ms: By part, of a sample whose photos were read before, in every turn.
    """

    title: str
    first_ms: float = 0.0
    again_ms: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def total_ms(self) -> float:
        """Of a sample whose photos were read before, the median turn."""
        return statistics.median(map(sum, zip(*self.again_ms.values(), strict=True)))

    def add(self, part_s: Mapping[str, float], num_samples: int, names: Sequence[str]) -> None:
        """Take in a turn.

        Args:
            part_s: Seconds by part; parts that never came are absent.
            num_samples: Samples of the turn.
            names: All parts.
        """
        for name in names:
            self.again_ms[name].append(1000 * part_s.get(name, 0.0) / num_samples)


def measure_parts(folder: Path, num_rounds: int) -> dict[str, float]:
    """Write data, make samples of it in turns, and print a row for each part.

    First as workers do it for a GPU, which makes the samples of what they cut, then as they do it
    for a CPU.

    Args:
        folder: For the data, some 1.5 GB.
        num_rounds: Turns of each.

    Returns:
        "NAME_SIZE_ms" for every dataset and size where a GPU trains, "NAME_SIZE_cpu_ms" where a CPU
        does, the figures of PARTS_TARGETS among them.
    """
    roots = _write_data(folder)
    figures: dict[str, float] = {}
    for device, suffix in (("cuda", ""), ("cpu", "_cpu")):
        measured: dict[tuple[str, int], Parts] = {}
        for title, data in roots.items():
            for size_px in SIZES_PX:
                measured[title, size_px] = _measure(title, data, size_px, num_rounds, device)
                print(f"{title} {size_px} px: load {load_average()}", flush=True)
        print(f"\nWhat workers do where a {'GPU' if device == 'cuda' else 'CPU'} trains:\n")
        _print(list(measured.values()))
        for (title, size_px), parts in measured.items():
            figures[f"{title}_{size_px}{suffix}_ms"] = parts.total_ms
            figures[f"{title}_{size_px}{suffix}_first_ms"] = parts.first_ms
        slower = max(figures[f"airs_{kind}_512{suffix}_ms"] for kind in _KINDS)
        figures[f"airs_512{suffix}_ms"] = slower
        crop_ms = figures[f"roofline_512{suffix}_ms"] / _CROPS_PER_SAMPLE
        figures[f"roofline{suffix}_ms"] = crop_ms
    figures["own_over_rid"] = figures["own_512_ms"] / figures["rid_512_ms"]
    return figures


def _write_data(folder: Path) -> dict[str, tuple[DatasetName, Path]]:
    parameters = SplitParameters(_NUM_SCENES, 1, 1, seed=0)
    write_rid(folder / "rid", parameters)
    write_own(folder / "own", parameters)
    write_roofline(folder / "roofline", CropParameters(_NUM_CROPS))
    tiles = write_tiles(folder / "tiles")
    return {
        "rid": ("rid", folder / "rid"),
        "own": ("own", folder / "own"),
        "roofline": ("roofline", folder / "roofline"),
        **{f"airs_{kind}": ("airs", tiles[kind]) for kind in _KINDS},
    }


def _measure(
    title: str, data: tuple[DatasetName, Path], size_px: int, num_rounds: int, device: str
) -> Parts:
    name, root = data
    command = [sys.executable, "-m", "bench.support.loading.sample_parts", name, str(root)]
    command += [str(size_px), "--device", device]
    parts = Parts(f"{title} {size_px}")
    with Worker(f"parts of {title}", command, _ENVIRONMENT) as worker:
        worker.ask("4")  # imports, and the page cache
        # As many as there are photos: a sample of several reads each of them in less.
        first = worker.ask(str(_PER_TURN))
        parts.first_ms = 1000 * sum(first.values()) / _PER_TURN
        turns = [worker.ask(str(_PER_TURN)) for _ in range(num_rounds)]
    names = list(dict.fromkeys(part for turn in turns for part in turn))
    for turn in turns:
        parts.add(turn, _PER_TURN, names)
    return parts


def _print(measured: Sequence[Parts]) -> None:
    names = list(dict.fromkeys(name for parts in measured for name in parts.again_ms))

    def cell(parts: Parts, name: str) -> str:
        values = parts.again_ms.get(name)
        return f"{statistics.median(values):.2f}" if values else ""

    rows = [[name, *(cell(parts, name) for parts in measured)] for name in names]
    rows.append(["all", *(f"{parts.total_ms:.1f}" for parts in measured)])
    rows.append(["all, the first time", *(f"{parts.first_ms:.1f}" for parts in measured)])
    print_table(["CPU ms a sample", *(parts.title for parts in measured)], rows)
    print(
        f"a sample: 512 or 1024 px of 0.10 m, from files to a batch in shared memory, one thread; "
        f"median of {_PER_TURN} samples a turn; roofline: 16 crops, or 64\n"
    )
