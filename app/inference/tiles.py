"""Photos of any size, predicted by overlapping windows in memory that does not grow with them."""

from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from app.base.tasks import TaskName
from app.base.window import Window
from app.data.photos import SeenSource, WindowSource
from app.inference.ahead import made_ahead
from app.inference.blending import (
    Blender,
    Span,
    fit_window,
    spread_windows,
    to_averages,
    to_logits,
)
from app.inference.predictor import Predictor


class Block(NamedTuple):
    """A rectangle of a photo, predicted for good.

    Attributes:
        window: Where it lies.
        logits: Per task (C, h, w) float32 on the device that computes: metres of heights, logits
            of the other tasks.
    """

    window: Window
    logits: dict[TaskName, Tensor]


class SeenBlock(NamedTuple):
    """A rectangle of a photo that may show nothing in places, predicted for good.

    Attributes:
        window: Where it lies.
        averages: Per task (C, h, w) float32 on the device that computes: metres of heights,
            probabilities of the other tasks; to be used before the next block. Empty where the
            network was not asked, as the photo shows nothing there.
        seen: (h, w) bool, where the photo shows something; None where it does everywhere.
    """

    window: Window
    averages: dict[TaskName, Tensor]
    seen: Tensor | None


class _Place(NamedTuple):
    """A window of a photo, and what is read there.

    Attributes:
        row: Its rows.
        column: Its columns.
        image: (3, h, w) uint8, of the size that all windows of a photo have; None where the photo
            shows nothing.
        seen: (h, w) bool; None where all is seen.
    """

    row: Span
    column: Span
    image: Tensor | None
    seen: Tensor | None = None


def predict_blocks(predictor: Predictor, photo: WindowSource) -> Iterator[Block]:
    """The photo in rectangles that do not overlap, from its upper left corner, row by row.

    A photo no larger than a window is one rectangle, and what the network says of it unchanged.
    Larger ones are blended from windows, see app.inference.blending. Whoever keeps none of the
    blocks needs memory for windows_per_pass windows, and for a ramp below a row of them.

    Args:
        predictor: The network.
        photo: The photo.

    Raises:
        ConfigError: If memory does not hold a single window.
    """
    window_px = predictor.window_px
    size = min(photo.height_px, window_px), min(photo.width_px, window_px)
    places = (
        _Place(row, column, _reflected(photo.read_image(window), size))
        for row, column, window in _spread(photo, size, predictor.shared_px)
    )
    blender = Blender(photo.width_px)
    for place, logits in _predict(predictor, places):
        if _is_whole(photo, place):
            yield Block(Window(0, 0, photo.height_px, photo.width_px), logits)
        else:
            window, averages = blender.add(logits, place.row, place.column)
            yield Block(window, {name: to_logits(name, part) for name, part in averages.items()})
            del averages
        del logits  # or they would lie beside those of the next windows


def predict_averages(predictor: Predictor, photo: SeenSource) -> Generator[SeenBlock, None, None]:
    """As predict_blocks: probabilities, and none where the photo shows nothing.

    Windows are as large as shares least with their neighbours, window_px at most. The next ones
    are read meanwhile, by a thread that alone may read the photo.

    Args:
        predictor: The network.
        photo: The photo.

    Raises:
        ConfigError: If memory does not hold a single window.
        FileProblem: If the photo cannot be read.
    """
    blender = Blender(photo.width_px)
    places = made_ahead(_read_seen(predictor, photo), 2 * predictor.windows_per_pass)
    for place, logits in _predict(predictor, places):
        row, column = place.row, place.column
        if not logits:
            height_px, width_px = row.num_finished, column.num_finished
            yield SeenBlock(
                Window(row.used_start, column.used_start, height_px, width_px), {}, None
            )
            continue
        if _is_whole(photo, place):
            window = Window(0, 0, photo.height_px, photo.width_px)
            averages = {name: to_averages(name, values) for name, values in logits.items()}
        else:
            window, averages = blender.add(logits, row, column)
        seen = place.seen
        if seen is not None:
            top, left = window.top - row.start, window.left - column.start
            seen = seen[top : top + window.height, left : left + window.width]
        yield SeenBlock(window, averages, seen)
        del logits, averages  # or they would lie beside those of the next windows


def count_blocks(predictor: Predictor, photo: SeenSource) -> int:
    """How many blocks `predict_averages` will give."""
    return sum(1 for _ in _spread(photo, _fit_windows(predictor, photo), predictor.shared_px))


def _fit_windows(predictor: Predictor, photo: SeenSource) -> tuple[int, int]:
    """Rows and columns of the windows of a photo."""
    window_px, shared_px = predictor.window_px, predictor.shared_px
    height_px, width_px = (
        fit_window(side_px, window_px, shared_px) for side_px in (photo.height_px, photo.width_px)
    )
    return height_px, width_px


def _spread(
    photo: WindowSource | SeenSource, size: tuple[int, int], shared_px: int
) -> Iterator[tuple[Span, Span, Window]]:
    """Rows, columns and place of every window of a photo, row by row.

    Args:
        photo: The photo.
        size: Rows and columns of a window; what lies beyond the photo is left out.
        shared_px: How much they share at least.
    """
    columns = spread_windows(photo.width_px, size[1], shared_px)
    for row in spread_windows(photo.height_px, size[0], shared_px):
        height_px = min(size[0], photo.height_px - row.start)
        for column in columns:
            width_px = min(size[1], photo.width_px - column.start)
            yield row, column, Window(row.start, column.start, height_px, width_px)


def _reflected(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, *size), with the photo's reflection beyond its lower and right edge."""
    for axis, side_px in zip((1, 2), size, strict=True):
        own_px = image.shape[axis]
        if own_px < side_px:
            places = torch.arange(side_px)
            beyond = (2 * (own_px - 1) - places).clamp(min=0)
            image = image.index_select(axis, torch.where(places < own_px, places, beyond))
    return image


def _is_whole(photo: WindowSource | SeenSource, place: _Place) -> bool:
    """Whether a photo is a single window."""
    size = (place.row.num_finished, place.column.num_finished)
    return size == (photo.height_px, photo.width_px)


def _read_seen(predictor: Predictor, photo: SeenSource) -> Iterator[_Place]:
    size = _fit_windows(predictor, photo)
    for row, column, window in _spread(photo, size, predictor.shared_px):
        image, seen = photo.read(window)
        if seen is not None and not seen.any():
            yield _Place(row, column, None)
        else:
            yield _Place(row, column, _reflected(image, size), seen)


def _predict(
    predictor: Predictor, places: Iterable[_Place]
) -> Iterator[tuple[_Place, dict[TaskName, Tensor]]]:
    """The places in their order, with logits (C, h, w) per task of those that have an image."""
    waiting: list[_Place] = []
    for place in places:
        waiting.append(place)
        num_images = sum(place.image is not None for place in waiting)
        if num_images == 0 or num_images >= predictor.windows_per_pass:  # fewer once memory ran out
            yield from _predict_batch(predictor, waiting)
            waiting = []
    yield from _predict_batch(predictor, waiting)


def _predict_batch(
    predictor: Predictor, places: list[_Place]
) -> Iterator[tuple[_Place, dict[TaskName, Tensor]]]:
    images = [place.image for place in places if place.image is not None]
    logits = predictor.predict(torch.stack(images)) if images else {}
    del images
    number = 0
    for place in places:
        if place.image is None:
            yield place, {}
        else:
            yield place, {name: values[number] for name, values in logits.items()}
            number += 1
