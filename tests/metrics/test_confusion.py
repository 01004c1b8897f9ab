"""IoUs of single images: worked out by hand, against NumPy and against torchmetrics."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from app.base.azimuth import BIN_NAMES
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF, Task, build_tasks, find_task
from app.metrics.segments import SegmentsMetrics
from app.metrics.superstructures import SuperstructuresMetrics
from tests.support.metrics import assert_sums_are_exact

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


PER_IMAGE = ["per_image_miou", *(f"per_image_iou_{name}" for name in CLASS_NAMES)]


@pytest.mark.parametrize(
    ("prediction", "miou", "iou_of_background"),
    [
        # Nothing found where nothing is: 1. A false N of 0 and 3/4 of the background: 3/8.
        pytest.param([BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND], 1.0, 1.0, id="right"),
        pytest.param([BACKGROUND, N, BACKGROUND, BACKGROUND], 3 / 8, 3 / 4, id="false alarm"),
    ],
)
def test_images_of_background_alone_count(
    prediction: list[int], miou: float, iou_of_background: float
) -> None:
    # Beside them N 1/2 and background 2/3, which is 7/12 for the image.
    values = count(
        [[BACKGROUND] * 4, [N, N, BACKGROUND, BACKGROUND]],
        [prediction, [N, BACKGROUND, BACKGROUND, BACKGROUND]],
    ).compute()
    assert values["per_image_miou"].value == pytest.approx((miou + 7 / 12) / 2, abs=1e-9)
    assert values["per_image_miou"].support == 2
    background = values["per_image_iou_background"]
    assert background.value == pytest.approx((iou_of_background + 2 / 3) / 2, abs=1e-9)
    assert values["per_image_iou_N"].support == 1 + (N in prediction)


@pytest.mark.parametrize(
    "left_out",
    [
        pytest.param([UNKNOWN, UNKNOWN, UNKNOWN], id="nothing known"),
        pytest.param([SOME_ROOF, BACKGROUND, UNKNOWN], id="no class of roof"),
        pytest.param([SOME_ROOF, SOME_ROOF, SOME_ROOF], id="some roof alone"),
        pytest.param([N, SOME_ROOF, BACKGROUND], id="some classes of roof"),
    ],
)
def test_images_of_unknown_classes_are_left_out(left_out: list[int]) -> None:
    alone = count([left_out], [[N, BACKGROUND, N]]).compute()
    assert {(alone[name].value, alone[name].support) for name in PER_IMAGE} == {(None, 0)}
    beside = count(
        [left_out, [N, BACKGROUND, BACKGROUND]], [[S, N, N], [N, BACKGROUND, BACKGROUND]]
    ).compute()
    assert beside["per_image_miou"].value == 1.0
    assert beside["per_image_iou_background"].support == 1


def test_background_alone_beside_some_roof_is_left_out() -> None:
    """A window of AIRS without roofs looks like a photo of RID without roofs."""
    airs = ([[BACKGROUND, BACKGROUND], [SOME_ROOF, BACKGROUND]], [[S, S], [S, S]])
    rid = ([[N, BACKGROUND], [BACKGROUND, BACKGROUND]], [[N, BACKGROUND], [S, S]])
    assert {count(*airs).compute()[name].value for name in PER_IMAGE} == {None}
    of_rid = count(*rid).compute()["per_image_miou"]
    assert (of_rid.value, of_rid.support) == (0.5, 2)
    pooled = SegmentsMetrics(SEGMENTS)
    pooled.load_state(count(*airs).state() + count(*rid).state())
    of_both = pooled.compute()["per_image_miou"]
    assert (of_both.value, of_both.support) == (1.0, 1)


def test_background_alone_tells_nothing_where_no_image_shows_a_class() -> None:
    values = count([[BACKGROUND, BACKGROUND]], [[S, BACKGROUND]]).compute()
    assert {(values[name].value, values[name].support) for name in PER_IMAGE} == {(None, 0)}


def test_roof_or_not_is_known_of_every_image_of_airs() -> None:
    task = build_tasks(1)[0]
    # Roof and background; background alone, half of it called roof: 0 and 1/2.
    values = count([[0, 1], [1, 1]], [[0, 1], [0, 1]], task).compute()
    assert values["per_image_miou"].value == pytest.approx((1 + 1 / 4) / 2, abs=1e-9)
    assert values["per_image_iou_roof"].value == 1 / 2


def test_pixels_of_which_nothing_is_known_count_in_no_image() -> None:
    values = count([[N, UNKNOWN, BACKGROUND]], [[N, S, BACKGROUND]]).compute()
    assert values["per_image_miou"].value == 1.0
    assert values["per_image_iou_S"].value is None


def test_a_label_of_two_directions_counts_as_the_one_predicted() -> None:
    task = build_tasks(8)[0]
    label = task.label_sets.index((0, 1))
    background = task.background_class
    values = count([[label, label, background]], [[0, 1, background]], task).compute()
    assert values["per_image_iou_N"].value == values["per_image_iou_NE"].value == 1.0


def make_images(num_classes: int) -> tuple[Tensor, Tensor]:
    """Logits and targets of images in which some classes do not occur.

    Of the last three images one shows background alone and is predicted so, one shows background
    alone, and nothing is known of one.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, num_classes, 20, 24, generator=generator)
    target = torch.randint(0, num_classes, (6, 20, 24), generator=generator)
    for image in range(6):
        target[image][target[image] == image] = num_classes - 1
        logits[image, image] = -100.0
    target[3:5] = num_classes - 1
    logits[3, -1] = 100.0
    logits += 3 * torch.nn.functional.one_hot(target, num_classes).permute(0, 3, 1, 2)
    target[1, :9] = UNKNOWN
    target[5] = UNKNOWN
    return logits, target


