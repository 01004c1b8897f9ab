"""The samples of a run: which are trained on, which validate, which had to be set aside."""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch.utils.data import DataLoader

from app.base.dataset_names import DATASET_NAMES, DatasetName
from app.base.errors import ConfigError, DataError, join_problems
from app.base.tasks import Task, TaskName
from app.data.airs.audit import audit_airs
from app.data.airs.dataset import AirsDataset
from app.data.findings.scope import Audit
from app.data.loading import Batch, EvalDataset, PatientBatches, build_train_loader
from app.data.on_device.batches import CutBatch, collate_cut
from app.data.on_device.cutting import CutTransform
from app.data.order import (
    ALONE,
    BEGINNING,
    Epochs,
    SampleKey,
    Shard,
    Start,
    TrainOrder,
    TrainSource,
    choose_indices,
    samples_of_one_pass,
)
from app.data.own.audit import audit_own
from app.data.own.dataset import OwnDataset
from app.data.quarantine import Quarantine
from app.data.reader import DatasetReader, Reader, ReaderRequest, Split, TrainReader, spread
from app.data.rid.audit import audit_rid
from app.data.rid.dataset import RidDataset
from app.data.roofline.audit import audit_roofline
from app.data.roofline.dataset import RooflineDataset
from app.data.sample import BadFile, BadFiles
from app.data.train_samples import KeyedSamples, TrainDataset
from app.data.transforms import EvalTransform, build_train_transform, windows_per_side
from app.resources.sample_path import device_makes_samples
from app.settings.checks import read_dataset_names, read_dataset_weights
from app.settings.hyperparameters import Hyperparameters

logger = logging.getLogger(__name__)


class DatasetParts(NamedTuple):
    """The code of a dataset.

    Attributes:
        reader: Opens its splits.
        audit: Fills in the report on its folder.
    """

    reader: type[DatasetReader]
    audit: Audit


DATASET_PARTS: Final[Mapping[DatasetName, DatasetParts]] = {
    "rid": DatasetParts(RidDataset, audit_rid),
    "roofline": DatasetParts(RooflineDataset, audit_roofline),
    "airs": DatasetParts(AirsDataset, audit_airs),
    "own": DatasetParts(OwnDataset, audit_own),
}


@dataclass
class Datasets:
    """The samples of a run.

    Attributes:
        train: Training samples by key.
        val: Whole validation images, by dataset.
        quarantines: Bad files met so far, by dataset.
        samples_per_epoch: Training samples of an epoch on all ranks, a whole number of steps.
    """

    train: TrainDataset
    val: Mapping[DatasetName, EvalDataset]
    quarantines: Mapping[DatasetName, Quarantine]
    samples_per_epoch: int

    def labelled_classes(self, tasks: Sequence[Task]) -> dict[TaskName, tuple[str, ...]]:
        """The classes that the datasets trained on can teach, for every task they label."""
        readers = [source.reader for source in self.train.sources]
        labelled: dict[TaskName, tuple[str, ...]] = {}
        for task in tasks:
            names = [set(reader.labels.get(task.name, ())) for reader in readers]
            if not any(names):
                continue
            # "Roof" stands for all classes but background, whichever they are.
            is_binary = task.name == "segments" and task.azimuth_bins == 0
            known = set(task.class_names) if is_binary else set().union(*names)
            labelled[task.name] = tuple(name for name in task.class_names if name in known)
        return labelled

    def train_order(
        self, hyperparameters: Hyperparameters, start: Start = BEGINNING, shard: Shard = ALONE
    ) -> TrainOrder:
        """Keys of a rank's micro-batches."""
        epochs = Epochs(
            self.samples_per_epoch,
            hyperparameters.micro_batch_size,
            hyperparameters.seed,
            hyperparameters.epochs,
        )
        return TrainOrder(self.train.sources, epochs, start, shard)

    def set_aside(self, bad_files: BadFiles) -> None:
        """Count files that cannot be used.

        Raises:
            DataError: If more than the allowed share of a dataset is bad.
        """
        for name, files in bad_files.items():
            self.quarantines[name].add(files)

    def quarantined_files(self) -> dict[str, list[dict[str, str]]]:
        """The files set aside so far, by dataset, in plain types."""
        return {name: quarantine.to_json() for name, quarantine in self.quarantines.items()}

    def restore_quarantines(self, files: Mapping[DatasetName, Sequence[Mapping[str, str]]]) -> None:
        """Set the files of an earlier run's `quarantined_files` aside again."""
        for name, entries in files.items():
            if name not in self.quarantines:
                continue  # resume=force, with one dataset fewer
            self.quarantines[name].add(
                [
                    BadFile(entry["sample_id"], Path(entry["path"]), entry["reason"])
                    for entry in entries
                ]
            )

    def identify(self) -> dict[str, Any]:
        """What must be equal for a run to resume from another's checkpoint."""
        identity: dict[str, Any] = {}
        for source in self.train.sources:
            ids = source.reader.sample_ids
            if source.indices is not None:
                ids = [ids[index] for index in source.indices]
            digest = hashlib.sha256("\n".join(ids).encode(errors="surrogateescape")).hexdigest()
            identity[f"{source.reader.name}_train"] = f"{len(ids)} samples, {digest[:16]}"
        return identity

    def to_json(self) -> dict[str, Any]:
        """Sizes, shares and bad files by dataset, in plain types, for metrics.json."""
        sources = {source.reader.name: source for source in self.train.sources}
        return {
            name: {
                "num_train": sources[name].num_photos if name in sources else 0,
                "num_val": len(val),
                "share": round(sources[name].share, 4) if name in sources else 0.0,
                "quarantined": self.quarantines[name].to_json(),
                "features_set_aside": self.quarantines[name].features_to_json(),
            }
            for name, val in self.val.items()
        }


