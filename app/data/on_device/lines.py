"""Lines drawn in torch as app.data.lines draws them, four kinds in the bits of a byte."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from app.base.arrays import Mask8
from app.base.tasks import IGNORE_INDEX
from app.data.line_bits import NUM_LINE_KINDS
from app.data.lines import line_and_ring


def widen_lines(unknown: Tensor, centres: Tensor, gsd_m: float) -> tuple[Tensor, Tensor]:
    """Lines at their width.

    Args:
        unknown: (M, H, W) uint8: bit k where kind k is unknown.
        centres: (M, H, W) uint8: bit k where kind k has a centre line one pixel thick.
        gsd_m: Metres per pixel.

    Returns:
        (M, H, W) uint8 each: where there is a line, and where none but unknown.
    """
    line_disk, ring_disk = line_and_ring(gsd_m)
    lines = _dilate(centres, line_disk)
    return lines, (_dilate(centres, ring_disk) | unknown) & ~lines


def split_kinds(lines: Tensor, hidden: Tensor) -> Tensor:
    """(M, 4, H, W) uint8: 1, 255 or 0, of both results of `widen_lines`."""
    kinds = _kinds(lines.device)
    return (lines[:, None] >> kinds & 1) | (hidden[:, None] >> kinds & 1) * IGNORE_INDEX


def collect_centres(points: Tensor, num_points: Tensor, size_px: int) -> Tensor:
    """Centre lines of windows.

    Args:
        points: (K,) int32, places in (4, S, S) of each window, window by window.
        num_points: (M,) of each window.
        size_px: Side of a window.

    Returns:
        (M, S, S) uint8: bit k where kind k has a centre.
    """
    device, num_windows = points.device, len(num_points)
    num_values = NUM_LINE_KINDS * size_px**2
    found = torch.zeros(num_windows * num_values, dtype=torch.uint8, device=device)
    first = torch.arange(num_windows, device=device) * num_values
    first = first.repeat_interleave(num_points.long(), output_size=len(points))
    found[first + points] = 1
    kinds = found.view(num_windows, NUM_LINE_KINDS, size_px, size_px)
    return functools.reduce(torch.bitwise_or, (kinds << _kinds(device)).unbind(dim=1))


def _kinds(device: torch.device) -> Tensor:
    """(4, 1, 1) uint8: the bits' numbers."""
    return torch.arange(NUM_LINE_KINDS, dtype=torch.uint8, device=device)[:, None, None]


def _dilate(bits: Tensor, disk: Mask8) -> Tensor:
    """Each bit also wherever the disk around it reaches."""
    reach = len(disk) // 2
    height, width = bits.shape[-2:]
    padded = F.pad(bits, (reach,) * 4)
    spread = torch.zeros_like(bits)
    for y, x in zip(*disk.nonzero(), strict=True):
        spread |= padded[..., y : y + height, x : x + width]
    return spread
