"""Code shared by readers of photos that are no larger than a training window."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from app.base.dataset_names import DatasetName
from app.base.tasks import TaskName
from app.data.height_scale import HeightScale
from app.data.kept_samples import KeptSamples, keep_samples
from app.data.reader import ReaderRequest
from app.data.sample import Sample


class WholePhotos(Dataset[Sample]):
    """Photos that are read whole, each once in a pass, and all validated on.

    Attributes:
        name: Key of the dataset in settings and results.
        sample_ids: Names of the samples, by index.
        assumed_scale: What was taken for granted of their scale; empty if nothing.
        height_scale: None, unless the dataset has heights.
        bad_features: None: labels are pixels.
    """

    name: ClassVar[DatasetName]
    sample_ids: Sequence[str]
    assumed_scale: str = ""
    height_scale: HeightScale | None = None
    bad_features: None = None
    _kept: KeptSamples | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    @abstractmethod
    def read(self, index: int) -> Sample:
        """One sample, whole, from its files.

        Raises:
            SampleError: If one of its files cannot be read or is unlike the dataset's files.
        """

    def keep(self, request: ReaderRequest) -> None:
        """Keep samples to train on once they are read, if all of them fit on the disk.

        Args:
            request: What the reader was opened for.
        """
        self._kept = keep_to_train(request, self.name, self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        """One sample, whole.

        Raises:
            SampleError: As `read`.
        """
        index = range(len(self))[index]  # IndexError, and negative indices, as of a list
        if self._kept is None:
            return self.read(index)
        return self._kept.get(index, partial(self.read, index))

    def stored_labels(self, index: int) -> Mapping[TaskName, npt.NDArray[np.float32]]:  # noqa: ARG002
        """None: its samples hold what its files do."""
        return {}

    def draw(self, index: int, span_m: float, rng: np.random.Generator) -> Sample:  # noqa: ARG002
        """The whole sample, as TrainReader.draw allows."""
        return self[index]

    def extent_m(self, index: int) -> tuple[float, float] | None:  # noqa: ARG002
        """As Reader.extent_m: not told."""
        return None

    def pass_order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """(len,) indices in which one pass visits the samples: each once, in drawn order."""
        return rng.permutation(len(self))

    def eval_view(self, max_samples: int | None) -> Self:  # noqa: ARG002
        """All samples."""
        return self


def keep_to_train(
    request: ReaderRequest, name: DatasetName, sample_ids: Sequence[str]
) -> KeptSamples | None:
    """Where a reader keeps the samples that are trained on; None of another split.

    Args:
        request: What the reader was opened for.
        name: The dataset.
        sample_ids: Names of what may be kept.
    """
    if request.split != "train":
        return None
    settings = request.hyperparameters.to_texts()
    identity = json.dumps([name, str(request.root.resolve()), settings, list(sample_ids)])
    return keep_samples(request.scratch_dir, identity, len(sample_ids))
