import math

import pytest
import torch
import torch.nn.functional as F

from app.base.tasks import (
    BACKGROUND_CLASS,
    IGNORE_INDEX,
    SOME_ROOF,
    TASK_NAMES,
    build_tasks,
    find_task,
)
from app.model.class_weights import choose_class_weights
from app.model.losses import RoofLoss, classes_loss, count_known, depth_loss, lines_loss

TASKS = build_tasks(superstructures=True)
SEGMENTS = find_task("segments")
CLASS_WEIGHTS = choose_class_weights(TASKS)
WEIGHTS = torch.tensor(CLASS_WEIGHTS.segments)
LINE_WEIGHTS = (5.3, 8.0, 8.0, 8.0)


def random_logits(*shape, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=generator)).requires_grad_()


def labels(*rows):
    return torch.tensor([rows], dtype=torch.uint8)


def segments_loss(logits, target, dice_weight=0.5, azimuth_smoothing=0.1):
    weights = CLASS_WEIGHTS.segments
    return classes_loss(logits, target, SEGMENTS, weights, dice_weight, azimuth_smoothing)


def test_single_classes_are_weighted_cross_entropy():
    logits = random_logits(1, 18, 1, 4)
    target = labels([0, 7, 16, 17])
    expected = (
        F.cross_entropy(logits, target.long(), reduction="none") * WEIGHTS[target.long()]
    ).sum()
    torch.testing.assert_close(segments_loss(logits, target, 0.0, 0.0), expected)


def test_some_roof_is_binary_cross_entropy_against_background():
    logits = random_logits(1, 18, 1, 2)
    roof_logit = logits[:, :BACKGROUND_CLASS].logsumexp(1) - logits[:, BACKGROUND_CLASS]
    expected = F.binary_cross_entropy_with_logits(
        roof_logit, torch.ones_like(roof_logit), reduction="sum"
    )
    target = labels([SOME_ROOF, SOME_ROOF])
    torch.testing.assert_close(segments_loss(logits, target, 0.0, 0.1), expected)


def test_roof_and_background_of_airs_are_binary_cross_entropy():
    logits = random_logits(2, 18, 4, 4)
    target = labels([SOME_ROOF, BACKGROUND_CLASS] * 2).repeat(2, 4, 1)
    roof_logit = logits[:, :BACKGROUND_CLASS].logsumexp(1) - logits[:, BACKGROUND_CLASS]
    expected = F.binary_cross_entropy_with_logits(
        roof_logit, (target == SOME_ROOF).float(), reduction="sum"
    )
    loss = classes_loss(logits, target, SEGMENTS, (1.0,) * 18, 0.0, 0.1)
    torch.testing.assert_close(loss, expected)
    gradient, expected_gradient = (torch.autograd.grad(x, logits)[0] for x in (loss, expected))
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
def test_a_label_costs_minus_log_of_the_probability_its_classes_hold(azimuth_bins):
    task = build_tasks(azimuth_bins)[0]
    target = labels(range(task.num_labels))
    logits = random_logits(1, task.num_classes, 1, task.num_labels)
    loss = classes_loss(logits, target, task, (1.0,) * task.num_classes, 0.0)
    probability = logits.detach().double().softmax(1)[0, :, 0]
    held = [
        probability[list(classes), pixel].sum() for pixel, classes in enumerate(task.label_sets)
    ]
    torch.testing.assert_close(loss.double(), -torch.stack(held).log().sum())


def test_classes_of_a_set_are_not_told_apart():
    """The gradient of "N or NE" leaves the ratio of the two probabilities unchanged."""
    task = build_tasks(8)[0]
    logits = random_logits(1, task.num_classes, 1, 1)
    label = task.label_sets.index((0, 1))
    classes_loss(logits, labels([label]), task, (1.0,) * task.num_classes, 0.0).backward()
    gradient, probability = logits.grad.flatten(), logits.detach().softmax(1).flatten()
    assert gradient[0] < 0
    assert gradient[1] < 0
    assert (gradient[2:] > 0).all()
    torch.testing.assert_close(gradient[0] / gradient[1], probability[0] / probability[1])


