"""What a model is judged by on photos held out: a row for each score, a column for each dataset.

The numbers are those of files that `evaluate --vectors` has written, each of one dataset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.base.dataset_names import title_of
from app.base.tasks import LINE_KINDS

_UNKNOWN: Final = "-"


@dataclass(frozen=True)
class HeldOutScore:
    """A score of the table.

    Attributes:
        name: Of the metric, without its split.
        words: What people call it.
        form: Format of the value.
        factor: What the value is multiplied by.
    """

    name: str
    words: str
    form: str = "{:.3f}"
    factor: float = 1


HELD_OUT: Final = (
    HeldOutScore("segments/roof_iou", "roof IoU"),
    HeldOutScore("planes/azimuth_error_deg", "azimuth error of planes, deg", "{:.1f}"),
    HeldOutScore("planes/azimuth_error_median_deg", "in the median, deg", "{:.1f}"),
    HeldOutScore("planes/azimuth_within_22_5_deg", "within 22.5 deg, %", "{:.0f}", 100),
    HeldOutScore("planes/recall", "planes found, %", "{:.0f}", 100),
    HeldOutScore("planes/pq", "plane PQ"),
    HeldOutScore("lines/f1_3px", "line F1 at 3 px"),
    *(HeldOutScore(f"lines/{kind}_f1_3px", f"{kind} F1 at 3 px") for kind in LINE_KINDS),
)


@dataclass(frozen=True)
class HeldOut:
    """The scores of one dataset.

    Attributes:
        dataset: Its name.
        split: Which of its photos.
        num_photos: How many.
        num_poses: In how many turns and flips each was asked.
        has_shapes: Whether planes were scored as shapes, too.
        metrics: By name without its split, each as the file has it, with its value, support and
            definition; those of HELD_OUT that have a value.
        is_drawn: Whether a program drew the photos.
    """

    dataset: str
    split: str
    num_photos: int
    num_poses: int
    has_shapes: bool
    metrics: Mapping[str, Mapping[str, Any]]
    is_drawn: bool = False

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "HeldOut":
        """The scores of a file that `evaluate` has written of one dataset.

        Raises:
            KeyError: If it is no such file; so do TypeError, ValueError and AttributeError say.
        """
        [(dataset, num_photos)] = document["num_samples"].items()
        split = document["split"]
        found = {one.name: document["metrics"].get(f"{split}/{one.name}") for one in HELD_OUT}
        metrics = {name: one for name, one in found.items() if one and one["value"] is not None}
        has_shapes = f"{split}/planes/pq" in document["metrics"]
        is_drawn = dataset in document.get("synthetic", ())
        return cls(dataset, split, num_photos, document["tta"], has_shapes, metrics, is_drawn)

    @property
    def title(self) -> str:
        """Heading of its column."""
        return f"{title_of(self.dataset, is_drawn=self.is_drawn)}, {self.split}"

    def format(self, score: HeldOutScore) -> str:
        """A score as text; a dash where it has no value."""
        found = self.metrics.get(score.name)
        return _UNKNOWN if found is None else score.form.format(score.factor * found["value"])


def tabulate(parts: Sequence[HeldOut]) -> list[list[str]]:
    """The table: a heading, the scores that have a value for any dataset, the number of photos."""
    known = [one for one in HELD_OUT if any(one.name in part.metrics for part in parts)]
    return [
        ["", *(part.title for part in parts)],
        *([one.words, *(part.format(one) for part in parts)] for one in known),
        ["photos", *(str(part.num_photos) for part in parts)],
    ]
