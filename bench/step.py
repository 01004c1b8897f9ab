"""Time of a training step, forward, losses and backward on the CPU, against other designs.

    python bench/step.py [--checkpoint] [--compile] [--skip-peers] [--json FILE]

The first run makes .venv-peers for the peers' packages. The networks take turns, a step each, so
that whatever else the machine does meets all of them alike. A ratio above 1 means ours is faster.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":  # a script sees its own folder, where neither app nor bench is
    sys.path[0] = str(ROOT)

from bench.support.environment import (  # noqa: E402
    describe_machine,
    load_average,
    peer_versions,
    prepare_peers_python,
)
from bench.support.figures import Target, add_json_option, print_table, report  # noqa: E402

_TARGETS = (
    Target("ratio_naive", ">=", 25),
    Target("ratio_smp_unet", ">=", 2.5),
    Target("ratio_smp_fpn", ">=", 1.1),
)
_SIZE_PX, _BATCH_SIZE, _NUM_THREADS = 512, 2, 2
_NUM_WARM_UP_STEPS = 2
# Ways to run ours, and the worker's option for each.
_VARIANTS = {"checkpointed": "--checkpoint", "compiled": "--compile"}


@dataclass
class Timings:
    """Of all measured steps of one network, in the order taken."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


class Network:
    """One network in a process of its own; a context manager that ends the process.

    Attributes:
        description: What the process said of the network.
        name: As in DESIGNS, with the variant behind it if it is one.
        timings: Of its measured steps.
        peak_rss_gib: Highest resident memory of the process so far.
    """

    def __init__(self, python: Path, name: str, variant: str | None = None) -> None:
        self.name = name if variant is None else f"{name}_{variant}"
        self.timings = Timings()
        self.peak_rss_gib = 0.0
        settings = {"size-px": _SIZE_PX, "batch-size": _BATCH_SIZE, "threads": _NUM_THREADS}
        arguments = [f"--{key}={value}" for key, value in settings.items()]
        if variant is not None:
            arguments.append(_VARIANTS[variant])
        command = [str(python), "-m", "bench.support.step_worker", name, *arguments]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.description = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def step(self, is_measured: bool = True) -> None:
        """Take one step."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._read()
        self.peak_rss_gib = answer["peak_rss_gib"]
        if is_measured:
            self.timings.wall_s.append(answer["wall_s"])
            self.timings.cpu_s.append(answer["cpu_s"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"step: the process of {self.name} ended; see its message above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Comparison:
    """Steps of ours and of another network that were taken in turns.

    Attributes:
        other: The other network.
        ours_s: Wall times of ours, one a turn.
        other_s: Of the other's step in the same turn.
    """

    other: Network
    ours_s: Sequence[float]
    other_s: Sequence[float]

    def ratio(self) -> float:
        """How many times faster ours is: the medians' ratio."""
        return statistics.median(self.other_s) / statistics.median(self.ours_s)

    def ratio_range(self) -> tuple[float, float]:
        """Lowest and highest ratio of a single turn."""
        ratios = [other / ours for ours, other in zip(self.ours_s, self.other_s, strict=True)]
        return min(ratios), max(ratios)


def _take_turns(ours: Network, others: Sequence[Network], num_rounds: int) -> list[Comparison]:
    """Let every network take one step a round, ours first."""
    num_before = len(ours.timings.wall_s)
    for i in range(num_rounds):
        for network in (ours, *others):
            network.step()
        names = ", ".join(network.name for network in (ours, *others))
        print(f"round {i + 1} of {num_rounds} ({names}): load {load_average()}", flush=True)
    ours_s = ours.timings.wall_s[num_before:]
    return [Comparison(other, ours_s, other.timings.wall_s) for other in others]


