"""Synthetic scenes with every label as a reader, and pools of training samples drawn beforehand.

A comparison of networks is no comparison of loaders: the samples are drawn by the project's own
pipeline before any clock runs, and all networks train on the same ones.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from app.base.dataset_names import DatasetName
from app.base.tasks import LINE_KINDS, TaskName, find_task
from app.data.loading import Batch, build_train_loader
from app.data.order import Epochs, TrainOrder, TrainSource
from app.data.reader import TrainReader
from app.data.sample import TARGETS, BadFile, Sample, with_unknown
from app.data.train_samples import TrainDataset
from app.data.transforms import TrainTransform, windows_per_side
from app.synthetic.scene import GENERATOR_VERSION, make_scene

GSD_M: Final = 0.1
CROP_SIZE_PX: Final = 256
_SIZE_PX: Final = 512
# What networks are compared on.
_NUM_SCENES, _SCENES_SEED = 4096, 7
_PLANES: Final = ("image", "segments", "lines", "depth")
# To be raised when the samples of a pool change.
_POOL_VERSION: Final = 1


class SceneReader(Dataset[Sample]):
    """Scenes by number, each made whenever it is asked for; the same seed gives the same scenes.

    Args:
        seed: First ingredient of every scene.
        num_scenes: Number of scenes.
    """

    # Its labels are those of RID and of Roofline together: nothing after a reader asks for more.
    name: ClassVar[DatasetName] = "rid"
    title: ClassVar[str] = "synthetic scenes"
    missing: ClassVar[Sequence[BadFile]] = ()
    labels: ClassVar[Mapping[TaskName, tuple[str, ...]]] = {
        "segments": find_task("segments").class_names,
        "lines": LINE_KINDS,
        "depth": find_task("depth").class_names,
    }

    def __init__(self, seed: int, num_scenes: int) -> None:
        self.seed = seed
        self.sample_ids = [f"{seed}-{i}" for i in range(num_scenes)]
        self.num_files = num_scenes
        self.span_m = _SIZE_PX * GSD_M

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        scene = make_scene((self.seed, index), _SIZE_PX, GSD_M)
        brush = np.ones((3, 3), np.uint8)
        # Back to the centres that the scene's lines were drawn around, 3 px wide.
        centres = np.stack([cv2.erode(line, brush) for line in scene.lines])
        targets: dict[TaskName, Tensor] = {
            "segments": torch.from_numpy(scene.segments),
            "lines": torch.from_numpy(centres),
            "depth": torch.from_numpy(scene.height_m),
        }
        return {
            **with_unknown(torch.from_numpy(scene.image.transpose(2, 0, 1).copy()), targets),
            "dataset": self.name,
            "sample_id": self.sample_ids[index],
            "gsd_m": GSD_M,
        }

    def draw(self, index: int, span_m: float, rng: np.random.Generator) -> Sample:  # noqa: ARG002
        """The whole scene."""
        return self[index]

    def pass_order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Every scene once."""
        return rng.permutation(len(self))


