"""Time to read training samples: AIRS's tiles against other ways, RID and own roofs, the start.

    python -m bench.loading [--json FILE] [--rounds N] [--skip-peers]
    python -m bench.loading --parts [--json FILE] [--rounds N]

The first run makes .venv-peers for torchgeo. Needs 1.5 GB in the folder for temporary files. The
ways of reading take turns, so that other work on the machine slows all of them alike. A ratio above
1 means that ours is faster. With --parts: where the CPU time of a sample goes, for every dataset
and two sizes of window, where a GPU makes samples of what workers cut and where workers make them,
and nothing else.
"""

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.synthetic.staging import SplitParameters
from app.synthetic.write_airs import write_airs
from app.synthetic.write_own import write_own
from app.synthetic.write_rid import write_rid
from bench.support.environment import (
    describe_conditions,
    load_average,
    peer_versions,
    prepare_peers_python,
)
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.loading.measured_parts import PARTS_TARGETS, measure_parts
from bench.support.loading.tiles import link_together, write_tiles
from bench.support.workers import Worker

_TARGETS = (
    Target("ratio_torchgeo", ">=", 4),
    Target("ratio_whole_tile", ">=", 150),
    Target("rss_growth_mib", "<", 100),
    Target("rid_samples_per_s_core", ">=", 20),
    Target("cost_own_rid", "<=", 1.3),
    Target("start_s", "<", 20),
)
# Samples of one turn.
_PER_TURN = {"ours": 20, "ours_sample": 20, "torchgeo": 10, "whole_tile": 1, "rid": 20, "own": 20}
_OURS = ["ours", "ours_sample"]
_PEERS = ["torchgeo", "whole_tile"]
# One thread, as in a data worker.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENCV_LOG_LEVEL": "ERROR"}
# Of 857 tiles a block is hardly ever met again, so none of the ways may hold the benchmark's one
# tile in memory. Ours bound GDAL's cache themselves, as in training; others are told to: 64 MiB.
_PEERS_ENVIRONMENT = {**_ENVIRONMENT, "GDAL_CACHEMAX": "64"}
# The kinds that targets are for; the others are shown.
_COUNTED_KINDS = ("striped", "tiled")
_NUM_RSS_WARM_UP, _NUM_RSS_WINDOWS = 200, 2000
_NUM_SCENES, _MIN_DATASET_ROUNDS = 24, 4
_SMALL_PX = 64
_NUM_AIRS_TRAIN, _NUM_AIRS_VAL = 857, 94
_NUM_RID_TRAIN, _NUM_RID_VAL, _NUM_RID_TEST = 1374, 352, 154


class Reader(Worker):
    """A process that reads in one way; a context manager that ends it.

    Attributes:
        way: Its name in WAYS of bench/support/loading/worker.py.
        sample_s: CPU seconds that a sample took, one for every turn. All data is in the page cache
            and all work is in one thread, so on an idle machine this is the time it takes; and
            where other processes compete, it still is.
    """

    def __init__(self, python: Path, way: str, root: Path) -> None:
        self.way = way
        self.sample_s: list[float] = []
        command = [str(python), "-m", "bench.support.loading.worker", way, str(root)]
        environment = _PEERS_ENVIRONMENT if way in _PEERS else _ENVIRONMENT
        super().__init__(f"loading, {self.way}", command, environment)

    def read(self, num_samples: int) -> dict[str, float]:
        """Read so many samples: wall and CPU seconds, and resident memory in MiB."""
        return self.ask(str(num_samples))

    def take_turn(self) -> None:
        """Read the samples of a turn and note what one took."""
        num_samples = _PER_TURN[self.way]
        self.sample_s.append(self.read(num_samples)["cpu_s"] / num_samples)


@dataclass
class Comparison:
    """Ways of reading one kind of tile that took turns.

    Attributes:
        kind: Kind of the tile.
        sample_s: By way, seconds a sample took in every turn.
    """

    kind: str
    sample_s: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def ratio(self, way: str) -> float:
        """How many times longer than ours a way takes: the medians' ratio."""
        return statistics.median(self.sample_s[way]) / statistics.median(self.sample_s["ours"])

    def cells(self, way: str) -> list[str]:
        """A row of the table."""
        milliseconds = [1000 * value for value in self.sample_s[way]]
        median = statistics.median(milliseconds)
        return [
            f"{self.kind} {way}",
            f"{median:.1f} [{min(milliseconds):.1f}, {max(milliseconds):.1f}]",
            f"{1000 / median:.1f}",
            f"{self.ratio(way):.1f}",
        ]


def lowest_ratio(comparisons: Sequence[Comparison], way: str) -> float:
    """The ratio that counts: that of the kind where ours is least ahead."""
    return min(comparison.ratio(way) for comparison in comparisons)