def test_smoothing_with_fewer_directions_wraps_around_them():
    task = build_tasks(4)[0]
    logits = random_logits(1, task.num_classes, 1, 1)
    log_probability = logits.log_softmax(1).flatten()
    loss = classes_loss(logits, labels([3]), task, (1.0,) * 6, 0.0, 0.2)
    expected = -(0.8 * log_probability[3] + 0.1 * log_probability[2] + 0.1 * log_probability[0])
    torch.testing.assert_close(loss, expected)


def test_superstructures_are_weighted_cross_entropy_plus_dice():
    task = find_task("superstructures")
    logits = random_logits(1, 9, 1, 3)
    target = labels([2, 8, 255])
    weights = CLASS_WEIGHTS.superstructures
    plain = classes_loss(logits, target, task, weights, 0.0, 0.1)
    log_probability = logits.log_softmax(1)[0, :, 0]
    expected = -weights[2] * log_probability[2, 0] - weights[8] * log_probability[8, 1]
    torch.testing.assert_close(plain, expected)
    p = log_probability[:, :2].detach().exp()
    class_dice = 1 - (2 * p[2, 0] + 1) / (p[2].sum() + 1 + 1)
    any_dice = 1 - (2 * (1 - p[8, 0]) + 1) / ((1 - p[8]).sum() + 1 + 1)
    with_dice = classes_loss(logits, target, task, weights, 1.0, 0.1)
    torch.testing.assert_close(with_dice - plain, 2 * (class_dice + any_dice) / 2)


def test_smoothing_shares_a_direction_with_its_neighbours_on_the_compass():
    logits = random_logits(1, 18, 1, 1)
    log_probability = logits.log_softmax(1).flatten()
    expected = -WEIGHTS[0] * (
        0.9 * log_probability[0] + 0.05 * log_probability[15] + 0.05 * log_probability[1]
    )
    torch.testing.assert_close(segments_loss(logits, labels([0]), 0.0, 0.1), expected)
    flat = segments_loss(logits, labels([16]), 0.0, 0.1)
    torch.testing.assert_close(flat, -WEIGHTS[16] * log_probability[16])


def test_segments_dice_of_two_pixels():
    # Pixel 0 is class 3, pixel 1 background; the network says so with probability 1/2 and 1/4.
    probability = torch.full((1, 18, 1, 2), 0.5 / 17)
    probability[0, 3, 0, 0] = 0.5
    probability[0, :, 0, 1] = 0.75 / 17
    probability[0, 17, 0, 1] = 0.25
    logits = probability.log()
    class_dice = 1 - (2 * 0.5 + 1) / (0.5 + 0.75 / 17 + 1 + 1)
    p_roof = (1 - 0.5 / 17, 0.75)
    roof_dice = 1 - (2 * p_roof[0] + 1) / (sum(p_roof) + 1 + 1)
    with_dice = segments_loss(logits, labels([3, 17]), 1.0, 0.0)
    without = segments_loss(logits, labels([3, 17]), 0.0, 0.0)
    expected = 2 * (class_dice + roof_dice) / 2  # two known pixels
    assert (with_dice - without).item() == pytest.approx(expected, rel=1e-5)


def test_lines_loss_is_masked_channel_by_channel():
    logits = random_logits(1, 4, 1, 2)
    target = torch.tensor([[[[1, 0]], [[0, 0]], [[0, 1]], [[255, 255]]]], dtype=torch.uint8)
    loss = lines_loss(logits, target, LINE_WEIGHTS)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[0, 3] == 0).all()
    assert (logits.grad[0, :3] != 0).all()


def test_lines_cross_entropy_weighs_line_pixels():
    logits = torch.zeros(1, 4, 1, 1)
    target = torch.tensor([1, 0, 255, 255], dtype=torch.uint8).view(1, 4, 1, 1)
    loss = lines_loss(logits, target, LINE_WEIGHTS, 0.0)
    assert loss.item() == pytest.approx((5.3 + 1) * math.log(2))