def _measure(
    python: Path,
    num_rounds: int,
    num_naive_rounds: int,
    peer_names: Sequence[str],
    variants: Sequence[str],
) -> tuple[Network, list[Comparison]]:
    with Network(python, "ours") as ours:
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(Network(python, name)) for name in peer_names]
            for network in (ours, *peers):
                for _ in range(_NUM_WARM_UP_STEPS):
                    network.step(is_measured=False)
            comparisons = _take_turns(ours, peers, num_rounds) if peers else []
        if num_naive_rounds > 0:
            # The peers have ended: this one needs some 8 GiB. It is not warmed up, since a step
            # takes most of a minute.
            with Network(python, "naive") as naive:
                comparisons = _take_turns(ours, [naive], num_naive_rounds) + comparisons
        for variant in variants:
            with Network(python, "ours", variant) as changed:
                for _ in range(_NUM_WARM_UP_STEPS):  # the first of a compiled one takes minutes
                    changed.step(is_measured=False)
                comparisons = _take_turns(ours, [changed], num_rounds) + comparisons
    return ours, comparisons


def _cells(network: Network) -> list[str]:
    wall_s, description = network.timings.wall_s, network.description
    return [
        network.name,
        f"{description['dtype']} {description['memory_format']}",
        f"{description['parameters_m']:.1f}",
        f"{description['gmac']:.1f}",
        f"{statistics.median(wall_s):.2f} [{min(wall_s):.2f}, {max(wall_s):.2f}]",
        f"{statistics.median(network.timings.cpu_s):.2f}",
        f"{network.peak_rss_gib:.2f}",
    ]


def _print_networks(ours: Network, comparisons: Sequence[Comparison]) -> None:
    header = ["network", "precision, format", "params M", "GMAC/image", "step s [min, max]"]
    rows = [[*_cells(ours), ""]]
    for comparison in comparisons:
        low, high = comparison.ratio_range()
        cell = f"{comparison.ratio():.2f} [{low:.2f}, {high:.2f}]"
        rows.append([*_cells(comparison.other), cell])
    print_table([*header, "CPU s", "peak RSS GiB", "step / ours [min, max]"], rows)
    print(
        f"step: {_BATCH_SIZE} images of {_SIZE_PX} px, {_NUM_THREADS} threads, our three losses "
        f"for every network; {len(comparisons[-1].ours_s)} rounds; ratio of medians [of one round]"
    )
    print(
        f"peak RSS: of a process that holds this network only; "
        f"{ours.description['idle_rss_gib']:.2f} GiB of it is there before the network is built\n"
        f"load {load_average()}"
    )


def _figures(ours: Network, comparisons: Sequence[Comparison]) -> dict[str, float]:
    figures = {f"ratio_{c.other.name}": c.ratio() for c in comparisons}
    for network in (ours, *(comparison.other for comparison in comparisons)):
        name = network.name
        figures[f"{name}_step_s"] = statistics.median(network.timings.wall_s)
        figures[f"{name}_step_cpu_s"] = statistics.median(network.timings.cpu_s)
        figures[f"{name}_parameters_m"] = network.description["parameters_m"]
        figures[f"{name}_gmac"] = network.description["gmac"]
        figures[f"{name}_peak_rss_gib"] = network.peak_rss_gib
    return figures


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_json_option(parser)
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument(
        "--naive-rounds", type=int, default=2, help="0 leaves it out; default: %(default)s"
    )
    parser.add_argument(
        "--checkpoint", action="store_true", help="ours with checkpoint_activations=true too"
    )
    parser.add_argument(
        "--compile", action="store_true", help="ours under torch.compile too; needs a C++ compiler"
    )
    parser.add_argument("--skip-peers", action="store_true", help="needs no packages of theirs")
    options = parser.parse_args()
    variants = [
        name
        for name, is_wanted in (
            ("checkpointed", options.checkpoint),
            ("compiled", options.compile),
        )
        if is_wanted
    ]
    if options.skip_peers and options.naive_rounds == 0 and not variants:
        parser.error("nothing to compare with: leave out --skip-peers, or add --checkpoint")
    peers = "peers left out" if options.skip_peers else peer_versions()
    print(f"{describe_machine()}; {peers}; load {load_average()}")
    python = Path(sys.executable) if options.skip_peers else prepare_peers_python()
    peer_names = () if options.skip_peers else ("smp_unet", "smp_fpn")
    ours, comparisons = _measure(python, options.rounds, options.naive_rounds, peer_names, variants)
    print()
    _print_networks(ours, comparisons)
    print()
    figures = _figures(ours, comparisons)
    report(figures, [t for t in _TARGETS if t.key in figures], options.json)


if __name__ == "__main__":
    main()
