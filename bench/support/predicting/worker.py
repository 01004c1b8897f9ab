"""A process that predicts the photo that it reads the path of, and says how long it took.

Each kind has a process of its own, so that its peak memory is its own. Answers are lines of JSON.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from torch import Tensor, nn
from torch.utils.data import DataLoader

from app.base.units import GIB
from app.inference import tiles
from app.inference.predict import Request, predict_photos
from app.inference.predictor import Predictor
from app.inference.trained import load_network
from app.model.devices import Compute, autocast, choose_autocast_dtype
from bench.support.networks.designs import SMP_FPN

_CPU = torch.device("cpu")
# Windows of the loop, how many are computed at once, and from one to the next: "slightly smaller"
# than their size, as the documentation of GridGeoSampler has it.
_WINDOW_PX, _BATCH_SIZE, _STRIDE_PX = 512, 4, 448


class _Clock:
    """Time spent in calls of a function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            start_s = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - start_s

        return timed


def _ours(model_dir: Path, num_poses: Any) -> Callable[[Path, Path], dict[str, float]]:  # noqa: ANN401
    compute = Compute(_CPU, choose_autocast_dtype("auto", _CPU))
    network = load_network(model_dir, num_poses, compute)

    def predict(photo: Path, out: Path) -> dict[str, float]:
        asking, blending = _Clock(), _Clock()
        ask, add = Predictor._run, tiles.Blender.add
        Predictor._run = asking.around(ask)  # type: ignore[method-assign]
        tiles.Blender.add = blending.around(add)  # type: ignore[method-assign]
        try:
            code = predict_photos(network, {photo.stem: photo}, Request(out), lambda: False)
        finally:
            Predictor._run, tiles.Blender.add = ask, add  # type: ignore[method-assign]
        assert code == 0
        return {"asking_s": asking.seconds, "blending_s": blending.seconds}

    return predict


def _torchgeo(is_tuned: bool) -> Callable[[Path, Path], dict[str, float]]:
    """The loop as TorchGeo's users write it: windows of a grid, the class of each pixel.

    Args:
        is_tuned: With our precision and memory format.
    """
    import segmentation_models_pytorch as smp  # only the peers' environment has them
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    if is_tuned:
        model: nn.Module = SMP_FPN.build().to(memory_format=torch.channels_last).eval()
    else:
        model = smp.FPN("resnet50", encoder_weights=None, classes=23).eval()
    dtype = choose_autocast_dtype("auto", _CPU) if is_tuned else None

    def classes_of(images: Tensor) -> Tensor:
        if is_tuned:
            logits: Tensor = model(images, ("segments", "lines", "depth"))["segments"]
        else:
            logits = model(images / 255)[:, :18]
        return logits.argmax(1).byte()

    class Photos(RasterDataset):  # type: ignore[misc, valid-type]
        filename_glob = "*.tif"
        is_image = True

    @torch.inference_mode()
    def predict(photo: Path, out: Path) -> dict[str, float]:
        dataset = Photos(str(photo.parent))
        sampler = GridGeoSampler(dataset, size=_WINDOW_PX, stride=_STRIDE_PX)
        loader = DataLoader(
            dataset, batch_size=_BATCH_SIZE, sampler=sampler, collate_fn=stack_samples
        )
        with rasterio.open(photo) as file:
            profile = {**file.profile, "count": 1, "nodata": 255, "photometric": "MINISBLACK"}
            to_px, shape = ~file.transform, file.shape
        whole = np.full(shape, 255, np.uint8)
        for batch in loader:
            with autocast(_CPU, dtype):
                found = classes_of(batch["image"])
            for classes, (x, y, _) in zip(found.numpy(), batch["bounds"], strict=True):
                column, row = (round(value) for value in to_px @ (x.start, y.stop))
                top, left = max(0, row), max(0, column)
                classes = classes[top - row : shape[0] - row, left - column : shape[1] - column]
                whole[top : top + len(classes), left : left + classes.shape[1]] = classes
        with rasterio.open(out / f"{photo.stem}_classes.tif", "w", **profile) as file:
            file.write(whole, 1, window=Window(0, 0, shape[1], shape[0]))
        return {}

    return predict


def _peak_gib() -> float:
    # Not getrusage: its peak survives exec, so it may be the parent's.
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match.group(1)) * 1024 / GIB if match else float("nan")


def main() -> None:
    """Answer each line read, "PHOTO<tab>OUT", with the figures of a prediction."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("ours", "torchgeo", "torchgeo_same"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--tta", type=int, default=1)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.kind == "ours":
        predict = _ours(options.model, options.tta)
    else:
        predict = _torchgeo(is_tuned=options.kind == "torchgeo_same")
    print(json.dumps({"idle_gib": _peak_gib()}), flush=True)
    for line in sys.stdin:
        photo, out = (Path(text) for text in line.rstrip("\n").split("\t"))
        start_s = time.perf_counter()
        figures = predict(photo, out)
        answer = {**figures, "wall_s": time.perf_counter() - start_s, "peak_gib": _peak_gib()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
