"""How well a model does: each dataset by itself, and all of them together."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from app.base.dataset_names import DatasetName
from app.base.errors import DataError, StopRequested, join_problems
from app.base.tasks import TASK_NAMES, Task, TaskName
from app.base.window import Window
from app.data.loading import EvalDataset, read_photos
from app.data.order import ALONE, Shard
from app.data.photos import Photo
from app.data.sample import BadFiles
from app.inference.predictor import Predictor
from app.inference.shape_scores import RoofSearch, ShapeScores, ShapesOfPhoto
from app.inference.shortage import explained_shortage
from app.inference.tiles import Block, predict_blocks
from app.metrics.definitions import MetricValue
from app.metrics.roof_metrics import ConfusionMatrix, RoofMetrics
from app.metrics.roofs import ShapeMetrics
from app.model.losses import RoofLoss, count_known


class Scores:
    """Sums of metrics by dataset, and the number of samples they are from.

    Args:
        tasks: Tasks of the network.
        names: Datasets to be scored.
        loss: The losses of training, to be counted too; None counts none.
        search: Finds roofs as shapes, to be counted too; None counts none.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        names: Sequence[DatasetName],
        loss: RoofLoss | None = None,
        search: RoofSearch | None = None,
    ) -> None:
        self._tasks = tasks
        self.loss = loss
        self.shapes = None if search is None else ShapeScores(tasks, names, search)
        self.metrics = {name: RoofMetrics(tasks) for name in names}
        self.num_samples = dict.fromkeys(names, 0)

    def compute(self, split: str) -> dict[str, MetricValue]:
        """Every metric as `<split>/<task>/<metric>` over the pixels of all datasets.

        With several datasets, those of each are added as `<split>/<dataset>/<task>/<metric>`.
        """
        values = _compute(self.metrics, self._pooled(), split)
        if self.shapes is not None:
            values |= _compute(self.shapes.metrics, self.shapes.pooled(), split)
        return values

    def confusion_matrices(self, split: str) -> dict[str, ConfusionMatrix]:
        """The matrices of all datasets together."""
        return self._pooled().confusion_matrices(split)

    def add_other_ranks(self, all_reduce_sum: Callable[[Tensor], Tensor]) -> None:
        """Replace these sums by those of all ranks, exactly and on every rank; to be called once.

        Args:
            all_reduce_sum: The sum over ranks of an int64 tensor, which it may change.
        """
        for name, metrics in self.metrics.items():
            metrics.load_state(all_reduce_sum(metrics.state()))
            self.num_samples[name] = int(all_reduce_sum(torch.tensor(self.num_samples[name])))

    def open_metrics(self) -> RoofMetrics:
        """Metrics of the same tasks, without any sums yet."""
        return RoofMetrics(self._tasks)

    def _pooled(self) -> RoofMetrics:
        pooled = self.open_metrics()
        pooled.load_state(torch.stack([part.state() for part in self.metrics.values()]).sum(0))
        return pooled


def _compute(
    parts: Mapping[DatasetName, RoofMetrics] | Mapping[DatasetName, ShapeMetrics],
    pooled: RoofMetrics | ShapeMetrics,
    split: str,
) -> dict[str, MetricValue]:
    values = pooled.compute(split, "+".join(parts))
    if len(parts) > 1:
        for name, metrics in parts.items():
            for key, value in metrics.compute(split, name).items():
                values[key.replace(f"{split}/", f"{split}/{name}/", 1)] = value
    return values


