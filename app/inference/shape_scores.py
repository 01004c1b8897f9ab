"""How well roofs as shapes are found from a network's predictions, photo by photo."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, cast

import torch

from app.base.dataset_names import DatasetName
from app.base.tasks import IGNORE_INDEX, LINE_KINDS, AzimuthBins, Task, find_task
from app.base.window import Window
from app.data.photos import Photo
from app.inference.evidence_blocks import PhotoEvidence, find_evidence
from app.inference.pixel_measures import find_pixel_errors_deg, measure_lengths_m
from app.inference.tiles import Block
from app.inference.true_roofs import roofs_of_mask, roofs_of_shapes
from app.metrics.roofs import FoundRoofs, PhotoMeasures, ShapeMetrics


class PhotoToSearch(NamedTuple):
    """A photo whose roofs are to be found.

    Attributes:
        name: Its name.
        evidence: What the network says of it.
        gsd_m: Metres per pixel.
        azimuth_bins: Directions that its classes tell apart; 1 is only roof or not.
    """

    name: str
    evidence: PhotoEvidence
    gsd_m: float
    azimuth_bins: AzimuthBins


FindRoofs = Callable[[PhotoToSearch], FoundRoofs]


def with_taught_lines(find_roofs: FindRoofs, taught: Collection[str]) -> FindRoofs:
    """Roofs found without the lines of which a network says something that nobody taught it.

    Args:
        find_roofs: Finds the roofs.
        taught: Kinds of lines that the network was trained on.
    """
    untaught = [number for number, kind in enumerate(LINE_KINDS) if kind not in taught]

    def find(photo: PhotoToSearch) -> FoundRoofs:
        if photo.evidence.lines is not None:
            photo.evidence.lines[untaught] = IGNORE_INDEX
        return find_roofs(photo)

    return find


class ShapeScores:
    """Sums of metrics of shapes by dataset.

    Args:
        tasks: Tasks of the network.
        names: Datasets to be scored.
        find_roofs: Finds the roofs of a photo.
    """

    def __init__(
        self, tasks: Sequence[Task], names: Sequence[DatasetName], find_roofs: FindRoofs
    ) -> None:
        self.segments = find_task("segments", tasks)
        self.azimuth_bins = cast("AzimuthBins", max(1, self.segments.azimuth_bins))
        self.find_roofs = find_roofs
        self.metrics = {name: ShapeMetrics() for name in names}

    def pooled(self) -> ShapeMetrics:
        """The sums of all datasets together."""
        pooled = ShapeMetrics()
        pooled.load_state(torch.stack([part.state() for part in self.metrics.values()]).sum(0))
        return pooled


class ShapesOfPhoto:
    """Collects the predictions of a photo, and scores the roofs that are found in them.

    Args:
        scores: Where the photo counts.
        name: Its dataset.
        photo: The photo.
    """

    def __init__(self, scores: ShapeScores, name: DatasetName, photo: Photo) -> None:
        self._scores = scores
        self._metrics = scores.metrics[name]
        self._photo = photo
        self._evidence: PhotoEvidence | None = None

    def add(self, block: Block) -> None:
        """Take in a rectangle."""
        packed = find_evidence(block, self._scores.segments)
        if self._evidence is None:
            size = self._photo.height_px, self._photo.width_px
            self._evidence = PhotoEvidence.empty(size, packed)
        self._evidence.put(packed)

    def close(self) -> None:
        """Find the roofs and count them."""
        assert self._evidence is not None
        photo, segments = self._photo, self._scores.segments
        size = photo.height_px, photo.width_px
        found = self._scores.find_roofs(
            PhotoToSearch(photo.sample_id, self._evidence, photo.gsd_m, self._scores.azimuth_bins)
        )
        targets = photo.read_targets(Window(0, 0, *size))
        if photo.shapes is None:
            true = roofs_of_mask(targets["segments"].numpy(), segments, photo.gsd_m)
        else:
            true = roofs_of_shapes(photo.shapes, size, photo.gsd_m)
        measures = PhotoMeasures(
            measure_lengths_m(targets, photo.shapes, found, photo.gsd_m),
            find_pixel_errors_deg(true, self._evidence, segments.azimuth_bins),
        )
        self._metrics.update(true, found, photo.gsd_m, measures)
