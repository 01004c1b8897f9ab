"""Photos of any size, predicted by overlapping windows in memory that does not grow with them."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from app.base.tasks import TaskName
from app.base.window import Window
from app.data.photos import WindowSource
from app.inference.blending import Blender, spread_windows
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


def predict_blocks(predictor: Predictor, photo: WindowSource) -> Iterator[Block]:
    """The photo in rectangles that do not overlap, from its upper left corner, row by row.

    A photo no larger than a window is one rectangle, and what the network says of it unchanged.
    Larger ones are blended from windows, see app.inference.blending. Whoever keeps none of the
    blocks needs memory for windows_per_pass windows, and for a quarter of a row of them.

    Args:
        predictor: The network.
        photo: The photo.

    Raises:
        ConfigError: If memory does not hold a single window.
    """
    rows = spread_windows(photo.height_px, predictor.window_px)
    columns = spread_windows(photo.width_px, predictor.window_px)
    height_px = min(photo.height_px, predictor.window_px)
    width_px = min(photo.width_px, predictor.window_px)
    places = [(row, column) for row in rows for column in columns]
    blender = Blender(photo.width_px)
    done = 0
    while done < len(places):
        batch = places[done : done + predictor.windows_per_pass]  # fewer once memory ran out
        images = torch.stack(
            [
                photo.read_image(Window(row.start, column.start, height_px, width_px))
                for row, column in batch
            ]
        )
        logits = predictor.predict(images)
        for i, (row, column) in enumerate(batch):
            own = {name: values[i] for name, values in logits.items()}
            if len(places) == 1:
                yield Block(Window(0, 0, height_px, width_px), own)
            else:
                yield Block(*blender.add(own, row, column))
        done += len(batch)
        del images, logits, own  # or they would lie beside those of the next windows
