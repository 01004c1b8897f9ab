"""A process that holds one network and takes a timed training step whenever it reads a line.

Each network has a process of its own, so that its peak memory is its own and no other network's
freed memory is there for it to use. Answers are lines of JSON on standard output.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from app.base.tasks import TASK_NAMES, TaskName
from app.base.units import GIB
from app.model.devices import autocast, choose_autocast_dtype
from app.model.losses import RoofLoss, count_known
from app.model.network import HybridRoofModel
from bench.support.networks.designs import TASKS, Design
from bench.support.networks.variants import find_design


def make_batch(batch_size: int, size_px: int) -> tuple[Tensor, dict[TaskName, Tensor]]:
    """The same images and targets for every network: noise, and blocks of 32 px as roof planes.

    Returns:
        (N, 3, H, W) uint8, and the targets of all tasks as in Sample, batched.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, size_px, size_px)
    num_blocks = (batch_size, size_px // 32, size_px // 32)
    image = torch.randint(256, (batch_size, 3, size_px, size_px), generator=generator)
    segments = torch.randint(18, num_blocks, generator=generator)
    depth = torch.rand(num_blocks, generator=generator) * 10

    def enlarge(blocks: Tensor) -> Tensor:
        return blocks.repeat_interleave(32, 1).repeat_interleave(32, 2)

    lines = torch.rand(batch_size, 4, *shape[1:], generator=generator) < 0.02
    targets: dict[TaskName, Tensor] = {
        "segments": enlarge(segments).to(torch.uint8),
        "lines": lines.to(torch.uint8),
        "depth": enlarge(depth),
    }
    return image.to(torch.uint8), targets


def count_gmac(design: Design, size_px: int) -> float:
    """Billions of multiply-adds of one image's forward pass; computed without any data."""
    with torch.device("meta"):
        model = design.build().eval()
        image = torch.zeros(1, 3, size_px, size_px, dtype=torch.uint8)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(image)
    return float(counter.get_total_flops()) / 2 / 1e9  # a multiply-add counts as two


def take_step(
    model: nn.Module,
    image: Tensor,
    targets: dict[TaskName, Tensor],
    autocast_dtype: torch.dtype | None,
) -> None:
    """Forward, the project's losses of all tasks, backward; the same for every network."""
    model.zero_grad(set_to_none=True)
    counts = count_known(targets)
    with autocast(image.device, autocast_dtype):
        logits = model(image)
    sums = RoofLoss(TASKS)(logits, targets)
    means = [sums[name] / counts[i] for i, name in enumerate(TASK_NAMES) if name in sums]
    torch.stack(means).sum().backward()


def _finish(device: torch.device) -> None:
    """Wait for the queue: on a GPU a step returns before it is computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_gib(device: torch.device) -> float:
    """Peak of the device's memory taken by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return _peak_rss_gib()


def _peak_rss_gib() -> float:
    # Not getrusage: its peak survives exec, so it may be the parent's.
    status = Path("/proc/self/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match.group(1)) * 1024 / GIB if match else float("nan")


def _answer(**values: float | str) -> None:
    print(json.dumps(values), flush=True)


def main() -> None:
    """Describe the network, then answer each line read with the figures of one step."""
    parser = argparse.ArgumentParser()
    parser.add_argument("design")
    parser.add_argument("--size-px", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--compile", action="store_true", help="needs a C++ compiler")
    parser.add_argument("--checkpoint", action="store_true", help="only ours")
    options = parser.parse_args()
    design = find_design(options.design)
    device: torch.device = options.device

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    gmac = count_gmac(design, options.size_px)
    idle_rss_gib = _peak_rss_gib()
    model: nn.Module = design.build().to(device, memory_format=design.memory_format).train()
    if options.checkpoint:
        assert isinstance(model, HybridRoofModel)
        model.checkpoint_activations = True
    autocast_dtype = choose_autocast_dtype(design.precision, device)
    image, targets = make_batch(options.batch_size, options.size_px)
    image, targets = image.to(device), {name: target.to(device) for name, target in targets.items()}
    _answer(
        parameters_m=sum(p.numel() for p in model.parameters()) / 1e6,
        gmac=gmac,
        idle_rss_gib=idle_rss_gib,
        dtype=str(autocast_dtype or torch.float32).removeprefix("torch."),
        memory_format=str(design.memory_format).removeprefix("torch."),
    )
    if options.compile:
        model = torch.compile(model)
    for _ in sys.stdin:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        take_step(model, image, targets, autocast_dtype)
        _finish(device)
        _answer(
            wall_s=time.perf_counter() - start_s,
            cpu_s=time.process_time() - start_cpu_s,
            peak_gib=_peak_gib(device),
        )


if __name__ == "__main__":
    main()