def _compare(
    python: Path, ways: Sequence[str], kind: str, root: Path, num_rounds: int
) -> Comparison:
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Reader(python, way, root)) for way in ways]
        for worker in workers:
            worker.read(_PER_TURN[worker.way])  # imports, indexes, and fills the page cache
        for _ in range(num_rounds):
            for worker in workers:
                worker.take_turn()
    print(f"{kind}: {num_rounds} rounds; load {load_average()}", flush=True)
    return Comparison(kind, {worker.way: worker.sample_s for worker in workers})


def _measure_growth(python: Path, root: Path) -> float:
    """MiB by which a worker's resident memory rises over 2,000 windows."""
    with Reader(python, "ours_sample", root) as worker:
        before = worker.read(_NUM_RSS_WARM_UP)
        after = worker.read(_NUM_RSS_WINDOWS)
    return after["peak_rss_mib"] - before["peak_rss_mib"]


def _measure_datasets(python: Path, folder: Path, num_rounds: int) -> dict[str, float]:
    """Training samples of RID and of own roofs for every second of one core.

    The same villages, as the layouts have them: own roofs with lines and heights beside planes.
    """
    parameters = SplitParameters(_NUM_SCENES, 1, 1, seed=0)
    write_rid(folder / "rid", parameters)
    write_own(folder / "own", parameters)
    with Reader(python, "rid", folder / "rid") as rid, Reader(python, "own", folder / "own") as own:
        for worker in (rid, own):
            worker.read(_PER_TURN[worker.way])
        for _ in range(max(_MIN_DATASET_ROUNDS, num_rounds)):
            for worker in (rid, own):
                worker.take_turn()
    rid_s, own_s = statistics.median(rid.sample_s), statistics.median(own.sample_s)
    return {
        "rid_samples_per_s_core": 1 / rid_s,
        "own_samples_per_s_core": 1 / own_s,
        "cost_own_rid": own_s / rid_s,
    }


def _measure_start(python: Path, folder: Path) -> float:
    """Seconds to open two datasets with as many files as the real ones have."""
    root = folder / "many"
    write_rid(
        root / "rid",
        SplitParameters(_NUM_RID_TRAIN, _NUM_RID_VAL, _NUM_RID_TEST, seed=0, size_px=_SMALL_PX),
    )
    write_airs(
        root / "airs", SplitParameters(_NUM_AIRS_TRAIN, _NUM_AIRS_VAL, 0, seed=0, size_px=_SMALL_PX)
    )
    with Reader(python, "start", root) as worker:
        return worker.read(1)["wall_s"]


def _measure(
    python: Path, ways: Sequence[str], folder: Path, num_rounds: int
) -> tuple[dict[str, float], list[Comparison]]:
    roots = write_tiles(folder / "tiles")
    comparisons = [_compare(python, ways, kind, root, num_rounds) for kind, root in roots.items()]
    counted = [comparison for comparison in comparisons if comparison.kind in _COUNTED_KINDS]
    figures = {f"ratio_{way}": lowest_ratio(counted, way) for way in ways if way not in _OURS}
    for comparison in comparisons:
        for way, sample_s in comparison.sample_s.items():
            figures[f"{comparison.kind}_{way}_samples_per_s"] = 1 / statistics.median(sample_s)
    both = link_together(roots, _COUNTED_KINDS, folder / "both")
    figures["rss_growth_mib"] = _measure_growth(python, both)
    figures |= _measure_datasets(python, folder, num_rounds)
    figures["start_s"] = _measure_start(python, folder)
    return figures, comparisons


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="default: %(default)s")
    parser.add_argument(
        "--skip-peers", action="store_true", help="leave torchgeo out, and its installation"
    )
    parser.add_argument("--parts", action="store_true", help="only the parts of a sample's time")
    options = parser.parse_args()
    if options.parts:
        print(describe_conditions())
        with tempfile.TemporaryDirectory(prefix="loading-") as folder:
            report(measure_parts(Path(folder), options.rounds), PARTS_TARGETS, options.json)
        return
    print(describe_conditions(peer_versions()))
    if options.skip_peers:
        python, ways = Path(sys.executable), [*_OURS, "whole_tile"]
    else:
        python, ways = prepare_peers_python(), [*_OURS, *_PEERS]
    with tempfile.TemporaryDirectory(prefix="loading-") as folder:
        figures, comparisons = _measure(python, ways, Path(folder), options.rounds)
    print()
    header = ["tile, way", "CPU ms/sample [min, max]", "samples/s", "ratio"]
    print_table(header, [comparison.cells(way) for comparison in comparisons for way in ways])
    print("a sample: image and label, 512 px of 0.10 m, of 683 px of 0.075 m; one thread\n")
    report(figures, [target for target in _TARGETS if target.key in figures], options.json)


if __name__ == "__main__":
    main()
