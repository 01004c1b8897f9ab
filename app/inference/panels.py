"""Photos with truth and prediction, for the report."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from app.base.errors import ConfigError, StopRequested
from app.base.tasks import TaskName, find_task
from app.base.window import Window
from app.data.loading import EvalDataset
from app.data.photos import Photo
from app.data.waiting import wait_for
from app.inference.predictor import Predictor
from app.inference.shortage import explained_shortage
from app.inference.tiles import predict_blocks
from app.report.pictures import MAX_SIDE_PX, Panel

logger = logging.getLogger(__name__)

_NUM_PANELS = 6
_LINE_THRESHOLD = 0.5
# A pixel of a smaller picture shows a line that covers at least this share of it.
_LEAST_LINE_SHARE = 0.25

_Array = npt.NDArray[Any]  # uint8 or float32


def collect_panels(
    predictor: Predictor,
    datasets: Sequence[EvalDataset],
    limit_s: float = math.inf,
    stop_requested: Callable[[], bool] = lambda: False,
) -> list[Panel]:
    """About six images, shared among the datasets and evenly spread in each.

    Every dataset gives at least one, unless it cannot be read, or memory does not suffice for it,
    which is logged. Once limit_s is over, no further image is begun, and one under way is left out;
    likewise after a stop.
    """
    deadline_s = time.monotonic() + limit_s

    def is_over() -> bool:
        return time.monotonic() > deadline_s or stop_requested()

    panels: list[Panel] = []
    for number, dataset in enumerate(datasets):
        share = _NUM_PANELS // len(datasets) + (number < _NUM_PANELS % len(datasets))
        num_panels = min(max(1, share), len(dataset))
        for i in range(num_panels):
            if is_over():
                return panels
            index = i * len(dataset) // num_panels
            what = f"a picture of {dataset.reader.title}"
            try:
                with explained_shortage(f"drawing a photo of {dataset.reader.title}"):
                    photo, _ = wait_for(partial(dataset.open_photo, index), what, is_over)
                    if photo is not None:
                        panel = draw_panel(predictor, photo, dataset.reader.title, is_over)
                        panels.append(panel)
                    del photo  # or it would lie beside the next one
            except StopRequested:
                return panels
            except ConfigError as error:  # the model is worth more than its pictures
                logger.warning("the report has a picture less: %s", error)
    return panels


def draw_panel(
    predictor: Predictor, photo: Photo, dataset: str, is_over: Callable[[], bool] = lambda: False
) -> Panel:
    """Truth and prediction of a photo, at no more pixels than the report shows.

    Args:
        predictor: The network.
        photo: A photo of any size.
        dataset: Title of its dataset.
        is_over: Asked before every part but the first.

    Raises:
        ConfigError: If memory does not hold a single window.
        StopRequested: If it is over.
    """
    small = _SmallPanes(photo.height_px, photo.width_px)
    for number, block in enumerate(predict_blocks(predictor, photo)):
        if number > 0 and is_over():
            raise StopRequested
        small.add_areas(block.window, "image", photo.read_image(block.window).numpy())
        for name, target in photo.read_targets(block.window).items():
            small.add(block.window, f"{name}_target", target.numpy(), is_lines=name == "lines")
        for name, logits in block.logits.items():
            small.add(
                block.window,
                f"{name}_prediction",
                _predict(name, logits).cpu().numpy(),
                is_lines=name == "lines",
            )
    return small.to_panel(dataset, photo.sample_id)


def _predict(name: TaskName, logits: Tensor) -> Tensor:
    """What the panel shows of a task: classes, lines or metres."""
    kind = find_task(name).kind
    if kind == "classes":
        return logits.argmax(0).byte()
    return (logits.sigmoid() > _LINE_THRESHOLD).byte() if kind == "multilabel" else logits[0]


class _SmallPanes:
    """What a panel is made of, collected from rectangles at every so many pixels.

    Args:
        height_px: Rows of the photo.
        width_px: Columns of the photo.
    """

    def __init__(self, height_px: int, width_px: int) -> None:
        self._size = (height_px, width_px)
        self._step = math.ceil(max(self._size) / MAX_SIDE_PX)
        # The pixel that stands for each cell of a pane.
        self._middles = [
            np.minimum(np.arange(0, side, self._step) + self._step // 2, side - 1)
            for side in self._size
        ]
        self._panes: dict[str, _Array] = {}
        self._areas: dict[str, npt.NDArray[np.float32]] = {}

    def add(self, window: Window, name: str, values: _Array, *, is_lines: bool) -> None:
        """Take in (..., h, w) of a rectangle: labels, metres, or lines with their areas."""
        pane = self._panes.setdefault(name, self._empty(values))
        start = (window.top, window.left)
        inside = [
            np.flatnonzero((middles >= first) & (middles < first + length))
            for middles, first, length in zip(
                self._middles, start, (window.height, window.width), strict=True
            )
        ]
        rows, columns = (
            middles[cells] - first
            for middles, cells, first in zip(self._middles, inside, start, strict=True)
        )
        pane[..., inside[0][:, None], inside[1]] = values[..., rows[:, None], columns]
        if is_lines:
            self.add_areas(window, name, (values == 1).astype(np.uint8))

    def add_areas(self, window: Window, name: str, values: _Array) -> None:
        """Take in (..., h, w) of a rectangle, to be averaged over cells."""
        cells, firsts = zip(
            *(
                np.unique(np.arange(first, first + length) // self._step, return_index=True)
                for first, length in (
                    (window.top, window.height),
                    (window.left, window.width),
                )
            ),
            strict=True,
        )
        sums = np.add.reduceat(values.astype(np.float32), firsts[0], axis=-2)
        sums = np.add.reduceat(sums, firsts[1], axis=-1)
        areas = self._areas.setdefault(name, self._empty(sums))
        areas[..., cells[0][:, None], cells[1]] += sums

    def to_panel(self, dataset: str, sample_id: str) -> Panel:
        """The panel, once all of the photo is there."""
        heights, widths = (
            np.diff(np.append(np.arange(0, side, self._step), side)) for side in self._size
        )
        num_pixels = np.outer(heights, widths).astype(np.float32)
        panes = dict(self._panes)
        for name in ("lines_target", "lines_prediction"):
            if name in panes:
                is_line = self._areas[name] > _LEAST_LINE_SHARE * num_pixels
                off_line = np.where(panes[name] == 1, 0, panes[name])
                panes[name] = np.where(is_line, 1, off_line).astype(np.uint8)
        image = (self._areas["image"] / num_pixels).round().astype(np.uint8)
        return Panel(
            dataset=dataset,
            sample_id=sample_id,
            image=np.ascontiguousarray(image.transpose(1, 2, 0)),
            segments_target=panes["segments_target"],
            segments_prediction=panes.get("segments_prediction"),
            lines_target=panes["lines_target"],
            lines_prediction=panes.get("lines_prediction"),
            depth_target=panes["depth_target"],
            depth_prediction=panes.get("depth_prediction"),
            superstructures_target=panes["superstructures_target"],
            superstructures_prediction=panes.get("superstructures_prediction"),
        )

    def _empty(self, values: _Array) -> _Array:
        shape = (*values.shape[:-2], *(len(middles) for middles in self._middles))
        return np.zeros(shape, values.dtype)
