"""What a confusion matrix says class by class: shared by segments and superstructures."""

import numpy as np

from app.metrics.sums import Counts, ratio
from app.tasks import Task

Values = dict[str, tuple[float | None, int]]


def resolve_labels(task: Task, label_counts: Counts) -> Counts:
    """The confusion matrix of single classes, from counts of labels that may admit several.

    A label that admits two directions counts as the one that was predicted, else as the one nearer
    to the prediction; where no direction was predicted, half of its pixels count as each. A label
    that admits background or flat as well as directions says nothing about classes.

    Args:
        task: Of kind "classes".
        label_counts: (num_labels, num_classes) pixels, row the label, column the prediction.

    Returns:
        (num_classes, num_classes) pixels, row the class, column the prediction.
    """
    confusion = label_counts[: task.num_classes].copy()
    for label, classes in enumerate(task.label_sets):
        if len(classes) != 2 or max(classes) >= task.azimuth_bins:
            continue
        first, second = classes
        for prediction, count in enumerate(label_counts[label]):
            if prediction >= task.azimuth_bins:
                confusion[first, prediction] += count // 2
                confusion[second, prediction] += count - count // 2
                continue
            # Never a tie: the middle of two neighbours is half a bin from any bin.
            distances = [_bins_apart(task, one, prediction) for one in classes]
            confusion[classes[int(np.argmin(distances))], prediction] += count
    return confusion


def class_values(task: Task, confusion: Counts) -> Values:
    """`miou`, `miou_no_background` and `iou_<class>`; None where only background occurs."""
    hits = confusion.diagonal()
    num_target = confusion.sum(axis=1)
    num_union = num_target + confusion.sum(axis=0) - hits
    occurs = find_occurring(task, confusion)
    occurs_as_object = occurs.copy()
    occurs_as_object[task.background_class] = False
    ious = hits / np.maximum(num_union, 1)
    values: Values = {
        "miou": mean_over(ious, occurs),
        "miou_no_background": mean_over(ious, occurs_as_object),
    }
    for class_id, class_name in enumerate(task.class_names):
        value = float(ious[class_id]) if occurs[class_id] else None
        values[f"iou_{class_name}"] = (value, int(num_target[class_id]))
    return values


def find_occurring(task: Task, confusion: Counts) -> np.ndarray:
    """(num_classes,) bool: the classes in the targets; none where that is background alone.

    Labels of background and of "some roof" alone cannot tell one class from another.
    """
    occurs: np.ndarray = confusion.sum(axis=1) > 0
    return occurs & occurs[: task.background_class].any()


def mean_over(values: np.ndarray, chosen: np.ndarray) -> tuple[float | None, int]:
    """The mean of the chosen values, and how many they are."""
    num_chosen = int(chosen.sum())
    return ratio(values[chosen].sum(), num_chosen), num_chosen


def _bins_apart(task: Task, one: int, other: int) -> int:
    steps = (one - other) % task.azimuth_bins
    return min(steps, task.azimuth_bins - steps)
