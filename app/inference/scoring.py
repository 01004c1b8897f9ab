"""How well a model does: each dataset by itself, and all of them together."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import torch
from torch import nn

from app.base.dataset_names import DatasetName
from app.base.errors import DataError, join_problems
from app.base.tasks import Task, TaskName
from app.data.loading import Batch, EvalDataset, build_eval_loader
from app.inference.predictor import predict
from app.metrics.roof_metrics import ConfusionMatrix, MetricValue, RoofMetrics
from app.model.network import HybridRoofModel
from app.training.ranks.distributed import all_reduce_sum, rank, world_size


class Scores:
    """Sums of metrics by dataset, and the number of samples they are from.

    Args:
        tasks: Of the network.
        names: Datasets to be scored.
    """

    def __init__(self, tasks: Sequence[Task], names: Sequence[DatasetName]) -> None:
        self._tasks = tasks
        self.metrics = {name: RoofMetrics(tasks) for name in names}
        self.num_samples = dict.fromkeys(names, 0)

    def compute(self, split: str) -> dict[str, MetricValue]:
        """Every metric as `<split>/<task>/<metric>` over the pixels of all datasets.

        Where there are several, those of each stand beside as `<split>/<dataset>/<task>/<metric>`.
        """
        names = list(self.metrics)
        values = self._pooled().compute(split, "+".join(names))
        if len(names) > 1:
            for name, metrics in self.metrics.items():
                for key, value in metrics.compute(split, name).items():
                    values[key.replace(f"{split}/", f"{split}/{name}/", 1)] = value
        return values

    def confusion_matrices(self, split: str) -> dict[str, ConfusionMatrix]:
        """Of all datasets together."""
        return self._pooled().confusion_matrices(split)

    def add_other_ranks(self) -> None:
        """Make these the sums of all ranks, on every rank: exact, and once for all."""
        for name, metrics in self.metrics.items():
            metrics.load_state(all_reduce_sum(metrics.state()))
            self.num_samples[name] = int(all_reduce_sum(torch.tensor(self.num_samples[name])))

    def _pooled(self) -> RoofMetrics:
        pooled = RoofMetrics(self._tasks)
        pooled.load_state(torch.stack([part.state() for part in self.metrics.values()]).sum(0))
        return pooled


def score_datasets(
    model: HybridRoofModel,
    datasets: Mapping[DatasetName, EvalDataset],
    scores: Scores,
    trained_tasks: Collection[TaskName],
    device: torch.device,
    autocast_dtype: torch.dtype | None,
    num_workers: int,
) -> Iterator[Batch]:
    """Score a model on one dataset after the other, yielding every batch when it is counted.

    Of several ranks, each scores its part of every dataset. `finish_scores` comes after it.
    """
    for name, dataset in datasets.items():
        loader = build_eval_loader(dataset, num_workers, rank(), world_size())
        metrics = scores.metrics[name]
        for batch in evaluate(model, loader, metrics, trained_tasks, device, autocast_dtype):
            scores.num_samples[name] += len(batch["sample_id"])
            yield batch


def finish_scores(scores: Scores, datasets: Mapping[DatasetName, EvalDataset]) -> None:
    """Add what other ranks have scored.

    Raises:
        DataError: If not one image of a dataset could be read.
    """
    scores.add_other_ranks()
    problems = [
        f"{datasets[name].reader.title}: no image to score can be read; repair the files named "
        "above"
        for name, num_samples in scores.num_samples.items()
        if num_samples == 0
    ]
    if problems:
        raise DataError(join_problems(problems))


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    metrics: RoofMetrics,
    tasks: Collection[TaskName],
    device: torch.device,
    autocast_dtype: torch.dtype | None,
) -> Iterator[Batch]:
    """Score a model batch by batch, yielding each; batches without a sample are passed over."""
    for batch in batches:
        if batch["sample_id"]:
            logits = predict(model, batch["image"], tasks, device, autocast_dtype)
            metrics.update(logits, batch)
        yield batch