def score_datasets(
    predictor: Predictor,
    datasets: Mapping[DatasetName, EvalDataset],
    scores: Scores,
    num_workers: int,
    shard: Shard = ALONE,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Iterator[BadFiles]:
    """Score a network on one dataset after the other, yielding after every photo what was bad.

    Of several ranks, each scores its part of every dataset; `Scores.add_other_ranks` adds them up.
    `check_scored` comes last.

    Args:
        predictor: The network.
        datasets: Photos to score, by dataset.
        scores: Get the sums.
        num_workers: Processes that read ahead.
        shard: Which rank this is, and how many there are.
        stop_requested: Asked within photos, and while one cannot be read.

    Raises:
        ConfigError: If memory does not suffice.
        StopRequested: If asked to stop meanwhile.
    """
    for name, dataset in datasets.items():
        with contextlib.closing(read_photos(dataset, num_workers, shard, stop_requested)) as photos:
            while True:
                with explained_shortage(f"reading a photo of {dataset.reader.title} to be scored"):
                    photo, bad_files = next(photos, (None, None))
                if bad_files is None:
                    break
                if photo is not None:
                    what = f"scoring {photo.sample_id} ({photo.width_px} x {photo.height_px} px)"
                    with explained_shortage(what):
                        _score(predictor, photo, scores, name, stop_requested)
                    scores.num_samples[name] += 1
                del photo  # or it would lie beside the next one
                yield bad_files


def _score(
    predictor: Predictor,
    photo: Photo,
    scores: Scores,
    name: DatasetName,
    stop_requested: Callable[[], bool],
) -> None:
    """Score a network on a photo of a dataset, and the roofs found in its predictions."""
    metrics, loss = scores.metrics[name], scores.loss
    if scores.shapes is None:
        score_photo(predictor, photo, metrics, loss, stop_requested)
        return
    of_photo = ShapesOfPhoto(scores.shapes, name, photo)
    score_photo(predictor, photo, metrics, loss, stop_requested, of_photo.add)
    of_photo.close()


def score_photo(
    predictor: Predictor,
    photo: Photo,
    metrics: RoofMetrics,
    loss: RoofLoss | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
    see: Callable[[Block], None] = lambda _: None,
) -> None:
    """Score a network on a photo of any size.

    Args:
        predictor: The network.
        photo: The photo.
        metrics: Where it counts.
        loss: The losses of training; None counts none.
        stop_requested: Asked after every part.
        see: Is shown every part that is predicted.

    Raises:
        ConfigError: If memory does not hold a single window.
        StopRequested: If asked to stop; the photo counts for nothing then, or in part.
    """
    whole = Window(0, 0, photo.height_px, photo.width_px)
    of_photo = metrics.open_photo(photo.height_px, photo.width_px)
    for block in predict_blocks(predictor, photo):
        see(block)
        targets = photo.read_targets(block.window)
        if loss is not None:
            _add_losses(metrics, loss, block, targets)
        logits = {name: values.cpu() for name, values in block.logits.items()}
        if block.window == whole:
            one = {name: values[None] for name, values in logits.items()}
            metrics.update(one, {name: target[None] for name, target in targets.items()})
            return
        of_photo.add(block.window, logits, targets)
        del block, logits, targets  # or they would lie beside the next windows
        if stop_requested():
            raise StopRequested
    of_photo.close()


@torch.inference_mode()
def _add_losses(
    metrics: RoofMetrics, loss: RoofLoss, block: Block, targets: Mapping[TaskName, Tensor]
) -> None:
    logits = {name: values[None] for name, values in block.logits.items()}
    known = {
        name: targets[name][None].to(values.device, non_blocking=True)
        for name, values in logits.items()
    }
    counts = count_known(known).tolist()
    by_task = {name: counts[TASK_NAMES.index(name)] for name in logits}
    metrics.add_losses(loss(logits, known), by_task)


def check_scored(scores: Scores, datasets: Mapping[DatasetName, EvalDataset]) -> None:
    """Check that every dataset has a scored image.

    Raises:
        DataError: If not one image of a dataset could be read.
    """
    problems = [
        f"{datasets[name].reader.title}: no image to score can be read; repair the files named "
        "above"
        for name, num_samples in scores.num_samples.items()
        if num_samples == 0
    ]
    if problems:
        raise DataError(join_problems(problems))
