"""The samples of a run: which are trained on, which validate, which had to be set aside."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.config import Hyperparameters
from app.data.loading import (
    Quarantine,
    TrainDataset,
    choose_indices,
    read_or_set_aside,
)
from app.data.rid import RidDataset
from app.data.sample import BadFile
from app.data.transforms import TrainTransform
from app.errors import DataError


@dataclass
class Datasets:
    """The samples of a run.

    Attributes:
        train: Training samples by key.
        val: Whole validation images.
        quarantine: Bad files met so far.
    """

    train: TrainDataset
    val: RidDataset
    quarantine: Quarantine

    def read_gsd_m(self) -> float:
        """Ground sampling distance of the first training sample that can be read."""
        reader, bad_files = self.train.reader, list[BadFile]()
        for index in self.train.indices:
            sample = read_or_set_aside(reader, index, bad_files)
            if sample is not None:
                return sample["gsd_m"]
        raise DataError(f"no training sample can be read: {bad_files[0].reason}")

    def identify(self) -> dict[str, Any]:
        """What must be equal for a run to go on from another's checkpoint."""
        sample_ids = [self.train.reader.sample_ids[index] for index in self.train.indices]
        digest = hashlib.sha256("\n".join(sample_ids).encode()).hexdigest()
        return {"num_train": len(sample_ids), "train_samples_sha256": digest[:16]}

    def describe(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            "num_train": len(self.train),
            "num_val": len(self.val),
            "quarantined": self.quarantine.to_json(),
        }


def open_datasets(rid_dir: Path, hyperparameters: Hyperparameters) -> Datasets:
    """The training and validation samples of a RID directory.

    Raises:
        DataError: If the directory is not RID, or too much of it is bad.
    """
    fold = hyperparameters.rid_fold
    train_reader = RidDataset(rid_dir, "train", fold)
    val_reader = RidDataset(rid_dir, "val", fold)
    missing = [*train_reader.missing, *val_reader.missing]
    num_listed = len(train_reader) + len(val_reader) + len(missing)
    quarantine = Quarantine("rid", num_listed, hyperparameters.max_bad_fraction)
    quarantine.add(missing)
    indices = choose_indices(len(train_reader), hyperparameters.max_samples, hyperparameters.seed)
    transform = TrainTransform(hyperparameters.crop_size_px)
    train_dataset = TrainDataset(train_reader, indices, transform, hyperparameters.seed)
    return Datasets(train_dataset, val_reader, quarantine)