def open_datasets(
    channels: Mapping[str, Path],
    hyperparameters: Hyperparameters,
    scratch_dir: Path,
    num_ranks: int = 1,
) -> Datasets:
    """The training and validation samples of every dataset among the channels.

    Args:
        channels: Folders by name; names that are no dataset's are ignored.
        hyperparameters: Checked settings.
        scratch_dir: Where an index may be kept for the next start.
        num_ranks: Training processes, which share every step.

    Raises:
        RoofError: If a dataset cannot be used, or too much of it is bad; names all problems.
    """
    train: dict[DatasetName, TrainReader] = {}
    val: dict[DatasetName, EvalDataset] = {}
    quarantines: dict[DatasetName, Quarantine] = {}
    problems = []
    chosen = _choose_datasets(channels, hyperparameters)
    for name in chosen:
        try:
            train[name] = open_reader(name, channels[name], "train", hyperparameters, scratch_dir)
            reader = open_reader(name, channels[name], "val", hyperparameters, scratch_dir)
            val[name] = build_eval_dataset(reader, hyperparameters)
            quarantines[name] = build_quarantine((train[name], reader), hyperparameters)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(join_problems(problems))
    sources = _build_sources(train, hyperparameters)
    samples_per_step = (
        hyperparameters.micro_batch_size * hyperparameters.grad_accum_steps * num_ranks
    )
    steps_per_epoch = hyperparameters.count_epoch_steps(
        samples_of_one_pass(sources), samples_per_step
    )
    return Datasets(
        TrainDataset(
            sources,
            build_train_transform(hyperparameters),
            hyperparameters.seed,
            hyperparameters.new_ground_fraction,
        ),
        val,
        quarantines,
        steps_per_epoch * samples_per_step,
    )


class TrainBatches(Iterator[Batch | CutBatch]):
    """A rank's micro-batches; sets bad files aside on the way.

    Where the device that trains makes samples, they come cut: see app.data.on_device.

    Args:
        datasets: The samples.
        hyperparameters: Checked settings.
        order: Keys of the micro-batches.
        stop_requested: Asked while a batch is waited for.
        device: Kind of the device that trains.
    """

    def __init__(
        self,
        datasets: Datasets,
        hyperparameters: Hyperparameters,
        order: Iterable[list[SampleKey]],
        stop_requested: Callable[[], bool] = lambda: False,
        device: str = "cpu",
    ) -> None:
        self._datasets = datasets
        # Sources of the batches that are being read, the next one first.
        self._under_way: deque[set[int]] = deque()
        loader = open_loader(datasets.train, hyperparameters, self._note(order), device)
        self._batches: PatientBatches[Batch | CutBatch]
        self._batches = PatientBatches(loader, self._name_next, stop_requested)

    def __next__(self) -> Batch | CutBatch:
        """The next micro-batch.

        Raises:
            DataError: If too much is bad.
            StopRequested: If asked to stop while it is not there; a later call waits for the same.
        """
        batch = next(self._batches)
        self._under_way.popleft()
        self._datasets.set_aside(batch["bad_files"])
        if not batch["sample_id"]:
            reasons = {bad.reason for files in batch["bad_files"].values() for bad in files}
            raise DataError(f"no training sample can be read: {join_problems(sorted(reasons))}")
        return batch

    def close(self) -> None:
        """End the data workers, whose batches take up memory."""
        self._batches.close()

    def _note(self, order: Iterable[list[SampleKey]]) -> Iterator[list[SampleKey]]:
        for keys in order:
            self._under_way.append({key.source for key in keys})
            yield keys

    def _name_next(self) -> str:
        """The batch that is waited for, and whose data it is of."""
        sources = self._under_way[0] if self._under_way else set()
        names = [self._datasets.train.sources[source].reader.title for source in sorted(sources)]
        return f"a training batch of {' and '.join(names) or 'unknown data'}"


