"""IoUs of single images: worked out by hand, against NumPy and against torchmetrics."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from app.azimuth import BIN_NAMES
from app.metrics import SegmentsMetrics, SuperstructuresMetrics
from app.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF, Task, build_tasks, find_task

N, NNE, S, BACKGROUND, UNKNOWN = 0, 1, 8, BACKGROUND_CLASS, IGNORE_INDEX
SEGMENTS = find_task("segments")
SUPERSTRUCTURES = find_task("superstructures")
CLASS_NAMES = (*BIN_NAMES, "flat", "background")


def count(
    targets: list[list[int]], predictions: list[list[int]], task: Task = SEGMENTS
) -> SegmentsMetrics:
    metrics = SegmentsMetrics(task)
    one_hot = torch.nn.functional.one_hot(torch.tensor(predictions), task.num_classes)
    logits = 100.0 * one_hot.float().permute(0, 2, 1)[:, :, None]
    metrics.update(logits, torch.tensor(targets, dtype=torch.uint8)[:, None])
    return metrics


def test_two_images_by_hand() -> None:
    values = count(
        [[N, N, BACKGROUND, BACKGROUND], [N, S, S, BACKGROUND]],
        [[N, N, BACKGROUND, S], [N, N, S, BACKGROUND]],
    ).compute()
    # First image: N 1, background 1/2, S 0 since it is predicted. Second: N 1/2, S 1/2,
    # background 1.
    expected = {"N": 3 / 4, "S": 1 / 4, "background": 3 / 4}
    for name, iou in expected.items():
        assert values[f"per_image_iou_{name}"].value == iou
        assert values[f"per_image_iou_{name}"].support == 2
    assert values["per_image_miou"].value == pytest.approx((1 / 2 + 2 / 3) / 2, abs=1e-9)
    assert values["per_image_miou"].support == 2
    assert values["per_image_miou"].support_unit == "images"
    assert values["per_image_iou_E"].value is None
    # Over all pixels: N 3 of 4, S 1 of 3, background 2 of 3.
    assert values["miou"].value == pytest.approx((3 / 4 + 1 / 3 + 2 / 3) / 3)


@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param([BACKGROUND, BACKGROUND], id="background alone"),
        pytest.param([UNKNOWN, UNKNOWN], id="nothing known"),
        pytest.param([SOME_ROOF, BACKGROUND], id="no class of roof"),
    ],
)
def test_images_that_show_no_class_are_left_out(left_out: list[int]) -> None:
    alone = count([left_out], [[N, BACKGROUND]]).compute()
    names = ["per_image_miou", *(f"per_image_iou_{name}" for name in CLASS_NAMES)]
    assert {(alone[name].value, alone[name].support) for name in names} == {(None, 0)}
    beside = count([left_out, [N, BACKGROUND]], [[S, N], [N, BACKGROUND]]).compute()
    assert beside["per_image_miou"].value == 1.0
    assert beside["per_image_iou_background"].support == 1


def test_pixels_of_no_known_class_count_in_no_image() -> None:
    values = count([[N, UNKNOWN, SOME_ROOF, BACKGROUND]], [[N, S, S, BACKGROUND]]).compute()
    assert values["per_image_miou"].value == 1.0
    assert values["per_image_iou_S"].value is None


def test_a_label_of_two_directions_counts_as_the_one_predicted() -> None:
    task = build_tasks(8)[0]
    label = task.label_sets.index((0, 1))
    background = task.background_class
    values = count([[label, label, background]], [[0, 1, background]], task).compute()
    assert values["per_image_iou_N"].value == values["per_image_iou_NE"].value == 1.0


def make_images(num_classes: int) -> tuple[Tensor, Tensor]:
    """Logits and targets of images in which some classes do not occur."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, num_classes, 20, 24, generator=generator)
    target = torch.randint(0, num_classes, (5, 20, 24), generator=generator)
    for image in range(5):
        target[image][target[image] == image] = num_classes - 1
        logits[image, image] = -100.0
    logits += 3 * torch.nn.functional.one_hot(target, num_classes).permute(0, 3, 1, 2)
    target[1, :9] = UNKNOWN
    target[4] = UNKNOWN
    return logits, target


def test_against_numpy_and_torchmetrics() -> None:
    logits, target = make_images(9)
    metrics = SuperstructuresMetrics(SUPERSTRUCTURES)
    metrics.update(logits, target.to(torch.uint8))
    values = {name: metric.value for name, metric in metrics.compute().items()}

    by_image = np.full((4, 9), np.nan)
    for image, class_id in np.ndindex(4, 9):
        is_known = target[image].numpy() != UNKNOWN
        is_class = (target[image].numpy() == class_id) & is_known
        is_predicted = (logits[image].argmax(0).numpy() == class_id) & is_known
        if (is_class | is_predicted).any():
            by_image[image, class_id] = (is_class & is_predicted).sum() / (
                is_class | is_predicted
            ).sum()
    assert np.isnan(by_image).any()
    for class_id, name in enumerate(SUPERSTRUCTURES.class_names):
        expected = pytest.approx(np.nanmean(by_image[:, class_id]), abs=1e-9)
        assert values[f"per_image_iou_{name}"] == expected
    expected = np.nanmean(by_image, axis=1).mean()
    assert values["per_image_miou"] == pytest.approx(expected, abs=1e-9)

    # Its macro average, too, leaves out the classes that occur in neither.
    macro = MulticlassJaccardIndex(9, average="macro", ignore_index=UNKNOWN)
    of_images = [float(macro(logits[i].argmax(0)[None], target[i][None])) for i in range(4)]
    assert values["per_image_miou"] == pytest.approx(np.mean(of_images), rel=1e-6)


def test_sums_are_the_same_to_the_last_bit_in_any_order() -> None:
    logits, target = make_images(18)
    states = []
    for batches in ([[0, 1, 2, 3, 4]], [[4], [2], [0], [3], [1]], [[3, 1], [0, 4, 2]]):
        metrics = SegmentsMetrics(SEGMENTS)
        for batch in batches:
            metrics.update(logits[batch], target[batch].to(torch.uint8))
        states.append(metrics.state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
