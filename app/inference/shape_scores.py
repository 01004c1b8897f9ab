"""How well roofs as shapes are found from a network's predictions, photo by photo."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch

from app.base.dataset_names import DatasetName
from app.base.tasks import AzimuthBins, Task, find_task
from app.base.window import Window
from app.data.photos import Photo
from app.inference.blending import to_averages
from app.inference.evidence import PhotoEvidence
from app.inference.layers import LayerMaker
from app.inference.pixel_measures import find_pixel_errors_deg, measure_lengths_m
from app.inference.tiles import Block, SeenBlock
from app.inference.true_roofs import roofs_of_mask, roofs_of_shapes
from app.metrics.matched import MatchedPlanes
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


class RoofSearch(NamedTuple):
    """How the roofs of a photo are found.

    Attributes:
        maker: Makes of predictions what rasters hold, and so what roofs are found in.
        find: Finds them there.
    """

    maker: LayerMaker
    find: FindRoofs


class ShapeScores:
    """Sums of metrics of shapes by dataset.

    Args:
        tasks: Tasks of the network.
        names: Datasets to be scored.
        search: Finds the roofs of a photo.
    """

    def __init__(
        self, tasks: Sequence[Task], names: Sequence[DatasetName], search: RoofSearch
    ) -> None:
        self.segments = find_task("segments", tasks)
        self.azimuth_bins = cast("AzimuthBins", max(1, self.segments.azimuth_bins))
        self.search = search
        self.metrics = {name: ShapeMetrics() for name in names}
        self._matched: list[MatchedPlanes] = []

    @property
    def num_matched(self) -> int:
        """How many found planes have a true partner."""
        return sum(planes.num_planes for planes in self._matched)

    def matched(self) -> MatchedPlanes:
        """These planes, of all datasets together, in the order of their photos."""
        return MatchedPlanes.all_of(self._matched)

    def keep(self, planes: MatchedPlanes) -> None:
        """Note the planes of a photo."""
        self._matched.append(planes)

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
        self._evidence = PhotoEvidence.empty(
            (photo.height_px, photo.width_px), scores.search.maker.layers
        )

    def add(self, block: Block) -> None:
        """Take in a rectangle."""
        averages = {name: to_averages(name, logits) for name, logits in block.logits.items()}
        made = self._scores.search.maker.make(SeenBlock(block.window, averages, None))
        self._evidence.put(block.window, made)

    def close(self) -> None:
        """Find the roofs and count them."""
        photo, segments = self._photo, self._scores.segments
        size = photo.height_px, photo.width_px
        found = self._scores.search.find(
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
        self._scores.keep(self._metrics.update(true, found, photo.gsd_m, measures))
