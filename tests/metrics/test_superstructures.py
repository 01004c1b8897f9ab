"""Superstructures metrics on tables small enough to count by hand, and against torchmetrics."""

import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from app.base.tasks import IGNORE_INDEX, find_task
from app.metrics.superstructures import SuperstructuresMetrics

TASK = find_task("superstructures")
PV, DORMER, BACKGROUND = 0, 1, 8


def count(target: list[int], prediction: list[int]) -> SuperstructuresMetrics:
    metrics = SuperstructuresMetrics(TASK)
    one_hot = torch.nn.functional.one_hot(torch.tensor(prediction), 9).float()
    metrics.update(one_hot.T[None, :, None, :], torch.tensor([[target]], dtype=torch.uint8))
    return metrics


def score(target: list[int], prediction: list[int]) -> dict[str, float | None]:
    return {name: metric.value for name, metric in count(target, prediction).compute().items()}


def test_six_pixels() -> None:
    values = score(
        [PV, PV, DORMER, BACKGROUND, BACKGROUND, IGNORE_INDEX],
        [PV, DORMER, DORMER, BACKGROUND, PV, DORMER],
    )
    # PV: 1 of 3 (one missed, one false). Dormer: 1 of 2. Background: 1 of 2.
    assert values["iou_pvmodule"] == 1 / 3
    assert values["iou_dormer"] == 1 / 2
    assert values["iou_background"] == 1 / 2
    assert values["iou_tree"] is None
    assert values["miou"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    assert values["miou_no_background"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert values["any_superstructure_iou"] == 3 / 4


@pytest.mark.parametrize("target", [[BACKGROUND, BACKGROUND], [IGNORE_INDEX, IGNORE_INDEX]])
def test_without_any_superstructure_nothing_is_defined(target: list[int]) -> None:
    assert set(score(target, [BACKGROUND, PV]).values()) == {None}


def test_confusion_matrix_has_the_target_in_its_rows() -> None:
    confusion = count([PV, IGNORE_INDEX], [DORMER, PV]).confusion_matrix()
    assert confusion[PV, DORMER] == confusion.sum() == 1


def test_agrees_with_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 9, 40, 40, generator=generator)
    target = torch.randint(0, 9, (3, 40, 40), generator=generator)
    target[0, :7] = IGNORE_INDEX
    metrics = SuperstructuresMetrics(TASK)
    metrics.update(logits, target.to(torch.uint8))
    macro = MulticlassJaccardIndex(9, average="macro", ignore_index=IGNORE_INDEX)
    expected = float(macro(logits.argmax(1), target))
    assert metrics.compute()["miou"].value == pytest.approx(expected, rel=1e-6)
    confusion = MulticlassConfusionMatrix(9, ignore_index=IGNORE_INDEX)(logits.argmax(1), target)
    assert metrics.confusion_matrix().tolist() == confusion.tolist()
