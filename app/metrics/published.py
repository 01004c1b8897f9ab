"""Scores by the protocols that others publish theirs by, in words.

RID's evaluation averages over images; AIRS pools the pixels of all tiles; lines are scored by
completeness, correctness and quality, each within a buffer around the other lines.

Source: evaluation code of RID (TUMFTM/RID); AIRS, Chen et al. 2019; for lines Heipke et al. 1997,
Evaluation of Automatic Road Extraction. Alidoost et al. 2019 report such measures of lines; how
wide their buffer was is not known to us.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from app.base.dataset_names import DatasetName, title_of
from app.base.tasks import LINE_KINDS
from app.metrics.by_dataset import start_of_names

# One of `app.metrics.definitions.LINE_TOLERANCES_PX`.
_BUFFER_PX: Final = 3

# Metrics of one dataset by name, `<task>/<metric>`; None, or absent, where one is not defined.
Values = Mapping[str, float | None]


def describe_rid(values: Values) -> str | None:
    """RID's own measure; None where it is not defined."""
    miou = values.get("segments/per_image_miou")
    return None if miou is None else f"mIoU {miou:.3f}, mean over images of each image's mean"


def describe_airs(values: Values) -> str | None:
    """What AIRS is scored by: roofs, all pixels pooled; None where it is not defined."""
    names = {"IoU": "iou", "precision": "precision", "recall": "recall", "F1": "f1"}
    found = {words: values.get(f"segments/roof_{name}") for words, name in names.items()}
    if found["IoU"] is None:
        return None
    shown = ", ".join(f"{words} {_form(value)}" for words, value in found.items())
    return f"roofs, pixels of all photos pooled: {shown}"


def describe_roofline(values: Values) -> str | None:
    """What lines are scored by, all kinds together and each; None where nothing is defined."""
    parts = []
    for words, start in (("all", ""), *((kind, f"{kind}_") for kind in LINE_KINDS)):
        correctness = values.get(f"lines/{start}precision_{_BUFFER_PX}px")
        completeness = values.get(f"lines/{start}recall_{_BUFFER_PX}px")
        if completeness is not None:
            quality = find_quality(completeness, correctness)
            numbers = (completeness, correctness, quality)
            parts.append(f"{words} {', '.join(_form(number) for number in numbers)}")
    if not parts:
        return None
    return f"completeness, correctness, quality within {_BUFFER_PX} px: {'; '.join(parts)}"


def find_quality(completeness: float, correctness: float | None) -> float | None:
    """Share of what is a line, in truth or by prediction, that is one by both.

    Args:
        completeness: Share of the true lines that are found.
        correctness: Share of the found lines that are true; None where nothing is found.

    Returns:
        None where correctness is None.
    """
    if correctness is None:
        return None
    either = completeness - completeness * correctness + correctness
    return completeness * correctness / either if either > 0 else 0.0


_DESCRIBE: Final[Mapping[str, Callable[[Values], str | None]]] = {
    "rid": describe_rid,
    "airs": describe_airs,
    "roofline": describe_roofline,
}


def describe_published(
    values: Mapping[str, float | None], split: str, datasets: Sequence[DatasetName]
) -> list[str]:
    """Lines with the published measures of those datasets that have any; empty if none does.

    Args:
        values: Metrics by name, `<split>/<task>/<metric>`, and `<split>/<dataset>/<task>/<metric>`
            where there are several datasets.
        split: The first part of their names.
        datasets: What was scored.
    """
    lines = []
    for name in datasets:
        start = start_of_names(split, name, datasets)
        own = {
            full.removeprefix(start): value
            for full, value in values.items()
            if full.startswith(start)
        }
        words = _DESCRIBE[name](own) if name in _DESCRIBE else None
        if words is not None:
            lines.append(f"  {title_of(name)}: {words}")
    return ["by the published protocols:", *lines] if lines else []


def _form(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
