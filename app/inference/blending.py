"""How the predictions of overlapping windows become one: averages whose weights fall off to a seam.

Along each axis, two windows that overlap share a ramp in the middle third of their overlap: over it
the weight of one falls from 1 to 0 and that of the other rises, so that the weights of a pixel add
up to 1. What a window predicts beyond its ramps, near its own border, is left out: there it sees
least of what is around, which for a roof is most of what tells where a plane faces. Probabilities
and metres are averaged, never logits.

Memory is that of one window, and of the ramps below a row of windows over the photo's width.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from app.base.tasks import ALL_TASKS, TaskName, find_task
from app.base.window import STRIDE_PX, Window, count_windows, find_shared_px, find_step_px

# Of what two windows share, one takes over from the other in the middle third.
_RAMP_PART: Final = 3
# Smallest probability that a logit is made of: float32 has no smaller normal number.
_TINY: Final = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Span:
    """One of the windows along an axis.

    Attributes:
        start: First pixel of the window.
        used_start: First pixel with a weight.
        used_end: One after the last pixel with a weight.
        finished_end: Pixels from used_start to here need no later window.
        weights: (used_end - used_start,) float32; 1 but for the ramps.
        num_rising: How many of the used pixels, the first of them, are a ramp.
    """

    start: int
    used_start: int
    used_end: int
    finished_end: int
    weights: Tensor
    num_rising: int = 0

    @property
    def used(self) -> slice:
        """The pixels with a weight, counted from the window's start."""
        return slice(self.used_start - self.start, self.used_end - self.start)

    @property
    def num_finished(self) -> int:
        """How many of the used pixels, the first of them, need no later window."""
        return self.finished_end - self.used_start

    def weigh_ramps(self, values: Tensor) -> None:
        """Multiply the used pixels, the last axis of values, by their weights, in place."""
        weights = self.weights.to(values.device)
        for ramp in (slice(self.num_rising), slice(self.num_finished, None)):
            values[..., ramp] *= weights[ramp]


