"""What validation takes: memory by windows, and the time of scoring, which a network's hides."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from app.base.tasks import Task, TaskName
from app.base.units import MPX
from app.base.window import Window
from app.data.photos import Photo, ReadyPhoto
from app.data.sample import PLANES, make_planes
from app.metrics.roof_metrics import RoofMetrics

# Larger photos are scored part by part.
_LARGEST_PX: Final = 512
_NUM_TIMED: Final = 3
# How sure a network is that has learnt for a while, in logits; and how uneven that is.
_SURE: Final = 4.0
_LINE_NOISE: Final = 1.5
_LINE_NOISE_PX: Final = 8


def fill_window(photo: Photo, side_px: int) -> ReadyPhoto:
    """A photo of exactly one window, with as much of a real one as fits into it."""
    planes = make_planes(lambda name: PLANES[name].blank(side_px, side_px))
    height, width = (min(side_px, side) for side in (photo.height_px, photo.width_px))
    window = Window(0, 0, height, width)
    planes["image"][:, :height, :width] = photo.read_image(window)
    for name, target in photo.read_targets(window).items():
        planes[name][..., :height, :width] = target
    return ReadyPhoto(planes, photo.sample_id, photo.gsd_m)


def time_scoring(photo: Photo, tasks: Sequence[Task]) -> float:
    """CPU seconds of scoring 2**20 pixels of a photo, by one thread.

    Predictions are made up, as of a network that has learnt for a while: one that has learnt
    nothing predicts no lines, whose scores take most of the time.
    """
    height, width = (min(_LARGEST_PX, side) for side in (photo.height_px, photo.width_px))
    targets = {
        name: target[None]
        for name, target in photo.read_targets(Window(0, 0, height, width)).items()
    }
    logits = _make_up(targets, tasks)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # others would wait in a loop, whose time counts
    metrics, batch = RoofMetrics(tasks), {str(name): target for name, target in targets.items()}
    try:
        begun_s = time.process_time()
        for _ in range(_NUM_TIMED):
            metrics.update(logits, batch)
        taken_s = time.process_time() - begun_s
    finally:
        torch.set_num_threads(num_threads)
    return taken_s / _NUM_TIMED * MPX / (height * width)


def _make_up(targets: Mapping[TaskName, Tensor], tasks: Sequence[Task]) -> dict[TaskName, Tensor]:
    """Logits that are mostly right, (1, C, H, W) by task."""
    generator = torch.Generator().manual_seed(0)
    logits: dict[TaskName, Tensor] = {}
    for task in tasks:
        target = targets[task.name]
        shape = (1, task.num_classes, *target.shape[-2:])
        if task.kind == "classes":
            known = target.long().clamp(max=task.num_classes - 1)
            sure = _SURE * F.one_hot(known, task.num_classes).movedim(-1, 1)
            logits[task.name] = sure + torch.randn(shape, generator=generator)
        elif task.kind == "multilabel":
            coarse = (1, task.num_classes, *(-(-side // _LINE_NOISE_PX) for side in shape[-2:]))
            noise = F.interpolate(
                torch.randn(coarse, generator=generator), shape[-2:], mode="bilinear"
            )
            sure = _SURE * ((target == 1).float() * 1.5 - 1)
            logits[task.name] = sure + _LINE_NOISE * noise
        else:
            logits[task.name] = 8 * torch.rand(shape, generator=generator)
    return logits
