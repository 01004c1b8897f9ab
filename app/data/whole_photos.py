"""Code shared by readers of photos that are no larger than a training window."""

from abc import abstractmethod
from typing import Self

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from app.data.sample import Sample


class WholePhotos(Dataset[Sample]):
    """Photos that are read whole, each once in a pass, and all validated on.

    Attributes:
        assumed_scale: What was taken for granted of their scale; empty if nothing.
    """

    assumed_scale: str = ""

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    def draw(self, index: int, span_m: float, rng: np.random.Generator) -> Sample:  # noqa: ARG002
        """The whole sample, as TrainReader.draw allows."""
        return self[index]

    def pass_order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """(len,) indices in which one pass visits the samples: each once, in drawn order."""
        return rng.permutation(len(self))

    def eval_view(self, max_samples: int | None) -> Self:  # noqa: ARG002
        """All samples."""
        return self
