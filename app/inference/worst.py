"""Which photos a model does worst on, found while all of them are scored."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.base.dataset_names import DatasetName
from app.data.loading import EvalDataset
from app.inference.scoring import Scores
from app.metrics.definitions import MetricValue

# Shares from 0 to 1, of each task one; a metric that a photo does not define counts for nothing.
_SHARES: Final = {"segments/roof_iou": "roof IoU", "lines/f1_3px": "line F1 at 3 px"}
# An error of so much halves what a photo's heights count for.
_HALF_SCORE_M: Final = 1.0
SCORE_WORDS: Final = (
    "the mean of roof IoU, line F1 at 3 px, and 1 / (1 + mean error of heights in metres), as far "
    "as a photo's labels tell them"
)


@dataclass(frozen=True)
class PhotoScore:
    """How well a model does on a photo.

    Attributes:
        dataset: Its dataset.
        index: Its place in the dataset.
        score: From 0 to 1, as SCORE_WORDS says.
        words: What the score is made of.
    """

    dataset: DatasetName
    index: int
    score: float
    words: str


class WorstPhotos:
    """Takes the sums apart by photo, while they grow.

    Args:
        scores: The sums, before the first photo.
        datasets: What is scored, in the order of `score_datasets`.
    """

    def __init__(self, scores: Scores, datasets: Mapping[DatasetName, EvalDataset]) -> None:
        self._scores = scores
        self._places = iter(
            [(name, index) for name, dataset in datasets.items() for index in range(len(dataset))]
        )
        self._before = {name: metrics.state() for name, metrics in scores.metrics.items()}
        self._found: list[PhotoScore] = []

    def take_next(self) -> None:
        """Take in the next photo, whether it could be read or not."""
        name, index = next(self._places)
        state = self._scores.metrics[name].state()
        of_photo = self._scores.open_metrics()
        of_photo.load_state(state - self._before[name])
        self._before[name] = state
        found = _score(of_photo.compute("val", name))
        if found is not None:
            self._found.append(PhotoScore(name, index, *found))

    def worst(self, number: int) -> list[PhotoScore]:
        """The photos with the lowest scores, the worst first."""
        return sorted(self._found, key=lambda photo: photo.score)[:number]


def _score(values: Mapping[str, MetricValue]) -> tuple[float, str] | None:
    """Score of a photo, and its parts in words; None where nothing of it is labelled."""
    parts: list[float] = []
    words: list[str] = []
    for name, title in _SHARES.items():
        value = values[f"val/{name}"].value
        if value is not None:
            parts.append(value)
            words.append(f"{title} {value:.2f}")
    error_m = values["val/depth/mae_m"].value if "val/depth/mae_m" in values else None
    if error_m is not None:
        parts.append(_HALF_SCORE_M / (_HALF_SCORE_M + error_m))
        words.append(f"heights {error_m:.2f} m off")
    return (statistics.fmean(parts), ", ".join(words)) if parts else None
