"""The most memory that was in use since a moment."""

import gc

import torch

from app.base.units import GIB
from app.resources.process_memory import reset_own_peak, trim_heap


def forget_peaks(device: torch.device) -> None:
    """Give back what is free, and let peaks count from now on."""
    gc.collect()
    trim_heap()
    reset_own_peak()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def cuda_peak_gib(device: torch.device) -> float | None:
    """GiB of a GPU that torch has reserved at the most; None of a CPU."""
    return torch.cuda.max_memory_reserved(device) / GIB if device.type == "cuda" else None
