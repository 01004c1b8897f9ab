import math

import pytest
import torch
import torch.nn.functional as F

from app.losses import (
    SEGMENT_CLASS_WEIGHTS,
    RoofLoss,
    count_known,
    depth_loss,
    lines_loss,
    segments_loss,
)
from app.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF

WEIGHTS = torch.tensor(SEGMENT_CLASS_WEIGHTS)


def random_logits(*shape, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=generator)).requires_grad_()


def labels(*rows):
    return torch.tensor([rows], dtype=torch.uint8)


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
    loss = lines_loss(logits, target)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[0, 3] == 0).all()
    assert (logits.grad[0, :3] != 0).all()


def test_lines_cross_entropy_weighs_line_pixels():
    logits = torch.zeros(1, 4, 1, 1)
    target = torch.tensor([1, 0, 255, 255], dtype=torch.uint8).view(1, 4, 1, 1)
    assert lines_loss(logits, target, 0.0).item() == pytest.approx((5.3 + 1) * math.log(2))


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
    logits = {"segments": random_logits(2, 18, 8, 8), "lines": random_logits(2, 4, 8, 8)}
    targets = {
        "segments": torch.full((2, 8, 8), IGNORE_INDEX, dtype=torch.uint8),
        "lines": torch.full((2, 4, 8, 8), IGNORE_INDEX, dtype=torch.uint8),
    }
    sums = RoofLoss()(logits, targets)
    sum(sums.values()).backward()
    for name, values in logits.items():
        assert sums[name].item() == 0
        assert (values.grad == 0).all()
    assert count_known(targets).tolist() == [0, 0, 0]


@pytest.mark.parametrize("label", [0, 17, SOME_ROOF])
def test_finite_at_extreme_logits(label):
    logits = torch.full((1, 18, 1, 1), -1e4)
    logits[0, 17 if label != 17 else 0] = 1e4
    logits.requires_grad_()
    loss = segments_loss(logits, labels([label]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_a_split_batch_sums_to_the_whole():
    generator = torch.Generator().manual_seed(1)
    logits = {
        "segments": random_logits(3, 18, 8, 8).detach(),
        "lines": random_logits(3, 4, 8, 8).detach(),
        "depth": random_logits(3, 1, 8, 8).detach().exp(),
    }
    choices = torch.tensor([0, 5, 16, 17, 18, 255], dtype=torch.uint8)
    targets = {
        "segments": choices[torch.randint(6, (3, 8, 8), generator=generator)],
        "lines": torch.tensor([0, 1, 255], dtype=torch.uint8)[
            torch.randint(3, (3, 4, 8, 8), generator=generator)
        ],
        "depth": torch.rand(3, 8, 8, generator=generator) * 8,
    }
    targets["depth"][0] = math.nan
    loss = RoofLoss()
    whole = loss(logits, targets)
    for name in whole:
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
    assert count_known(targets).tolist() == [2, 2, 1]
    assert count_known({"segments": targets["segments"]}).tolist() == [2, 0, 0]
