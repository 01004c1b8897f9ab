"""Code shared by readers of photos that are no larger than a training window."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from app.base.tasks import TaskName
from app.data.height_scale import HeightScale
from app.data.sample import Sample


class WholePhotos(Dataset[Sample]):
    """Photos that are read whole, each once in a pass, and all validated on.

    Attributes:
        assumed_scale: What was taken for granted of their scale; empty if nothing.
        height_scale: None, unless the dataset has heights.
        bad_features: None: labels are pixels.
    """

    assumed_scale: str = ""
    height_scale: HeightScale | None = None
    bad_features: None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

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
