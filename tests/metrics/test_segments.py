"""Segments metrics on tables small enough to count by hand, and against torchmetrics."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import (
    BinaryF1Score,
    BinaryJaccardIndex,
    BinaryPrecision,
    BinaryRecall,
    MulticlassConfusionMatrix,
    MulticlassJaccardIndex,
)

from app.base.azimuth import BIN_NAMES, degrees_to_class
from app.base.tasks import (
    BACKGROUND_CLASS,
    FLAT_CLASS,
    IGNORE_INDEX,
    SOME_ROOF,
    Task,
    build_tasks,
    find_task,
    relabelling,
)
from app.metrics.segments import SegmentsMetrics

N, NNE, S, NNW = 0, 1, 8, 15
FLAT, BACKGROUND, UNKNOWN = FLAT_CLASS, BACKGROUND_CLASS, IGNORE_INDEX
SEGMENTS = find_task("segments")


def sure_logits(prediction: list[int], num_classes: int = 18) -> Tensor:
    """(1, num_classes, 1, P) logits that leave no doubt."""
    one_hot = torch.nn.functional.one_hot(torch.tensor(prediction), num_classes).float()
    return 100 * one_hot.T[None, :, None, :]


def score(
    target: list[int], prediction: list[int], task: Task = SEGMENTS
) -> dict[str, float | None]:
    metrics = count(target, prediction, task)
    return {name: metric.value for name, metric in metrics.compute().items()}


def count(target: list[int], prediction: list[int], task: Task = SEGMENTS) -> SegmentsMetrics:
    metrics = SegmentsMetrics(task)
    logits = sure_logits(prediction, task.num_classes)
    metrics.update(logits, torch.tensor([[target]], dtype=torch.uint8))
    return metrics


FOUR_PIXELS = [
    pytest.param(
        [N, N, S, BACKGROUND],
        [N, S, S, BACKGROUND],
        # N: 1 of 2. S: 1 of 2 (one N pixel was called S). Background: 1 of 1.
        {"miou": 2 / 3, "miou_no_background": 1 / 2, "iou_N": 1 / 2, "iou_S": 1 / 2,
         "iou_background": 1.0, "pixel_accuracy": 3 / 4, "mean_class_accuracy": (1 / 2 + 1 + 1) / 3,
         "roof_iou": 1.0, "roof_f1": 1.0, "azimuth_accuracy": 2 / 3, "azimuth_coverage": 1.0,
         "azimuth_error_deg": 60.0, "azimuth_within_one_bin": 2 / 3},
        id="one pixel wrong",
    ),
    pytest.param(
        [N, N, BACKGROUND, BACKGROUND],
        [N, BACKGROUND, FLAT, BACKGROUND],
        # Roof: 1 hit, 1 missed, 1 false.
        {"roof_iou": 1 / 3, "roof_precision": 1 / 2, "roof_recall": 1 / 2, "roof_f1": 1 / 2,
         "azimuth_coverage": 1 / 2, "azimuth_accuracy": 1.0, "iou_flat": None},
        id="roof",
    ),
    pytest.param(
        [SOME_ROOF, SOME_ROOF, BACKGROUND, UNKNOWN],
        [S, BACKGROUND, BACKGROUND, N],
        # Some roof says nothing about classes, and background alone does not tell classes apart.
        {"roof_iou": 1 / 2, "roof_precision": 1.0, "roof_recall": 1 / 2, "roof_f1": 2 / 3,
         "miou": None, "iou_background": None, "miou_no_background": None, "pixel_accuracy": None,
         "mean_class_accuracy": None, "azimuth_coverage": None, "azimuth_error_deg": None},
        id="some roof",
    ),
    pytest.param(
        [N, FLAT, FLAT, BACKGROUND],
        [FLAT, N, FLAT, BACKGROUND],
        # Pitched and flat mixed up: no pixel is pitched in both.
        {"roof_iou": 1.0, "iou_flat": 1 / 3, "iou_N": 0.0, "azimuth_coverage": 0.0,
         "azimuth_accuracy": None, "azimuth_error_deg": None},
        id="flat",
    ),
    pytest.param(
        [BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND],
        [BACKGROUND, BACKGROUND, BACKGROUND, S],
        # Without roof in the targets there is nothing to find, but a false alarm has a precision.
        {"miou": None, "iou_S": None, "roof_iou": None, "roof_recall": None, "roof_f1": None,
         "roof_precision": 0.0, "miou_no_background": None},
        id="class absent",
    ),
    pytest.param(
        [N, N, N, N],
        [BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND],
        {"miou": 0.0, "roof_iou": 0.0, "roof_recall": 0.0, "roof_f1": 0.0, "roof_precision": None},
        id="nothing predicted",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("target", "prediction", "expected"), FOUR_PIXELS)
def test_four_pixels(
    target: list[int], prediction: list[int], expected: dict[str, float | None]
) -> None:
    values = score(target, prediction)
    assert {name: values[name] for name in expected} == pytest.approx(expected, nan_ok=False)


def test_perfect() -> None:
    classes = list(range(18))
    values = score(classes, classes)
    assert values.pop("azimuth_error_deg") == pytest.approx(0, abs=0.001)
    # Eighteen pixels are no plane.
    planes = [values.pop(name) for name in list(values) if name.startswith("plane_")]
    assert planes == [None] * 5
    assert set(values.values()) == {1.0}


def test_all_ignored() -> None:
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(sure_logits([N, FLAT]), torch.full((1, 1, 2), UNKNOWN, dtype=torch.uint8))
    assert all(m.value is None and m.support == 0 for m in metrics.compute().values())


def test_support_says_what_was_counted() -> None:
    metrics = SegmentsMetrics(SEGMENTS)
    target = torch.tensor([[[N, N, BACKGROUND, SOME_ROOF, UNKNOWN]]], dtype=torch.uint8)
    metrics.update(sure_logits([N, FLAT, FLAT, S, N]), target)
    computed = metrics.compute()
    supports = {
        "miou": (2, "classes"),
        "miou_no_background": (1, "classes"),
        "iou_N": (2, "target pixels"),
        "pixel_accuracy": (3, "pixels"),
        "roof_iou": (3, "target roof pixels"),
        "roof_precision": (4, "predicted roof pixels"),
        "azimuth_coverage": (2, "target pitched pixels"),
        "azimuth_accuracy": (1, "pitched pixels"),
    }
    found = {name: (computed[name].support, computed[name].support_unit) for name in supports}
    assert found == supports


@pytest.mark.parametrize(
    ("target", "prediction", "error_deg", "is_within_one_bin"),
    [(N, NNW, 22.5, 1.0), (NNW, N, 22.5, 1.0), (N, NNE, 22.5, 1.0), (NNE, NNW, 45.0, 0.0),
     (N, S, 180.0, 0.0)],
)  # fmt: skip
def test_azimuth_wraps_around(
    target: int, prediction: int, error_deg: float, is_within_one_bin: float
) -> None:
    values = score([target], [prediction])
    assert values["azimuth_error_deg"] == pytest.approx(error_deg, abs=0.001)
    assert values["azimuth_within_one_bin"] == is_within_one_bin
    assert values["azimuth_accuracy"] == 0.0


def test_expected_direction_lies_between_likely_classes() -> None:
    # Probabilities 0.6 of N and 0.4 of E point to atan2(0.4, 0.6) = 33.69 degrees; background and
    # flat take their share of the softmax and turn nothing.
    logits = torch.full((1, 18, 1, 1), -100.0)
    logits[0, 0], logits[0, 4] = np.log(0.6), np.log(0.4)
    for other in (-100.0, np.log(0.5)):
        logits[0, 17] = other
        metrics = SegmentsMetrics(SEGMENTS)
        metrics.update(logits, torch.tensor([[[N]]], dtype=torch.uint8))
        error = metrics.compute()["azimuth_error_deg"].value
        assert error == pytest.approx(np.degrees(np.arctan2(0.4, 0.6)), abs=0.001)


def test_diverged_logits_stay_a_number() -> None:
    logits = torch.full((1, 18, 1, 2), torch.nan)
    logits[0, :, 0, 1] = sure_logits([S])[0, :, 0, 0]
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(logits, torch.tensor([[[S, S]]], dtype=torch.uint8))
    # Of two pixels one points nowhere, which counts as the opposite direction.
    assert metrics.compute()["azimuth_error_deg"].value == pytest.approx(90.0, abs=0.001)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_agrees_with_torchmetrics(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 18, 40, 40, generator=generator).to(dtype)
    target = torch.randint(0, 18, (3, 40, 40), generator=generator)
    target[target == 5] = UNKNOWN  # and so class 5 is absent
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(logits, target.to(torch.uint8))
    values = {name: metric.value for name, metric in metrics.compute().items()}

    prediction = logits.argmax(1)
    confusion = MulticlassConfusionMatrix(18, ignore_index=UNKNOWN)(prediction, target)
    assert metrics.confusion_matrix().tolist() == confusion.tolist()
    ious = MulticlassJaccardIndex(18, average="none", ignore_index=UNKNOWN)(prediction, target)
    for class_id, name in enumerate((*BIN_NAMES, "flat", "background")):
        expected = None if class_id == 5 else pytest.approx(float(ious[class_id]), rel=1e-6)
        assert values[f"iou_{name}"] == expected
    # Its macro average counts a class that is only predicted as 0; ours leaves it out.
    present = [class_id for class_id in range(18) if class_id != 5]
    assert values["miou"] == pytest.approx(float(ious[present].mean()), rel=1e-6)


def test_roof_agrees_with_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 18, 40, 40, generator=generator)
    target = torch.randint(0, SOME_ROOF + 2, (3, 40, 40), generator=generator)
    target[target > SOME_ROOF] = UNKNOWN
    logits[:, BACKGROUND] += 2.0
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(logits, target.to(torch.uint8))
    values = {name: metric.value for name, metric in metrics.compute().items()}
    prediction = (logits.argmax(1) != BACKGROUND).long()
    is_roof = torch.where(target == UNKNOWN, -1, (target != BACKGROUND).long())
    for name, reference in {
        "roof_iou": BinaryJaccardIndex(ignore_index=-1),
        "roof_precision": BinaryPrecision(ignore_index=-1),
        "roof_recall": BinaryRecall(ignore_index=-1),
        "roof_f1": BinaryF1Score(ignore_index=-1),
    }.items():
        assert values[name] == pytest.approx(float(reference(prediction, is_roof)), rel=1e-6)


def test_macro_average_agrees_with_torchmetrics_where_every_class_occurs() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 18, 40, 40, generator=generator)
    target = torch.randint(0, 18, (2, 40, 40), generator=generator)
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(logits, target.to(torch.uint8))
    macro = MulticlassJaccardIndex(18, average="macro")(logits.argmax(1), target)
    assert metrics.compute()["miou"].value == pytest.approx(float(macro), rel=1e-6)


def test_azimuth_error_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(2, 18, 9, 9, generator=generator)
    target = torch.randint(0, 19, (2, 9, 9), generator=generator)
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(logits, target.to(torch.uint8))
    errors = []
    for image, row, column in np.ndindex(2, 9, 9):
        z = logits[image, :, row, column].double().numpy()
        truth = int(target[image, row, column])
        if truth < 16 and z.argmax() < 16:
            p = np.exp(z) / np.exp(z).sum()
            angles = np.radians(22.5 * np.arange(16))
            expected = np.degrees(np.arctan2(p[:16] @ np.sin(angles), p[:16] @ np.cos(angles)))
            turned = abs(expected - 22.5 * truth) % 360
            errors.append(min(turned, 360 - turned))
    computed = metrics.compute()["azimuth_error_deg"]
    assert computed.support == len(errors)
    assert computed.value == pytest.approx(np.mean(errors), abs=0.001)


def relabelled(azimuth_bins: Literal[8, 4, 1], *rid_labels: int) -> list[int]:
    return relabelling(azimuth_bins)[list(rid_labels)].tolist()


def test_a_label_of_two_directions_is_right_with_either() -> None:
    task = build_tasks(8)[0]
    # NNE is N or NE. N and NE are right, NW is one off N, S is three off NE and four off N.
    n, ne, nw, s = (task.class_names.index(name) for name in ("N", "NE", "NW", "S"))
    values = score(relabelled(8, NNE, NNE, NNE, NNE), [n, ne, nw, s], task)
    assert values["azimuth_coverage"] == 1.0
    assert values["azimuth_accuracy"] == 2 / 4
    assert values["azimuth_within_one_bin"] == 3 / 4
    # The middle of N and NE is 22.5 degrees: N and NE are 22.5 off, NW 67.5, S 157.5.
    assert values["azimuth_error_deg"] == pytest.approx((22.5 + 22.5 + 67.5 + 157.5) / 4, abs=0.001)
    confusion = count(relabelled(8, NNE, NNE, NNE, NNE), [n, ne, nw, s], task).confusion_matrix()
    expected = np.zeros((10, 10), int)
    expected[n, n], expected[ne, ne], expected[n, nw], expected[ne, s] = 1, 1, 1, 1
    np.testing.assert_array_equal(confusion, expected)


def test_a_label_of_two_directions_across_north() -> None:
    task = build_tasks(4)[0]
    # NW is W or N, centre 315 degrees.
    values = score(relabelled(4, 14, 14), [0, 3], task)
    assert values["azimuth_accuracy"] == 1.0
    assert values["azimuth_error_deg"] == pytest.approx(45.0, abs=0.001)


def test_a_label_of_two_directions_missed_counts_half_as_each() -> None:
    task = build_tasks(8)[0]
    background, flat = task.background_class, task.class_names.index("flat")
    confusion = count(
        relabelled(8, NNE, NNE, NNE, NNE), [background, background, flat, flat], task
    ).confusion_matrix()
    for prediction in (background, flat):
        assert confusion[0, prediction] == confusion[1, prediction] == 1
    assert confusion.sum() == 4


@pytest.mark.parametrize("azimuth_bins", [8, 4])
def test_the_true_direction_in_fewer_bins_is_right(azimuth_bins: Literal[8, 4]) -> None:
    """Predicting the bin of any direction in a class of 16 scores as right."""
    task = build_tasks(azimuth_bins)[0]
    degrees = np.arange(0.5, 360, 1)
    target = relabelled(azimuth_bins, *degrees_to_class(degrees))
    values = score(target, degrees_to_class(degrees, azimuth_bins).tolist(), task)
    assert values["azimuth_accuracy"] == values["miou"] == values["pixel_accuracy"] == 1.0


def test_roof_or_not_has_no_directions_but_scores_some_roof() -> None:
    task = build_tasks(1)[0]
    target = relabelled(1, SOME_ROOF, N, FLAT, BACKGROUND, UNKNOWN)
    values = score(target, [0, 1, 0, 0, 0], task)
    assert values["roof_iou"] == values["iou_roof"] == 2 / 4
    assert values["miou"] == pytest.approx((2 / 4 + 0) / 2)
    azimuth = {name: value for name, value in values.items() if name.startswith("azimuth")}
    assert len(azimuth) == 5
    assert set(azimuth.values()) == {None}


@pytest.mark.parametrize("azimuth_bins", [8, 4, 1])
def test_roof_metrics_do_not_depend_on_the_number_of_directions(
    azimuth_bins: Literal[8, 4, 1],
) -> None:
    rng = np.random.default_rng(0)
    target = rng.choice([*range(SOME_ROOF + 1), UNKNOWN], 500)
    is_roof = rng.random(500) < 0.5
    reference = score(target.tolist(), np.where(is_roof, N, BACKGROUND).tolist())
    task = build_tasks(azimuth_bins)[0]
    prediction = np.where(is_roof, 0, task.background_class).tolist()
    values = score(relabelled(azimuth_bins, *target), prediction, task)
    for name in ("roof_iou", "roof_precision", "roof_recall", "roof_f1"):
        assert values[name] == reference[name]