@pytest.mark.parametrize("name", ["segments", "superstructures"])
def test_against_rids_protocol_and_torchmetrics(
    name: Literal["segments", "superstructures"],
) -> None:
    task = find_task(name)
    logits, target = make_images(task.num_classes)
    metrics = {"segments": SegmentsMetrics, "superstructures": SuperstructuresMetrics}[name](task)
    metrics.update(logits, target.to(torch.uint8))
    values = {name: metric.value for name, metric in metrics.compute().items()}

    # As RID: a confusion matrix per image, TP / (TP + FP + FN) or NaN, and means that leave NaN
    # out: over the classes of an image, then over images.
    by_image = np.full((5, task.num_classes), np.nan)
    for image, class_id in np.ndindex(by_image.shape):
        is_known = target[image].numpy() != UNKNOWN
        is_class = (target[image].numpy() == class_id) & is_known
        is_predicted = (logits[image].argmax(0).numpy() == class_id) & is_known
        if (is_class | is_predicted).any():
            common = (is_class & is_predicted).sum()
            by_image[image, class_id] = common / (is_class | is_predicted).sum()
    assert np.isnan(by_image).any()
    assert np.nanmean(by_image[3]) == 1.0
    assert 0 < np.nanmean(by_image[4]) < 0.5
    for class_id, class_name in enumerate(task.class_names):
        expected = pytest.approx(np.nanmean(by_image[:, class_id]), abs=1e-9)
        assert values[f"per_image_iou_{class_name}"] == expected
    expected = np.nanmean(by_image, axis=1).mean()
    assert values["per_image_miou"] == pytest.approx(expected, abs=1e-9)

    # Its macro average, too, leaves out the classes that occur in neither.
    macro = MulticlassJaccardIndex(task.num_classes, average="macro", ignore_index=UNKNOWN)
    of_images = [float(macro(logits[i].argmax(0)[None], target[i][None])) for i in range(5)]
    assert values["per_image_miou"] == pytest.approx(np.mean(of_images), rel=1e-6)


def test_sums_are_the_same_to_the_last_bit_in_any_order() -> None:
    logits, target = make_images(18)
    assert_sums_are_exact(logits, target.to(torch.uint8))
