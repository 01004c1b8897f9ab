"""Images per second of the networks on a GPU, and the share of its peak that ours reaches."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from bench.support.figures import print_table
from bench.support.step.turns import SIZE_PX, Network, take_turns

_PEERS: Final = ("smp_fpn", "smp_unet", "tv_deeplabv3")
_NUM_WARM_UP_STEPS: Final = 5
_MATRIX_SIDE: Final = 8192
# Backward computes the gradient by the input and by the weights: each as much as forward.
_PASSES: Final = 3


def measure_peak_tflops(device: torch.device, side: int = _MATRIX_SIDE) -> float:
    """Best of ten products of square bfloat16 matrices, 1e12 operations per second.

    Measured on the device, not taken from its data sheet.
    """
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best_s = float("inf")
    for _ in range(10):
        start_s = time.perf_counter()
        product = a @ b
        product[0, 0].item()  # waits for it
        best_s = min(best_s, time.perf_counter() - start_s)
    return 2 * side**3 / best_s / 1e12


def compare_networks(
    python: Path, batch_sizes: Sequence[int], num_rounds: int, device: str
) -> dict[str, float]:
    """Steps of ours and of each peer in turns, a pair at a time, so that the memory is theirs.

    Args:
        python: Interpreter that has the peers' packages.
        batch_sizes: Images of a step; each is a row of its own.
        num_rounds: Steps of each network.
        device: "cuda", or "cpu" to see that it runs.
    """
    # On a CPU it would take minutes.
    side = _MATRIX_SIDE if device == "cuda" else 512
    figures = {"peak_tflops": measure_peak_tflops(torch.device(device), side)}
    rows: list[list[str]] = []
    for batch_size in batch_sizes:
        for peer_name in _PEERS:
            with (
                Network(python, "ours", batch_size=batch_size, device=device) as ours,
                Network(python, peer_name, batch_size=batch_size, device=device) as peer,
            ):
                for network in (ours, peer):
                    for _ in range(_NUM_WARM_UP_STEPS):
                        network.step(is_measured=False)
                (comparison,) = take_turns(ours, [peer], num_rounds)
            if peer_name == _PEERS[0]:
                rows.append([*_cells(ours, batch_size, figures), ""])
            low, high = comparison.ratio_range()
            ratio = f"{comparison.ratio():.2f} [{low:.2f}, {high:.2f}]"
            rows.append([*_cells(peer, batch_size, figures), ratio])
            figures[f"ratio_{peer_name}_{batch_size}"] = comparison.ratio()
    for peer_name in _PEERS:
        ratios = [figures[f"ratio_{peer_name}_{batch_size}"] for batch_size in batch_sizes]
        figures[f"ratio_{peer_name}"] = min(ratios)
    header = ["network", "batch", "format", "images/s", "of peak", "peak GiB"]
    print()
    print_table([*header, "step / ours [min, max]"], rows)
    print(
        f"steps of images of {SIZE_PX} px: forward, our three losses, backward; peak: "
        f"{figures['peak_tflops']:.0f} TFLOP/s, products of bfloat16 matrices of {side}"
    )
    return figures


def _cells(network: Network, batch_size: int, figures: dict[str, float]) -> list[str]:
    images_per_s = batch_size / statistics.median(network.timings.wall_s)
    tflops = images_per_s * _PASSES * 2 * network.description["gmac"] / 1e3
    share = tflops / figures["peak_tflops"]
    figures[f"{network.name}_images_per_s_{batch_size}"] = images_per_s
    figures[f"{network.name}_peak_share_{batch_size}"] = share
    figures[f"{network.name}_peak_gib_{batch_size}"] = network.peak_gib
    return [
        network.name,
        str(batch_size),
        network.description["dtype"],
        f"{images_per_s:.1f}",
        f"{100 * share:.1f} %",
        f"{network.peak_gib:.2f}",
    ]
