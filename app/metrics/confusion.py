"""What a confusion matrix says class by class: shared by segments and superstructures."""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from app.base.tasks import Task
from app.metrics.sums import Counts, Sums, ratio, round_for_exact_sum, to_counts

Values = dict[str, tuple[float | None, int]]

# IoUs of images are rounded to 2^-30: a float64 adds them exactly over 8 million images.
_IOU_BITS: Final = 30


class ImageIous:
    """IoUs of single images, added up; RID's evaluation takes their mean.

    Every image counts, also one without any object. In an image, a class (background too) has an
    IoU if its target or prediction holds it, 0 if only the prediction does; the image has the mean
    of these.

    RID knows the class of every pixel. Other datasets do not, so images without a known pixel are
    left out, and images with a label that says nothing about classes (some roof). An image of
    background alone may come from a dataset with such labels: it counts only if some image shows a
    class and no image holds such a label.

    Source: github.com/TUMFTM/RID, utils.py (`metrics_from_confusion_matrix`: TP / (TP + FP + FN),
    NaN for a class in neither, `nanmean` over the classes) and model_evaluation.py
    (`evaluate_model_predictions`: one confusion matrix per image).

    Args:
        task: A task of kind "classes".
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        # For images that show a class, then for those of background alone: row 0 sums of IoUs,
        # row 1 numbers of images; a column per class, the last for the mean over the classes of an
        # image.
        self._sums: Sums = np.zeros((2, 2, task.num_classes + 1), np.float64)
        self._num_vague = 0

    def add(self, label_counts: Counts) -> None:
        """Count images, by the (N, num_labels, num_classes) of `count_labels`."""
        for counts in label_counts:
            if counts[list(self._task.vague_labels)].any():
                self._num_vague += 1
                continue
            confusion = resolve_labels(self._task, counts)
            num_target = confusion.sum(axis=1)
            if not num_target.any():
                continue
            is_background = int(not num_target[: self._task.background_class].any())
            hits = confusion.diagonal()
            num_union = num_target + confusion.sum(axis=0) - hits
            occurs = num_union > 0
            ious = hits / np.maximum(num_union, 1)
            values = torch.from_numpy(np.append(ious, ious[occurs].mean()))
            self._sums[is_background, 0] += round_for_exact_sum(values, _IOU_BITS).numpy()
            self._sums[is_background, 1] += np.append(occurs, True)

    def state(self) -> Sums:
        """(4 * (num_classes + 1) + 1,) float64; states may be added."""
        return np.append(self._sums, self._num_vague)

    def load_state(self, sums: Sums) -> None:
        """Replace all sums by those of a state."""
        self._sums = sums[:-1].reshape(self._sums.shape).copy()
        self._num_vague = int(sums[-1])

    def values(self) -> Values:
        """`per_image_miou` and `per_image_iou_<class>`."""
        names = [f"per_image_iou_{name}" for name in self._task.class_names]
        sums, of_background = self._sums
        if sums.any() and not self._num_vague:
            sums = sums + of_background
        return {
            name: (ratio(total, num_images), int(num_images))
            for name, total, num_images in zip([*names, "per_image_miou"], *sums, strict=True)
        }


def count_labels(task: Task, prediction: Tensor, target: Tensor) -> Counts:
    """How often each label meets each prediction, image by image.

    Args:
        task: A task of kind "classes".
        prediction: (N, H, W) int64, classes.
        target: (N, H, W) int64 on the same device, labels of the task; others are unknown.

    Returns:
        (N, num_labels, num_classes).
    """
    shape = (len(target), task.num_labels, task.num_classes)
    images = torch.arange(len(target), device=target.device)[:, None, None]
    cells = (images * task.num_labels + target) * task.num_classes + prediction
    is_known = target < task.num_labels
    return to_counts(torch.bincount(cells[is_known], minlength=int(np.prod(shape)))).reshape(shape)


def resolve_labels(task: Task, label_counts: Counts) -> Counts:
    """The confusion matrix of single classes, from counts of labels that may admit several.

    A label that admits two directions counts as the one that was predicted, else as the one nearer
    to the prediction; where no direction was predicted, half of its pixels count as each. A label
    that admits background or flat as well as directions says nothing about classes.

    Args:
        task: A task of kind "classes".
        label_counts: (num_labels, num_classes) pixels, row the label, column the prediction.

    Returns:
        (num_classes, num_classes) pixels, row the class, column the prediction.
    """
    confusion = label_counts[: task.num_classes].copy()
    for label, classes in enumerate(task.label_sets):
        if len(classes) != 2:
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
