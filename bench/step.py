"""Time of a training step, forward, losses and backward on the CPU, against other designs.

    python -m bench.step [--checkpoint] [--compile] [--skip-peers] [--json FILE]

The first run makes .venv-peers for the peers' packages. The networks take turns, a step each, so
that other work on the machine slows all of them alike. A ratio above 1 means that ours is faster.
"""

import contextlib
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.support.environment import (
    describe_conditions,
    load_average,
    peer_versions,
    prepare_peers_python,
)
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.step.turns import (
    BATCH_SIZE,
    NUM_THREADS,
    SIZE_PX,
    Comparison,
    Network,
    take_turns,
)

_TARGETS = (
    Target("ratio_naive", ">=", 25),
    Target("ratio_smp_fpn", ">=", 1.2),
    Target("ratio_smp_unet", ">=", 1.25),
    Target("ratio_tv_deeplabv3", ">=", 2),
    # Ours over the least of the peers: ours takes no more memory than any of them.
    Target("peak_rss_over_peers", "<=", 1),
)
_NUM_WARM_UP_STEPS = 2
_PEERS = ("smp_fpn", "smp_unet", "tv_deeplabv3")


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
            comparisons = take_turns(ours, peers, num_rounds) if peers else []
        if num_naive_rounds > 0:
            # The peers have ended: this one needs some 8 GiB. It is not warmed up, since a step
            # takes most of a minute.
            with Network(python, "naive") as naive:
                comparisons = take_turns(ours, [naive], num_naive_rounds) + comparisons
        for variant in variants:
            with Network(python, "ours", variant) as changed:
                for _ in range(_NUM_WARM_UP_STEPS):  # the first of a compiled one takes minutes
                    changed.step(is_measured=False)
                comparisons = take_turns(ours, [changed], num_rounds) + comparisons
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
        f"{network.peak_gib:.2f}",
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
        f"step: {BATCH_SIZE} images of {SIZE_PX} px, {NUM_THREADS} threads, our three losses "
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
        figures[f"{name}_peak_rss_gib"] = network.peak_gib
    peers = [c.other.peak_gib for c in comparisons if c.other.name in _PEERS]
    if peers:
        figures["peak_rss_over_peers"] = ours.peak_gib / min(peers)
    return figures


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
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
    print(describe_conditions(peers))
    python = Path(sys.executable) if options.skip_peers else prepare_peers_python()
    peer_names = () if options.skip_peers else _PEERS
    ours, comparisons = _measure(python, options.rounds, options.naive_rounds, peer_names, variants)
    print()
    _print_networks(ours, comparisons)
    print()
    figures = _figures(ours, comparisons)
    report(figures, [t for t in _TARGETS if t.key in figures], options.json)


if __name__ == "__main__":
    main()
