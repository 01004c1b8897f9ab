"""The running statistics of batch normalisations: kept, restored, averaged over ranks."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from app.training.ranks.distributed import all_reduce_sum, world_size


class BatchStatistics:
    """Running means, variances and counters of a network's batch normalisations.

    A forward pass changes them before it is known whether its step will be skipped.

    Args:
        model: The network whose buffers are changed, in place.
    """

    def __init__(self, model: nn.Module) -> None:
        self._norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self._buffers = [buffer for norm in self._norms for buffer in norm.buffers()]
        self._kept = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def keep(self) -> None:
        """Remember the present values."""
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)

    @torch.no_grad()
    def restore(self) -> None:
        """Set them back to the kept values, to the last bit."""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept)

    @torch.no_grad()
    def average_over_ranks(self) -> None:
        """Replace them by their mean over ranks, the same on all ranks.

        Statistics that do not change are equal already, and a mean over three ranks could change a
        bit.
        """
        if world_size() == 1:
            return
        buffers: list[Tensor] = [
            buffer
            for norm in self._norms
            if norm.training
            for buffer in norm.buffers()
            if buffer.is_floating_point()
        ]
        if not buffers:
            return
        flat = all_reduce_sum(torch.cat([buffer.flatten() for buffer in buffers]))
        flat /= world_size()
        parts = torch.split(flat, [buffer.numel() for buffer in buffers])
        torch._foreach_copy_(buffers, [p.view_as(b) for p, b in zip(parts, buffers, strict=True)])
