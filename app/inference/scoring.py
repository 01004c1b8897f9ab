"""How well a model does: each dataset by itself, and all of them together."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from app.base.dataset_names import DatasetName
from app.base.errors import DataError, join_problems
from app.base.tasks import Task
from app.data.loading import Batch, EvalDataset, PatientBatches, build_eval_loader
from app.data.order import ALONE, Shard
from app.inference.predictor import Predictor
from app.metrics.definitions import MetricValue
from app.metrics.roof_metrics import ConfusionMatrix, RoofMetrics


class Scores:
    """Sums of metrics by dataset, and the number of samples they are from.

    Args:
        tasks: Tasks of the network.
        names: Datasets to be scored.
    """

    def __init__(self, tasks: Sequence[Task], names: Sequence[DatasetName]) -> None:
        self._tasks = tasks
        self.metrics = {name: RoofMetrics(tasks) for name in names}
        self.num_samples = dict.fromkeys(names, 0)

    def compute(self, split: str) -> dict[str, MetricValue]:
        """Every metric as `<split>/<task>/<metric>` over the pixels of all datasets.

        With several datasets, those of each are added as `<split>/<dataset>/<task>/<metric>`.
        """
        names = list(self.metrics)
        values = self._pooled().compute(split, "+".join(names))
        if len(names) > 1:
            for name, metrics in self.metrics.items():
                for key, value in metrics.compute(split, name).items():
                    values[key.replace(f"{split}/", f"{split}/{name}/", 1)] = value
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

    def _pooled(self) -> RoofMetrics:
        pooled = RoofMetrics(self._tasks)
        pooled.load_state(torch.stack([part.state() for part in self.metrics.values()]).sum(0))
        return pooled


def score_datasets(
    predictor: Predictor,
    datasets: Mapping[DatasetName, EvalDataset],
    scores: Scores,
    num_workers: int,
    shard: Shard = ALONE,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Iterator[Batch]:
    """Score a network on one dataset after the other, yielding every batch when it is counted.

    Of several ranks, each scores its part of every dataset; `Scores.add_other_ranks` adds them up.
    `check_scored` comes last.

    Raises:
        StopRequested: If asked to stop while an image cannot be read.
    """
    for name, dataset in datasets.items():
        loader = build_eval_loader(dataset, num_workers, shard.rank, shard.num_ranks)
        what = f"a validation image of {dataset.reader.title}"
        batches = PatientBatches(loader, lambda what=what: what, stop_requested)  # type: ignore[misc]
        with contextlib.closing(batches):
            for batch in score_batches(predictor, batches, scores.metrics[name]):
                scores.num_samples[name] += len(batch["sample_id"])
                yield batch


def score_batches(
    predictor: Predictor, batches: Iterable[Batch], metrics: RoofMetrics
) -> Iterator[Batch]:
    """Score a network batch by batch, yielding each; batches without a sample are passed over."""
    for batch in batches:
        if batch["sample_id"]:
            metrics.update(predictor.predict(batch["image"]), batch)
        yield batch


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