def test_depth_balances_what_stands_and_the_ground():
    # One pixel at 10 m with an error of 4 m (smooth-L1 3.5), three on the ground without error.
    prediction = torch.tensor([14.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 4)
    target = torch.tensor([10.0, 0.0, 0.0, 0.0]).view(1, 1, 4)
    halves = 3.5 / 2
    # Differences of neighbouring errors: 4, 0, 0 at full size; one row allows no coarser scale.
    gradient = 0.5 * (4 / 3)
    expected = 4 * (halves + gradient) / 3
    assert depth_loss(prediction, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("invalid_m", [math.nan, -1.0, 61.0, math.inf])
def test_depth_ignores_what_no_height_can_be(invalid_m):
    prediction = random_logits(1, 1, 4, 4)
    target = torch.full((1, 4, 4), invalid_m)
    loss = depth_loss(prediction, target)
    loss.backward()
    assert loss.item() == 0
    assert (prediction.grad == 0).all()


def test_nothing_known_is_exactly_zero_with_the_graph_connected():
    logits = {
        "segments": random_logits(2, 18, 8, 8),
        "lines": random_logits(2, 4, 8, 8),
        "superstructures": random_logits(2, 9, 8, 8),
    }
    targets = {
        "segments": torch.full((2, 8, 8), IGNORE_INDEX, dtype=torch.uint8),
        "lines": torch.full((2, 4, 8, 8), IGNORE_INDEX, dtype=torch.uint8),
        "superstructures": torch.full((2, 8, 8), IGNORE_INDEX, dtype=torch.uint8),
    }
    sums = RoofLoss(TASKS)(logits, targets)
    sum(sums.values()).backward()
    for name, values in logits.items():
        assert sums[name].item() == 0
        assert (values.grad == 0).all()
    assert count_known(targets).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
def test_finite_at_extreme_logits(azimuth_bins):
    task = build_tasks(azimuth_bins)[0]
    # Every label, sure of background; and background, sure of the first class.
    target = labels([*range(task.num_labels), task.background_class])
    logits = torch.full((1, task.num_classes, 1, task.num_labels + 1), -1e4)
    logits[0, task.background_class, 0, :-1] = 1e4
    logits[0, 0, 0, -1] = 1e4
    logits.requires_grad_()
    loss = classes_loss(logits, target, task, (1.0,) * task.num_classes, 0.5, 0.1)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
def test_a_split_batch_sums_to_the_whole(azimuth_bins):
    generator = torch.Generator().manual_seed(1)
    tasks = build_tasks(azimuth_bins, superstructures=True)
    segments = tasks[0]
    logits = {
        "segments": random_logits(3, segments.num_classes, 8, 8).detach(),
        "lines": random_logits(3, 4, 8, 8).detach(),
        "depth": random_logits(3, 1, 8, 8).detach().exp(),
        "superstructures": random_logits(3, 9, 8, 8).detach(),
    }

    def draw_labels(num_labels):
        drawn = torch.randint(num_labels + 1, (3, 8, 8), generator=generator)
        return drawn.masked_fill(drawn == num_labels, IGNORE_INDEX).to(torch.uint8)

    targets = {
        "segments": draw_labels(segments.num_labels),
        "superstructures": draw_labels(9),
        "lines": torch.tensor([0, 1, 255], dtype=torch.uint8)[
            torch.randint(3, (3, 4, 8, 8), generator=generator)
        ],
        "depth": torch.rand(3, 8, 8, generator=generator) * 8,
    }
    targets["depth"][0] = math.nan
    loss = RoofLoss(tasks)
    whole = loss(logits, targets)
    assert tuple(logits) == tuple(whole)
    for name in TASK_NAMES:
        parts = sum(
            loss({name: logits[name][i : i + 1]}, {name: targets[name][i : i + 1]})[name]
            for i in range(3)
        )
        torch.testing.assert_close(parts, whole[name])


def test_count_known_counts_values_per_task():
    targets = {
        "segments": labels([0, 18, 255]),
        "lines": torch.tensor([0, 1, 255, 255], dtype=torch.uint8).view(1, 4, 1, 1),
        "depth": torch.tensor([0.0, math.nan, 61.0]).view(1, 1, 3),
    }
    assert count_known(targets).tolist() == [2, 2, 1, 0]
    superstructures = {"superstructures": labels([0, 8, 255, 255])}
    assert count_known(superstructures).tolist() == [0, 0, 0, 2]
