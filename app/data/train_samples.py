"""Training samples by key: random draws, and what takes the place of files that cannot be read.

A training sample depends on (seed, epoch, its number in the epoch) alone. So it is the same with 0
or 8 workers, and a run that starts in the middle of an epoch sees exactly what it would have seen.
"""

from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
from torch.utils.data import Dataset

from app.base.errors import SampleError
from app.data.new_ground import is_ground, lay_on_ground, wants_ground
from app.data.order import SampleKey, TrainSource
from app.data.reader import TrainReader
from app.data.sample import BadFile, BadFiles, Sample
from app.data.transforms import TrainTransform

_MAX_REPLACEMENTS: Final = 20
# Windows that are tried as ground; many show too many roofs of their own.
_MAX_GROUNDS: Final = 4

Window = TypeVar("Window")
Made = TypeVar("Made")
MadeOut = TypeVar("MadeOut", covariant=True)


class Transform(Protocol[Window, MadeOut]):
    """What is made of photos for training: a window of each, and of these a sample."""

    def cut(
        self, reader: TrainReader, index: int, per_side: int, rng: np.random.Generator
    ) -> Window:
        """A window of one photo; as TrainTransform.cut."""

    def compose(self, windows: Sequence[Window], rng: np.random.Generator) -> MadeOut:
        """A sample of a square number of windows; as TrainTransform.compose."""


class KeyedSamples(Dataset[tuple[Made | None, BadFiles]], Generic[Window, Made]):
    """Transformed samples by key; a bad file's place is taken by another sample of its dataset.

    The sample is None if several replacements in a row were bad, too.

    Args:
        sources: Where samples come from.
        transform: Applied to every sample.
        seed: First ingredient of every random draw.
    """

    def __init__(
        self, sources: Sequence[TrainSource], transform: Transform[Window, Made], seed: int
    ) -> None:
        self.sources = list(sources)
        self.transform = transform
        self.seed = seed

    def __getitem__(self, key: SampleKey) -> tuple[Made | None, BadFiles]:
        sample, _, bad_files = self.look_at(key)
        return sample, bad_files

    def look_at(self, key: SampleKey) -> tuple[Made | None, Sequence[Window], BadFiles]:
        """A sample, and the windows that it is made of in their own light."""
        rng = np.random.default_rng((self.seed, key.epoch, key.draw))
        bad_files: BadFiles = {}
        found = self._find_instead(key, rng, bad_files)
        if found is not None:
            return self.transform.compose(found, rng), found, bad_files
        source = self.sources[key.source]
        windows = [
            self._cut(source, index, source.per_side, rng, bad_files) for index in key.indices
        ]
        # An error raised in a worker would come out as a traceback: reasons are returned instead.
        found = [window for window in windows if window is not None]
        complete = len(found) == len(windows)
        sample = self.transform.compose(found, rng) if complete else None
        return sample, found, bad_files

    def _find_instead(
        self,
        key: SampleKey,  # noqa: ARG002
        rng: np.random.Generator,  # noqa: ARG002
        bad_files: BadFiles,  # noqa: ARG002
    ) -> list[Window] | None:
        """Windows that a sample is made of in place of its own; None for its own."""
        return None

    def _cut(
        self,
        source: TrainSource,
        index: int,
        per_side: int,
        rng: np.random.Generator,
        bad_files: BadFiles,
    ) -> Window | None:
        for _ in range(_MAX_REPLACEMENTS):
            try:
                return self.transform.cut(source.reader, index, per_side, rng)
            except SampleError as error:
                bad_files.setdefault(source.reader.name, []).append(BadFile.of(error))
            index = _draw_index(source, rng)
        return None


def _draw_index(source: TrainSource, rng: np.random.Generator) -> int:
    """Any photo of a dataset, or part of a large one."""
    number = int(rng.integers(source.num_photos))
    return number if source.indices is None else int(source.indices[number])


class TrainDataset(KeyedSamples[Sample, Sample]):
    """Training samples that are made where they are read.

    Args:
        sources: Where samples come from.
        transform: Applied to every sample.
        seed: First ingredient of every random draw.
        new_ground_fraction: Share of the samples with little known ground whose roofs are laid onto
            ground of another dataset, or of the same one where there is no other.
    """

    transform: TrainTransform

    def __init__(
        self,
        sources: Sequence[TrainSource],
        transform: TrainTransform,
        seed: int,
        new_ground_fraction: float = 0.0,
    ) -> None:
        super().__init__(sources, transform, seed)
        self.new_ground_fraction = new_ground_fraction

    def _find_instead(
        self, key: SampleKey, rng: np.random.Generator, bad_files: BadFiles
    ) -> list[Sample] | None:
        if self.new_ground_fraction > 0 and rng.random() < self.new_ground_fraction:
            laid = self._lay(key, rng, bad_files)
            return None if laid is None else [laid]
        return None

    def _lay(self, key: SampleKey, rng: np.random.Generator, bad_files: BadFiles) -> Sample | None:
        """A window with the roofs of a sample on other ground; None where they have enough.

        Each roof is cut out whole, not as a part of a window with others.
        """
        background = self.transform.background_label
        source = self.sources[key.source]
        first, *others = key.indices
        window = self._cut(source, first, 1, rng, bad_files)
        if window is None or not wants_ground(window, background):
            return None
        ground = self._find_ground(key.source, rng, bad_files)
        if ground is None:
            return None
        laid = lay_on_ground(window, ground, background, rng)
        for index in others:
            window = self._cut(source, index, 1, rng, bad_files)
            if window is not None and wants_ground(window, background):
                laid = lay_on_ground(window, laid, background, rng)
        return None if laid is ground else laid

    def _find_ground(
        self, number: int, rng: np.random.Generator, bad_files: BadFiles
    ) -> Sample | None:
        """A window of another dataset onto which roofs can be laid; None if none was found."""
        others = [one for i, one in enumerate(self.sources) if i != number] or self.sources
        for _ in range(_MAX_GROUNDS):
            source = others[int(rng.integers(len(others)))]
            ground = self._cut(source, _draw_index(source, rng), 1, rng, bad_files)
            if ground is not None and is_ground(ground, self.transform.background_label):
                return ground
        return None
