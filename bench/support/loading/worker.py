"""A process that reads training samples in one way, as many as a line on standard input says.

It stands for one data worker. Answers are lines of JSON on standard output.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import psutil
import torch
from rasterio.windows import Window

from app.base.logs import ignore_expected_warnings
from app.data.train_samples import TrainDataset

if TYPE_CHECKING:
    from app.data.airs.dataset import AirsDataset
    from app.data.reader import TrainReader

GSD_M, SIZE_PX = 0.10, 512
_TILE_GSD_M = 0.075
_WINDOW_PX = round(SIZE_PX * GSD_M / _TILE_GSD_M)  # 683
_BATCH_SIZE = 4
_MIB = 2**20

Sample = tuple[torch.Tensor | np.ndarray, torch.Tensor | np.ndarray]


def ours(root: Path) -> Iterator[Sample]:
    """Image and label of a random window, as AirsDataset reads them, made smaller.

    Colours are put side by side and made smaller as app/data/moving.py does it.
    """
    from app.data.airs.layout import TILE_REMEDY
    from app.data.files.rasters import OpenRasters
    from app.data.moving import shrink

    dataset = _open_airs(root)
    rasters = OpenRasters(dataset.folder, TILE_REMEDY)
    rng = np.random.default_rng(0)
    while True:
        tile = dataset.tiles[int(rng.integers(len(dataset.tiles)))]
        top, left = (
            int(rng.integers(side - _WINDOW_PX)) for side in (tile.height_px, tile.width_px)
        )
        window = tile.fit_to_blocks(Window(left, top, _WINDOW_PX, _WINDOW_PX))
        photo, label = tile.read(window, rasters)
        yield shrink(cv2.merge(list(photo.image)), (SIZE_PX, SIZE_PX)), _resize_label(label.values)


def ours_sample(root: Path) -> Iterator[Sample]:
    """Whole samples of AirsDataset: its outline, and four targets of which nothing is known."""
    from app.data.moving import shrink

    dataset = _open_airs(root)
    rng = np.random.default_rng(0)
    while True:
        sample = dataset.draw(int(rng.integers(len(dataset))), SIZE_PX * GSD_M, rng)
        image, segments = sample["image"].numpy(), sample["segments"].numpy()
        yield shrink(cv2.merge(list(image)), (SIZE_PX, SIZE_PX)), _resize_label(segments)


def _open_airs(root: Path) -> "AirsDataset":
    from app.data.airs.dataset import AirsDataset
    from app.data.workers import keep_heap_small

    keep_heap_small()
    return AirsDataset(root, "train", root.parent / "scratch" / root.name)


def torchgeo(root: Path) -> Iterator[Sample]:
    """RasterDatasets of images and masks, their intersection, and a random sampler.

    It keeps its files open, and makes images smaller bilinearly.
    """
    warnings.simplefilter("ignore")
    from torchgeo.datasets import RasterDataset
    from torchgeo.samplers import RandomGeoSampler

    class Images(RasterDataset):
        filename_glob = "christchurch_*.tif"

    class Masks(RasterDataset):
        filename_glob = "christchurch_*.tif"
        is_image = False

    images = Images(root / "train/image", res=GSD_M)
    dataset = images & Masks(root / "train/label", res=GSD_M)
    for place in RandomGeoSampler(dataset, size=SIZE_PX, length=10**6):
        sample = dataset[place]
        yield sample["image"], sample["mask"]


def whole_tile(root: Path) -> Iterator[Sample]:
    """The whole tile and its label with OpenCV, of which a window is cut out."""
    (image_path,) = (root / "train/image").iterdir()
    (label_path,) = (root / "train/label").iterdir()
    rng = np.random.default_rng(0)
    while True:
        image = cv2.imread(str(image_path), cv2.IMREAD_COLOR_RGB)
        label = cv2.imread(str(label_path), cv2.IMREAD_GRAYSCALE)
        top, left = rng.integers(np.array(label.shape) - _WINDOW_PX)
        window = np.s_[top : top + _WINDOW_PX, left : left + _WINDOW_PX]
        small = cv2.resize(image[window], (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
        yield small, _resize_label(label[window])


def rid(root: Path) -> Iterator[Sample]:
    """Training samples of RID, all of a data worker's work on them."""
    from app.data.rid.dataset import RidDataset

    yield from _train_samples(RidDataset(root, "train"))


def own(root: Path) -> Iterator[Sample]:
    """Training samples of own roofs, all of a data worker's work on them."""
    from app.data.own.dataset import OwnDataset

    yield from _train_samples(OwnDataset(root, "train"))


def _train_samples(reader: "TrainReader") -> Iterator[Sample]:
    """In batches of four."""
    from app.data.loading import collate
    from app.data.order import SampleKey, TrainSource
    from app.data.transforms import TrainTransform
    from app.data.workers import keep_heap_small

    keep_heap_small()
    source = TrainSource(reader, share=1.0, per_side=1, indices=None)
    dataset = TrainDataset([source], TrainTransform(SIZE_PX, GSD_M), seed=0)
    keys = (
        SampleKey(epoch, draw, 0, indices)
        for epoch in range(10**6)
        for draw, indices in enumerate(source.pass_keys(np.random.default_rng(epoch)))
    )
    while True:
        batch = collate([dataset[next(keys)] for _ in range(_BATCH_SIZE)])
        assert batch["image"].shape == (_BATCH_SIZE, 3, SIZE_PX, SIZE_PX)
        yield from zip(batch["image"], batch["segments"], strict=True)


def start(root: Path) -> Iterator[Sample]:
    """Opening of both splits of rid/ and airs/; one for every time asked."""
    from app.data.airs.dataset import AirsDataset
    from app.data.rid.dataset import RidDataset

    for number in range(10**6):
        readers = [RidDataset(root / "rid", split) for split in ("train", "val")]
        scratch_dir = root / f"scratch-{number}"
        readers += [AirsDataset(root / "airs", split, scratch_dir) for split in ("train", "val")]
        assert not any(reader.missing for reader in readers)
        yield torch.empty(0), torch.empty(0)


WAYS: dict[str, Callable[[Path], Iterator[Sample]]] = {
    way.__name__: way for way in (ours, ours_sample, torchgeo, whole_tile, rid, own, start)
}


def _resize_label(label: np.ndarray) -> np.ndarray:
    return cv2.resize(label, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_NEAREST)


def main() -> None:
    """Answer line by line until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("root", type=Path)
    options = parser.parse_args()
    ignore_expected_warnings()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    samples = WAYS[options.way](options.root)
    process = psutil.Process()
    for line in sys.stdin:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        peak_rss = 0
        for _ in range(int(line)):
            next(samples)
            peak_rss = max(peak_rss, process.memory_info().rss)
        answer = {
            "wall_s": time.perf_counter() - wall_s,
            "cpu_s": time.process_time() - cpu_s,
            "peak_rss_mib": peak_rss / _MIB,
            "rss_mib": process.memory_info().rss / _MIB,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