def open_loader(
    train: TrainDataset,
    hyperparameters: Hyperparameters,
    order: Iterable[list[SampleKey]],
    device: str,
) -> DataLoader[Any]:
    """Loader of the micro-batches of an order, made or cut as the device that trains asks for.

    Args:
        train: The samples.
        hyperparameters: Checked settings.
        order: Keys of the micro-batches.
        device: Kind of the device that trains.
    """
    workers = hyperparameters.num_workers, hyperparameters.prefetch_factor
    if not device_makes_samples(hyperparameters, device):
        return build_train_loader(train, order, *workers)
    cut = KeyedSamples(train.sources, CutTransform(train.transform), train.seed)
    return build_train_loader(cut, order, *workers, collate_cut)


def _choose_datasets(
    channels: Mapping[str, Path], hyperparameters: Hyperparameters
) -> list[DatasetName]:
    """The datasets to use, of those that the job has."""
    there = [name for name in DATASET_NAMES if name in channels]
    named = read_dataset_names(hyperparameters.datasets)
    missing = [name for name in named if name not in there]
    if missing and (hyperparameters.datasets != "all" or not there):
        phase = f" (set by phase={hyperparameters.phase})" if hyperparameters.phase else ""
        raise ConfigError(
            f"datasets={hyperparameters.datasets}{phase}, but the job has no channel "
            f"{' or '.join(missing)}, only {', '.join(there) or 'none'}; add the channel, or set "
            "datasets=all"
        )
    return [name for name in named if name in there]


def open_reader(
    name: DatasetName,
    root: Path,
    split: Split,
    hyperparameters: Hyperparameters,
    scratch_dir: Path,
) -> TrainReader:
    """The reader of a dataset's split.

    Raises:
        DataError: If the folder is not what the dataset's release looks like.
    """
    return DATASET_PARTS[name].reader.open(ReaderRequest(root, split, hyperparameters, scratch_dir))


def build_eval_dataset(
    reader: TrainReader, hyperparameters: Hyperparameters, with_shapes: bool = False
) -> EvalDataset:
    """At most max_val_samples of the reader's samples, evenly spread, to be scored.

    Args:
        reader: Where the samples come from.
        hyperparameters: Checked settings.
        with_shapes: Whether samples keep the shapes that their targets were drawn from.
    """
    transform = EvalTransform(hyperparameters.gsd_m, hyperparameters.azimuth_bins, with_shapes)
    limit = hyperparameters.max_val_samples
    view = reader.eval_view(limit)
    chosen = spread(range(len(view)), limit)
    return EvalDataset(view, transform, chosen, hyperparameters.window_px)


def build_quarantine(readers: Sequence[Reader], hyperparameters: Hyperparameters) -> Quarantine:
    """Counts bad files of one dataset's splits together, beginning with what is missing.

    Raises:
        DataError: If too much is missing.
    """
    quarantine = Quarantine(
        readers[0].title,
        sum(reader.num_files for reader in readers),
        hyperparameters.max_bad_fraction,
        bad_features=readers[0].bad_features,
    )
    for reader in readers:
        quarantine.add(reader.missing)
    return quarantine


def _build_sources(
    readers: Mapping[DatasetName, TrainReader], hyperparameters: Hyperparameters
) -> list[TrainSource]:
    """The datasets to train on, with their shares scaled to a sum of 1."""
    weights = read_dataset_weights(hyperparameters.dataset_weights)
    chosen = {name: weights[name] for name in readers if weights.get(name, 0) > 0}
    if not chosen:
        raise ConfigError(
            f"nothing to train on: dataset_weights={hyperparameters.dataset_weights}, but the "
            f"channels are {', '.join(readers)}; give one of them a share above 0"
        )
    total = sum(chosen.values())
    return [
        TrainSource(
            reader=readers[name],
            share=weight / total,
            per_side=windows_per_side(
                hyperparameters.crop_size_px, readers[name].span_m / hyperparameters.gsd_m
            ),
            indices=choose_indices(
                readers[name], hyperparameters.max_samples, hyperparameters.seed
            ),
        )
        for name, weight in chosen.items()
    ]
