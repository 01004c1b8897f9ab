"""Metrics of roof planes on drawings small enough to work out by hand, and against plain loops."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from app.base.tasks import BACKGROUND_CLASS, FLAT_CLASS, IGNORE_INDEX, Task, build_tasks, find_task
from app.metrics.definitions import MetricValue
from app.metrics.plane_shares import MIN_PLANE_PX
from app.metrics.segments import SegmentsMetrics
from tests.support.metrics import assert_sums_are_exact

N, NE, E, S = 0, 2, 4, 8
SEGMENTS = find_task("segments")
NAMES = ("plane_coverage", "plane_azimuth_accuracy", "plane_azimuth_error_deg")

Labels = npt.NDArray[np.uint8]


def paint(*columns: tuple[int, int], fill: int = BACKGROUND_CLASS) -> Labels:
    """(20, W): vertical stripes, each of a label and a width in pixels."""
    labels = np.concatenate([np.full(width, label, np.uint8) for label, width in columns])
    image = np.full((20, len(labels)), fill, np.uint8)
    image[:] = labels
    return image


def sure_logits(prediction: Labels, num_classes: int = 18) -> Tensor:
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(prediction).long(), num_classes)
    return 100.0 * one_hot.permute(2, 0, 1)[None].float()


def compute(target: Labels, prediction: Labels, task: Task = SEGMENTS) -> list[MetricValue]:
    metrics = SegmentsMetrics(task)
    metrics.update(sure_logits(prediction, task.num_classes), torch.from_numpy(target)[None])
    values = metrics.compute()
    return [values[name] for name in NAMES]


def score(target: Labels, prediction: Labels, task: Task = SEGMENTS) -> list[float | None]:
    return [metric.value for metric in compute(target, prediction, task)]


def test_two_planes_by_hand() -> None:
    target = paint((N, 20), (E, 30), (BACKGROUND_CLASS, 5))
    prediction = target.copy()
    # Of the first plane 100 pixels are missed, the others are right.
    prediction[:5, :20] = BACKGROUND_CLASS
    # Of the second, 200 pixels say NE and 400 say E.
    prediction[:, 20:30] = NE
    half = math.sqrt(0.5)
    azimuth_deg = math.degrees(math.atan2(200 * half + 400, 200 * half))
    coverage, accuracy, error = compute(target, prediction)
    assert (coverage.value, coverage.support, coverage.support_unit) == (1.0, 2, "planes")
    # 14.6 degrees are more than half a bin.
    assert (accuracy.value, accuracy.support) == (400 / 1000, 2)
    assert error.value == pytest.approx(600 * (90 - azimuth_deg) / 1000, abs=0.001)
    assert error.unit == "degrees"


def test_a_plane_that_is_missed_altogether_counts_in_coverage_alone() -> None:
    target = paint((N, 20), (E, 30))
    prediction = paint((N, 20), (FLAT_CLASS, 20), (BACKGROUND_CLASS, 10))
    coverage, accuracy, error = compute(target, prediction)
    assert (coverage.value, coverage.support) == (1 / 2, 2)
    assert (accuracy.value, accuracy.support) == (1.0, 1)
    assert (error.value, error.support) == (0.0, 1)
    assert score(target, paint((BACKGROUND_CLASS, 50))) == [0.0, None, None]


def test_a_plane_is_found_by_more_than_half_and_right_within_one_step() -> None:
    # Four planes: half of the first is seen, the second wholly, but one step off, the third two
    # steps off, the fourth at 11 of its 20 columns.
    target = paint((N, 20), (E, 20), (S, 20), (N, 20))
    prediction = paint(
        (N, 10), (BACKGROUND_CLASS, 10), (E + 1, 20), (S - 2, 20), (N, 11), (FLAT_CLASS, 9)
    )
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(sure_logits(prediction), torch.from_numpy(target)[None])
    values = metrics.compute()
    assert (values["plane_coverage"].value, values["plane_recall"].value) == (1.0, 3 / 4)
    assert (values["plane_right"].value, values["plane_right"].support) == (2 / 4, 4)
    # Pixels: of 1600 pitched ones 10 + 20 + 11 of 80 columns are right or one step off.
    assert (values["azimuth_right"].value, values["azimuth_right"].support) == (41 / 80, 1600)


def test_planes_touch_along_sides_not_at_corners() -> None:
    target = np.full((40, 40), BACKGROUND_CLASS, np.uint8)
    target[:20, :20] = target[20:, 20:] = N
    prediction = np.full((40, 40), BACKGROUND_CLASS, np.uint8)
    prediction[:20, :20] = N
    coverage, _, _ = compute(target, prediction)
    assert (coverage.value, coverage.support) == (1 / 2, 2)
    target[19, 20] = N
    coverage, _, _ = compute(target, prediction)
    assert (coverage.value, coverage.support) == (1.0, 1)


def test_small_planes_are_left_out() -> None:
    assert MIN_PLANE_PX == 300
    target = np.full((40, 40), BACKGROUND_CLASS, np.uint8)
    target[:20, :15] = N  # 300
    target[25:, :20] = E
    target[25, 0] = BACKGROUND_CLASS  # 299
    # As many pixels of a label, in pieces.
    target[:12, 20:32], target[20:32, 25:] = S, S
    coverage, _, error = compute(target, np.full((40, 40), N, np.uint8))
    assert (coverage.value, coverage.support) == (1.0, 1)
    assert error.value == 0.0


@pytest.mark.parametrize("label", [FLAT_CLASS, BACKGROUND_CLASS, 18, IGNORE_INDEX])
def test_labels_without_a_direction_are_no_planes(label: int) -> None:
    assert score(paint((label, 40)), paint((N, 40))) == [None, None, None]


def test_pixels_that_cancel_out_point_nowhere() -> None:
    target = paint((N, 20))
    assert score(target, paint((N, 10), (S, 10))) == [1.0, 0.0, 180.0]
    # One more column decides.
    assert score(target, paint((N, 11), (S, 9))) == [1.0, 1.0, 0.0]


def test_pixels_that_have_diverged_leave_the_direction_to_the_others() -> None:
    logits = sure_logits(paint((N, 20)))
    logits[..., :5] = torch.nan
    target = torch.from_numpy(paint((N, 20)))[None]
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(logits, target)
    assert metrics.compute()["plane_azimuth_error_deg"].value == 0.0
    logits[:] = torch.nan
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(logits, target)
    assert [metrics.compute()[name].value for name in NAMES] == [1.0, 0.0, 180.0]


def test_uncertain_pixels_weigh_less() -> None:
    # Half of the pixels are sure of N, half waver between E and W with a little more for E:
    # probabilities 0.6 and 0.4 leave 0.2 of a unit vector.
    logits = sure_logits(paint((N, 20)))
    logits[0, :, :, 10:] = -100.0
    logits[0, 4, :, 10:], logits[0, 12, :, 10:] = math.log(0.6), math.log(0.4)
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(logits, torch.from_numpy(paint((N, 20)))[None])
    error = metrics.compute()["plane_azimuth_error_deg"].value
    assert error == pytest.approx(math.degrees(math.atan2(0.2, 1.0)), abs=0.001)


def test_a_label_of_two_directions_is_one_plane_with_its_middle() -> None:
    task = build_tasks(8)[0]
    label = task.label_sets.index((0, 1))
    n, ne, e, flat = (task.class_names.index(name) for name in ("N", "NE", "E", "flat"))
    target = paint((label, 20))
    # The middle of N and NE is 22.5 degrees; both are right, E is not.
    for prediction, is_right, error_deg in ((n, 1.0, 22.5), (ne, 1.0, 22.5), (e, 0.0, 67.5)):
        assert score(target, paint((prediction, 20)), task) == [1.0, is_right, error_deg]
    assert score(target, paint((n, 10), (ne, 10)), task) == [1.0, 1.0, 0.0]
    assert score(target, paint((flat, 20)), task) == [0.0, None, None]


def test_a_label_of_two_directions_across_north() -> None:
    task = build_tasks(8)[0]
    label = task.label_sets.index((7, 0))
    for name, is_right, error_deg in (("N", 1.0, 22.5), ("NW", 1.0, 22.5), ("NE", 0.0, 67.5)):
        prediction = paint((task.class_names.index(name), 20))
        assert score(paint((label, 20)), prediction, task) == [1.0, is_right, error_deg]


def test_roof_or_not_has_no_planes() -> None:
    task = build_tasks(1)[0]
    assert score(paint((0, 40)), paint((0, 40)), task) == [None, None, None]


def make_images(num_images: int) -> tuple[Tensor, Tensor]:
    """Patches of labels, and logits that lean to them, or one direction further in odd images."""
    generator = torch.Generator().manual_seed(4)
    patches = torch.randint(0, 19, (num_images, 5, 5), generator=generator)
    patches[patches > 16] = 3
    target = patches.repeat_interleave(18, dim=1).repeat_interleave(18, dim=2)
    target[:, 40:44] = IGNORE_INDEX
    logits = torch.randn(num_images, 18, 90, 90, generator=generator)
    leaning = torch.where(target < 16, target, 17)
    leaning[1::2] = torch.where(leaning[1::2] < 16, (leaning[1::2] + 1) % 16, 17)
    one_hot = torch.nn.functional.one_hot(leaning, 18)
    return logits + one_hot.permute(0, 3, 1, 2), target.to(torch.uint8)


def test_against_loops() -> None:
    logits, target = make_images(4)
    metrics = SegmentsMetrics(SEGMENTS)
    metrics.update(logits, target)
    centres = np.radians(22.5 * np.arange(16))
    areas, num_pitched_of, errors_deg = [], [], []
    for image, image_logits in zip(target.numpy(), logits.double().numpy(), strict=True):
        for plane in find_planes(image):
            if len(plane) < 300:
                continue
            areas.append(len(plane))
            vector, num_pitched = np.zeros(2), 0
            for y, x in plane:
                z = image_logits[:, y, x]
                if z.argmax() < 16:
                    p = np.exp(z[:16]) / np.exp(z[:16]).sum()
                    vector += p @ np.sin(centres), p @ np.cos(centres)
                    num_pitched += 1
            num_pitched_of.append(num_pitched)
            turned = abs(np.degrees(np.arctan2(*vector)) - 22.5 * image[plane[0]]) % 360
            errors_deg.append(min(turned, 360 - turned))
    computed = metrics.compute()
    assert computed["plane_coverage"].support == len(areas) > 50
    assert computed["plane_coverage"].value == np.mean(np.array(num_pitched_of) > 0)
    is_found = np.array(num_pitched_of) > np.array(areas) / 2
    assert computed["plane_recall"].value == np.mean(is_found)
    is_right = is_found & (np.array(errors_deg) <= 22.5)
    assert computed["plane_right"].value == np.mean(is_right)
    assert 0.1 < np.mean(is_right) < np.mean(is_found)
    expected = np.average(errors_deg, weights=areas)
    assert computed["plane_azimuth_error_deg"].value == pytest.approx(expected, abs=0.001)
    accuracy = np.average(np.array(errors_deg) < 11.25, weights=areas)
    assert computed["plane_azimuth_accuracy"].value == pytest.approx(accuracy)
    assert 0.2 < accuracy < 0.8


def find_planes(labels: Labels) -> list[list[tuple[int, int]]]:
    """Pixels of every piece of one direction, by flooding."""
    todo = {(y, x) for y, x in np.ndindex(*labels.shape) if labels[y, x] < 16}
    planes = []
    while todo:
        plane = [todo.pop()]
        for y, x in plane:
            for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if other in todo and labels[other] == labels[y, x]:
                    todo.remove(other)
                    plane.append(other)
        planes.append(plane)
    return planes


def test_sums_are_the_same_to_the_last_bit_in_batches_of_any_size() -> None:
    logits, target = make_images(6)
    assert_sums_are_exact(logits, target)