def spread_windows(length_px: int, window_px: int, shared_px: int | None = None) -> list[Span]:
    """Windows along an axis, evenly spread.

    They begin at multiples of STRIDE_PX, so that two windows say the same where both see enough.
    The last one may therefore reach beyond the photo by less than that.

    Args:
        length_px: Side of the photo.
        window_px: Side of a window; one window as long as the photo where that is no longer.
        shared_px: How much each shares with the next at least, at most a third of a window;
            find_shared_px by default.
    """
    if length_px <= window_px:
        return [Span(0, 0, length_px, length_px, torch.ones(length_px))]
    shared_px = shared_px or find_shared_px(window_px)
    ramp_px = max(1, shared_px // _RAMP_PART)
    num_windows = count_windows(length_px, window_px, shared_px)
    unit_px = math.gcd(STRIDE_PX, find_step_px(window_px, shared_px))
    num_units = -(-(length_px - window_px) // unit_px)
    starts = [i * num_units // (num_windows - 1) * unit_px for i in range(num_windows)]
    # The first pixel of each ramp, in the middle of what two windows share.
    ramps = [
        (following + start + window_px - ramp_px) // 2
        for start, following in itertools.pairwise(starts)
    ]
    rising = (torch.arange(ramp_px) + 0.5) / ramp_px
    spans = []
    for i, start in enumerate(starts):
        is_first, is_last = i == 0, i == num_windows - 1
        used_start = 0 if is_first else ramps[i - 1]
        used_end = length_px if is_last else ramps[i] + ramp_px
        weights = torch.ones(used_end - used_start)
        if not is_first:
            weights[:ramp_px] = rising
        if not is_last:
            weights[-ramp_px:] = 1 - rising
        finished_end = length_px if is_last else ramps[i]
        num_rising = 0 if is_first else ramp_px
        spans.append(Span(start, used_start, used_end, finished_end, weights, num_rising))
    return spans


def fit_window(length_px: int, most_px: int, shared_px: int) -> int:
    """The side of windows that cover a length with the least in all, a multiple of 32.

    Args:
        length_px: Side of the photo.
        most_px: The largest side.
        shared_px: How much two windows share at least.

    Returns:
        The side; the length itself where one window covers it.
    """
    if length_px <= most_px:
        return length_px
    fewest = count_windows(length_px, most_px, shared_px)
    sides = {}
    for number in (fewest, fewest + 1):
        twice_px = (number - 1) * shared_px
        side_px = -(-(length_px + twice_px) // (number * STRIDE_PX)) * STRIDE_PX
        sides[number] = min(side_px, most_px)
    return min(sides.items(), key=lambda item: item[0] * item[1])[1]


class Blender:
    """Sums of windows that come row by row; gives on each rectangle that is finished.

    Windows may be left out where nobody asks what is predicted: what lies in one of them gets
    numbers that mean nothing.
    """

    def __init__(self, width_px: int) -> None:
        """Prepare.

        Args:
            width_px: Columns of the photo.
        """
        self._width_px = width_px
        # By task: what the row above has left for this row to finish, (C, ramp, width of the
        # photo); and what the window before has left for this one, (C, rows, ramp).
        self._below: dict[TaskName, Tensor] = {}
        self._beside: dict[TaskName, Tensor] = {}
        # First row and column of the window that goes on where the one before ends.
        self._next = (0, 0)
        # By task, the averages of the window under way: taking memory from the system for each
        # window costs as much as half of the arithmetic.
        self._averages: dict[TaskName, Tensor] = {}

    def add(
        self, logits: Mapping[TaskName, Tensor], row: Span, column: Span
    ) -> tuple[Window, dict[TaskName, Tensor]]:
        """Take in a window; returns what is finished by it.

        Args:
            logits: Per task (C, h, w) float32, of the whole window.
            row: Its rows.
            column: Its columns.

        Returns:
            The rectangle, and per task its (C, h', w') float32: metres of heights, probabilities of
            other tasks. Parts of larger tensors, to be used before the next call.
        """
        window = Window(row.used_start, column.used_start, row.num_finished, column.num_finished)
        if self._next != (row.used_start, column.used_start):
            self._beside.clear()  # the window before was left out
        finished = {
            name: self._add_task(name, values, row, column) for name, values in logits.items()
        }
        self._next = (row.used_start, column.finished_end)
        return window, finished

    def _add_task(self, name: TaskName, values: Tensor, row: Span, column: Span) -> Tensor:
        if name not in self._averages or self._averages[name].shape != values.shape:
            self._averages[name] = torch.empty_like(values)
        # Of the whole window: only its outermost pixels, if any, are not used.
        part = to_averages(name, values, self._averages[name])[:, row.used, column.used]
        row.weigh_ramps(part.transpose(1, 2))
        column.weigh_ramps(part)
        if (beside := self._beside.pop(name, None)) is not None:
            part[:, :, : beside.shape[2]] += beside
        done = column.num_finished
        if done < part.shape[2]:
            self._beside[name] = part[:, :, done:].clone()
        part = part[:, :, :done]
        columns = slice(column.used_start, column.finished_end)
        below = self._below.get(name)
        if below is not None and row.used_start > 0:
            part[:, : below.shape[1]] += below[:, :, columns]
        if row.num_finished < part.shape[1]:
            rest = part[:, row.num_finished :]
            if below is None:
                below = rest.new_empty(len(rest), rest.shape[1], self._width_px)
                self._below[name] = below
            below[:, :, columns] = rest
        return part[:, : row.num_finished]


def to_averages(name: TaskName, logits: Tensor, out: Tensor | None = None) -> Tensor:
    """What may be averaged of a task's logits: probabilities, or metres.

    Args:
        name: The task.
        logits: (..., C, H, W).
        out: Where it goes, of the same shape; by default new memory, or that of the logits.
    """
    kind = find_task(name, ALL_TASKS).kind
    if kind == "classes":
        return torch.softmax(logits, -3, out=out)
    if kind == "multilabel":
        return torch.sigmoid(logits, out=out)
    return logits if out is None else out.copy_(logits)


def to_logits(name: TaskName, averages: Tensor) -> Tensor:
    """What `to_averages` makes the averages of: (..., C, H, W) in memory of their own."""
    kind = find_task(name, ALL_TASKS).kind
    if kind == "metres":
        return averages.clone()  # a part of a larger tensor, which may go
    if kind == "classes":
        return averages.clamp(min=_TINY).log()
    return averages.clamp(min=_TINY).log() - (1 - averages).clamp(min=_TINY).log()