class Pool:
    """Training samples on disk, read as memory maps: what all networks of a comparison see.

    Args:
        folder: As `draw_pool` left it.
    """

    def __init__(self, folder: Path) -> None:
        self._arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _PLANES}

    def __len__(self) -> int:
        return len(self._arrays["image"])

    def batches(self, batch_size: int, seed: int, favours_rare: bool = False) -> Iterator[Batch]:
        """Batches without end, every pass in another order, which depends on the seed alone.

        Args:
            batch_size: Samples of each.
            seed: Seed of the order.
            favours_rare: Whether samples come several times a pass as their rarest class asks for.
        """
        if batch_size > len(self):
            raise ValueError(f"a batch of {batch_size}, but the pool has {len(self)} samples")
        rng = np.random.default_rng(seed)
        numbers = np.arange(len(self))
        factors = self.repeat_factors() if favours_rare else np.ones(len(self))
        while True:
            # A factor of 1.3 is one time, and in three of ten passes another one.
            times = np.floor(factors + rng.random(len(self))) if favours_rare else factors
            order = rng.permutation(np.repeat(numbers, times.astype(np.int64)))
            for start in range(0, len(order) - batch_size + 1, batch_size):
                yield self.take(np.sort(order[start : start + batch_size]))

    def first(self, num_samples: int) -> Batch:
        """The first samples, or all where there are fewer."""
        return self.take(np.arange(min(num_samples, len(self))))

    def repeat_factors(self) -> npt.NDArray[np.float64]:
        """(n,) how often each sample would come in a pass that favours rare classes.

        1 / sqrt(share of samples that have the class), for the rarest class of a sample: the rule
        of Gupta, Dollar and Girshick 2019 (LVIS) with its threshold at all samples.
        """
        segments, lines = self._arrays["segments"], self._arrays["lines"]
        labels = np.arange(find_task("segments").num_labels)
        has = np.zeros((len(self), len(labels) + len(LINE_KINDS)), bool)
        for number in range(len(self)):
            has[number, : len(labels)] = np.isin(labels, segments[number])
            has[number, len(labels) :] = (lines[number] == 1).any((1, 2))
        factors = 1 / np.sqrt(np.maximum(has.mean(0), 1 / len(self)))
        rarest: npt.NDArray[np.float64] = np.where(has, factors, 1.0).max(1)
        return rarest

    def take(self, numbers: npt.NDArray[np.int64]) -> Batch:
        """The samples of these numbers."""
        image, segments, lines, depth = (
            torch.from_numpy(np.ascontiguousarray(self._arrays[name][numbers])) for name in _PLANES
        )
        superstructures = TARGETS["superstructures"]
        return Batch(
            image=image,
            segments=segments,
            lines=lines,
            depth=depth,
            superstructures=superstructures.filled(
                superstructures.unknown, *segments.shape[1:], num_samples=len(segments)
            ),
            sample_id=[str(number) for number in numbers],
            bad_files={},
        )


def draw_pool(
    cache: Path, name: str, reader: TrainReader, num_samples: int, seed: int, num_workers: int
) -> Path:
    """The folder of a pool, which is drawn where it is not there.

    Args:
        cache: Folder of all pools.
        name: Name of what the reader reads.
        reader: Its training samples.
        num_samples: How many to draw.
        seed: Seed of all random draws.
        num_workers: Processes that draw; the samples do not depend on it.
    """
    identity = [_POOL_VERSION, GENERATOR_VERSION, name, len(reader), num_samples, seed]
    digest = hashlib.sha256(json.dumps([*identity, CROP_SIZE_PX, GSD_M]).encode()).hexdigest()
    folder = cache / f"pool-{name}-{digest[:8]}"
    if folder.is_dir():
        return folder
    per_side = windows_per_side(CROP_SIZE_PX, reader.span_m / GSD_M)
    source = TrainSource(reader, 1.0, per_side, None)
    dataset = TrainDataset([source], TrainTransform(CROP_SIZE_PX, GSD_M), seed)
    order = TrainOrder([source], Epochs(num_samples, 8, seed))
    unfinished = folder.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    arrays: dict[str, np.memmap[tuple[int, ...], np.dtype[np.generic]]] = {}
    done = 0
    for batch in build_train_loader(dataset, order, num_workers, prefetch_factor=2):
        planes = {plane: batch[plane].numpy() for plane in _PLANES}
        for plane, values in planes.items():
            if plane not in arrays:
                arrays[plane] = np.lib.format.open_memmap(
                    unfinished / f"{plane}.npy",
                    "w+",
                    values.dtype,
                    (num_samples, *values.shape[1:]),
                )
            arrays[plane][done : done + len(values)] = values
        done += len(batch["sample_id"])
    if done < num_samples:
        raise RuntimeError(f"{num_samples - done} of {num_samples} samples of {name} are bad files")
    for array in arrays.values():
        array.flush()
    unfinished.rename(folder)  # last, so that a pool is whole or not there
    return folder


def draw_scenes_pool(cache: Path) -> Path:
    """The folder of the synthetic samples that all comparisons train on."""
    reader = SceneReader(_SCENES_SEED, _NUM_SCENES)
    return draw_pool(cache, "scenes", reader, _NUM_SCENES, 0, num_workers=2)
