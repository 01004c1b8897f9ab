"""Sums over ranks; with one process, the value itself."""

import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _is_distributed() else 1


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum of `values` over all ranks, in place; int64 sums are exact."""
    if _is_distributed():
        dist.all_reduce(values)
    return values


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
