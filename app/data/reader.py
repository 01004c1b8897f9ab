"""What every reader of a dataset offers; nothing that uses one asks which it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from app.base.dataset_names import DatasetName
from app.base.tasks import TaskName
from app.data.height_scale import HeightScale
from app.data.sample import BadFeature, BadFile, Sample
from app.settings.hyperparameters import Hyperparameters

Item = TypeVar("Item")

Split = Literal["train", "val", "test", "all"]


class Reader(Protocol):
    """The photos of one split of a dataset, with their labels.

    A reader can be sent to another process, and opens its files there.
    """

    @property
    def name(self) -> DatasetName:
        """Key of the dataset in settings and results."""

    @property
    def title(self) -> str:
        """What messages call it."""

    @property
    def labels(self) -> Mapping[TaskName, tuple[str, ...]]:
        """The class names it can teach, per task; a task it does not label is absent."""

    @property
    def sample_ids(self) -> Sequence[str]:
        """Names of the samples, by index."""

    @property
    def num_files(self) -> int:
        """Number of listed files, missing or not; max_bad_fraction is a share of it."""

    @property
    def missing(self) -> Sequence[BadFile]:
        """Listed files that are absent; they are not among the samples."""

    @property
    def bad_features(self) -> Sequence[BadFeature] | None:
        """Shapes set aside in all of its folder; None where labels are no shapes."""

    def __len__(self) -> int:
        """How many samples there are."""

    def extent_m(self, index: int) -> tuple[float, float] | None:
        """Height and width of a sample in metres, found without reading its pixels.

        None where it cannot be told; what cannot be read is found out when it is.
        """

    def __getitem__(self, index: int) -> Sample:
        """A whole sample at its own ground sampling distance.

        Raises:
            SampleError: If one of its files cannot be used.
        """


class TrainReader(Reader, Protocol):
    """A reader that can be trained on."""

    @property
    def span_m(self) -> float:
        """Smallest side of its photos, metres."""

    @property
    def assumed_scale(self) -> str:
        """What was taken for granted of its photos' scale, in few words; empty if nothing."""

    @property
    def height_scale(self) -> HeightScale | None:
        """What the settings say about the heights of its files; None where they hold none."""

    def stored_labels(self, index: int) -> Mapping[TaskName, npt.NDArray[np.float32]]:
        """Label values as the files hold them, for checks, where a Sample holds something else.

        Args:
            index: Which sample.

        Returns:
            "depth": (H, W) in height_scale's unit, impossible heights among them. "lines":
            (C, H, W) 0 to 1, as drawn. Neither, where a Sample holds what the files do.

        Raises:
            SampleError: If one of its files cannot be used.
        """

    def draw(self, index: int, span_m: float, rng: np.random.Generator) -> Sample:
        """A cut-out at least span_m wide, or the whole sample, at its own sampling distance.

        Args:
            index: Which sample.
            span_m: Metres that the caller will use of it.
            rng: Draws the place where the photo is much larger.

        Raises:
            SampleError: If one of its files cannot be used.
        """

    def pass_order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """(len,) indices in which one pass visits the samples; some datasets prefer some."""

    def eval_view(self, max_samples: int | None) -> Reader:
        """The samples to validate on: always the same ones; most datasets validate on all.

        Args:
            max_samples: How many will be used at most; None is all.
        """


@dataclass(frozen=True)
class Release:
    """How large a published dataset is, for plans that are made without it.

    Attributes:
        num_train: Samples to train on.
        num_val: Samples to validate on.
        span_m: Smallest side of its photos, metres.
    """

    num_train: int
    num_val: int
    span_m: float


class ReaderRequest(NamedTuple):
    """What to read of a dataset, and how.

    Attributes:
        root: The dataset's folder.
        split: Which samples.
        hyperparameters: Settings of the run.
        scratch_dir: Where an index may be kept for the next start; not below root.
    """

    root: Path
    split: Split
    hyperparameters: Hyperparameters
    scratch_dir: Path


class DatasetReader(TrainReader, Protocol):
    """The reader of one of the datasets, opened with the settings that concern it."""

    @classmethod
    def open(cls, request: ReaderRequest) -> Self:
        """The reader of a split.

        Raises:
            DataError: If the folder is not what the dataset's release looks like.
        """

    @classmethod
    def release(cls, hyperparameters: Hyperparameters) -> Release:
        """What the published dataset holds, with the splits that the settings choose."""


def spread(items: Sequence[Item], max_items: int | None) -> Sequence[Item]:
    """At most so many, evenly spread over all; None is all."""
    if max_items is None or max_items >= len(items):
        return items
    return [items[number * len(items) // max_items] for number in range(max_items)]
