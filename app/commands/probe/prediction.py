"""Predict a drawn photo, and say how long each part of it took.

The work of the process that `app.commands.plan.prediction` starts.
"""

import argparse
import contextlib
import time
from pathlib import Path
from typing import Any, Final

import cv2
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from app.base.errors import ConfigError
from app.commands.plan.prediction import MeasuredPrediction, PredictionQuestion
from app.commands.predict import build_request
from app.inference.predict import find_photos, predict_photos
from app.inference.trained import TrainedNetwork, load_network
from app.job.paths import scratch_folder
from app.model.devices import choose_compute
from app.settings.texts import parse_hyperparameters
from app.synthetic.scene import make_scene

# Several windows, so that what they share is in it.
_SIDE_PX: Final = 2144
# The first warms up caches.
_NUM_PHOTOS: Final = 2


class _Watch:
    """Counts how often the network is asked, about how much, and how long it takes.

    Args:
        model: The network.
        device: Where it computes.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._device = device
        self.forget()
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._end)

    def forget(self) -> None:
        """Begin again."""
        self.seconds, self.num_px, self.num_passes = 0.0, 0, 0

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _begin(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        image = inputs[0]
        self.num_px += image.shape[0] * image.shape[-2] * image.shape[-1]
        self.num_passes += 1
        self._start_s = self._now()

    def _end(self, *_: object) -> None:
        self.seconds += self._now() - self._start_s


def measure_prediction(question: PredictionQuestion, side_px: int = _SIDE_PX) -> MeasuredPrediction:
    """What predicting a drawn photo takes on this machine.

    Args:
        question: By which model, and how.
        side_px: Side of the photo, at the model's scale.

    Raises:
        RoofError: If the model cannot be used.
    """
    compute = choose_compute(parse_hyperparameters({"precision": question.precision}))
    network = load_network(Path(question.model_dir), question.tta, compute)  # type: ignore[arg-type]
    watch = _Watch(network.predictor.model, compute.device)
    total_s = 0.0
    with contextlib.ExitStack() as held:
        folder = held.enter_context(scratch_folder())
        for number in range(_NUM_PHOTOS):
            watch.forget()
            total_s = _predict(network, folder / str(number), side_px)
    network_s, num_px, num_passes = watch.seconds, watch.num_px, watch.num_passes
    return MeasuredPrediction(
        total_s=total_s,
        network_s=network_s,
        photo_mpx=side_px**2 / 1e6,
        network_mpx=num_px / 1e6,
        num_passes=num_passes,
        gmac=_count_gmac_per_px(network) * num_px,
        gsd_m=network.gsd_m,
        device=compute.device.type,
        precision=compute.precision,
    )


def _predict(network: TrainedNetwork, folder: Path, side_px: int) -> float:
    """Predict a photo as `predict` does, into a new folder; returns the seconds."""
    folder.mkdir()
    path, out = folder / "photo.png", folder / "out"
    cv2.imwrite(str(path), make_scene(0, side_px, network.gsd_m).image[:, :, ::-1])
    out.mkdir()
    with contextlib.ExitStack() as held:
        options = argparse.Namespace(
            out=out, gsd_m=network.gsd_m, grid="model", format=("gpkg",), held=held
        )
        request = build_request(options, network)
        start_s = time.perf_counter()
        exit_code = predict_photos(network, find_photos([path], out), request, lambda: False)
        seconds = time.perf_counter() - start_s
    if exit_code:
        raise ConfigError("plan: the drawn photo cannot be predicted; the lines above say why")
    return seconds


def _count_gmac_per_px(network: TrainedNetwork) -> float:
    """Multiplications and additions of the network for a pixel, 10**9."""
    side_px = 256
    predictor = network.predictor
    image = torch.zeros(1, 3, side_px, side_px, dtype=torch.uint8, device=predictor.compute.device)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        predictor.model(image, predictor.tasks)
    num_flop: int = counter.get_total_flops()
    return num_flop / 2 / 1e9 / side_px**2
