"""Count what a plan needs to know: samples of an epoch, tensors and arithmetic of a step.

The work of the process that `app.commands.plan.facts` starts.
"""

import math
import statistics
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from app.base.dataset_names import DatasetName
from app.base.tasks import Task, TaskName
from app.base.units import MPX
from app.commands.plan.facts import Facts, FactsRequest
from app.commands.probe.step_memory import count_step_memory
from app.data.datasets import DATASET_PARTS, open_datasets
from app.data.loading import EvalDataset
from app.data.order import samples_of_one_pass
from app.data.reader import spread
from app.data.transforms import windows_per_side
from app.job.paths import scratch_folder
from app.model.devices import DTYPES
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters
from app.settings.texts import parse_hyperparameters
from app.training.build import choose_task_weights

_SIZES: Final = (1, 2)
_COUNTED_SIDE_PX: Final = 512
_NUM_MEASURED_PHOTOS: Final = 16


def count_facts(request: FactsRequest) -> Facts:
    """The facts that a request asks for.

    Raises:
        RoofError: If the data cannot be used.
    """
    hyperparameters = parse_hyperparameters({**request.settings, "batch_size": 1})
    channels = {name: Path(folder) for name, folder in request.channels.items()}
    tasks = hyperparameters.tasks
    with scratch_folder() as scratch_dir:
        datasets = open_datasets(channels, hyperparameters, scratch_dir)
    trained = choose_task_weights(hyperparameters, datasets.labelled_classes(tasks))
    num_photos = {source.reader.name: source.num_photos for source in datasets.train.sources}
    num_val = {name: len(dataset) for name, dataset in datasets.val.items()}
    samples_per_pass = samples_of_one_pass(datasets.train.sources)
    shares: dict[DatasetName, float] = {
        source.reader.name: source.share for source in datasets.train.sources
    }
    if request.is_sample:
        releases = {
            name: DATASET_PARTS[name].reader.release(hyperparameters) for name in datasets.val
        }
        num_photos = {
            name: _at_most(releases[name].num_train, hyperparameters.max_samples)
            for name in num_photos
        }
        num_val = {
            name: _at_most(release.num_val, hyperparameters.max_val_samples)
            for name, release in releases.items()
        }
        samples_per_pass = min(
            math.ceil(_num_samples(num, releases[name].span_m, hyperparameters) / shares[name])
            for name, num in num_photos.items()
        )
    return Facts(
        samples_per_pass=samples_per_pass,
        num_photos={str(name): num for name, num in num_photos.items()},
        shares={str(name): share for name, share in shares.items()},
        num_val={str(name): num for name, num in num_val.items()},
        val_side_px={
            str(name): _find_side_px(dataset, hyperparameters)
            for name, dataset in datasets.val.items()
        },
        tensors_gib=_count_tensors(request, tasks, trained, checkpoint_activations=False),
        checkpointed_gib=_count_tensors(request, tasks, trained, checkpoint_activations=True),
        gmac_per_mpx=count_gmac(tasks, trained),
    )


def count_gmac(tasks: Iterable[Task], trained: Collection[TaskName]) -> float:
    """Multiplications and additions of a forward pass, 10**9 of them per 2**20 pixels of window.

    Args:
        tasks: Tasks of the network.
        trained: Tasks whose heads run.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = HybridRoofModel(tuple(tasks))
        image = torch.zeros(1, 3, _COUNTED_SIDE_PX, _COUNTED_SIDE_PX, dtype=torch.uint8)
        with FlopCounterMode(display=False) as counter:
            model(image, list(trained))
    num_flop: int = counter.get_total_flops()
    return num_flop / 2 / 1e9 * MPX / _COUNTED_SIDE_PX**2


def _find_side_px(dataset: EvalDataset, hyperparameters: Hyperparameters) -> int:
    """Side of a square as large as a photo is on average, at the common distance."""
    some = spread(dataset.indices, _NUM_MEASURED_PHOTOS)
    extents = [dataset.reader.extent_m(index) for index in some]
    areas_m2 = [extent[0] * extent[1] for extent in extents if extent is not None]
    if not areas_m2:
        return hyperparameters.window_px
    return max(1, round(math.sqrt(statistics.mean(areas_m2)) / hyperparameters.gsd_m))


def _at_most(num_photos: int, limit: int | None) -> int:
    return num_photos if limit is None else min(num_photos, limit)


def _num_samples(num_photos: int, span_m: float, hyperparameters: Hyperparameters) -> int:
    """Training samples of one pass: small photos lie side by side in one."""
    per_side = windows_per_side(hyperparameters.crop_size_px, span_m / hyperparameters.gsd_m)
    return math.ceil(num_photos / per_side**2)


def _count_tensors(
    request: FactsRequest,
    tasks: Collection[Task],
    trained: Collection[TaskName],
    *,
    checkpoint_activations: bool,
) -> tuple[tuple[int, int, float], ...]:
    return tuple(
        (
            size,
            side_px,
            count_step_memory(
                tasks, trained, size, side_px, DTYPES[request.precision], checkpoint_activations
            ).peak_gib,
        )
        for side_px in request.sides_px
        for size in _SIZES
    )
