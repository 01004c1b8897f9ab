"""Losses of lines and heights against their definitions in plain float64 loops."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from app.base.tasks import IGNORE_INDEX
from app.model.losses import depth_loss, lines_loss

Floats = npt.NDArray[np.float64]
POSITIVE_WEIGHTS = (5.3, 8.0, 1.0, 2.5)
# Even and odd sides, sides that end the pyramid early, one that would have a fifth scale.
SIZES = [(8, 8), (5, 7), (1, 6), (3, 17), (16, 13), (33, 18)]


def plain_lines_loss(
    logits: Floats, target: npt.NDArray[np.uint8], dice_weight: float, epsilon: float = 1.0
) -> float:
    total = 0.0
    for image, kind in np.ndindex(logits.shape[:2]):
        cross_entropy, common, predicted, actual, num_known = 0.0, 0.0, 0.0, 0, 0
        for z, y in zip(logits[image, kind].flat, target[image, kind].flat, strict=True):
            if y == IGNORE_INDEX:
                continue
            p = 1 / (1 + math.exp(-z))
            cross_entropy -= POSITIVE_WEIGHTS[kind] * math.log(p) if y else math.log(1 - p)
            common += p * y
            predicted += p
            actual += int(y)
            num_known += 1
        total += cross_entropy
        if actual:
            dice = 1 - (2 * common + epsilon) / (predicted + actual + epsilon)
            total += dice_weight * num_known * dice
    return total


def draw_lines_case(height: int, width: int) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Three images: one with all, one without a line of two kinds, one of unknown kinds."""
    rng = np.random.default_rng(height * 100 + width)
    logits = rng.normal(0, 3, (3, 4, height, width))
    target = rng.choice(np.array([0, 1, IGNORE_INDEX], np.uint8), logits.shape, p=[0.6, 0.2, 0.2])
    target[1, :2][target[1, :2] == 1] = 0
    target[2, 1:] = IGNORE_INDEX
    return logits, target


@pytest.mark.parametrize("dice_weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_lines(size: tuple[int, int], dice_weight: float) -> None:
    logits, target = draw_lines_case(*size)
    loss = lines_loss(
        torch.from_numpy(logits), torch.from_numpy(target), POSITIVE_WEIGHTS, dice_weight
    )
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(plain_lines_loss(logits, target, dice_weight), rel=2e-6)


def is_known(height_m: float) -> bool:
    return -0.5 <= height_m <= 60  # False for NaN


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def plain_depth_loss(prediction: Floats, target: Floats) -> float:
    total = 0.0
    for image_prediction, image_target in zip(prediction, target, strict=True):
        error: dict[tuple[int, int], float] = {}
        halves: dict[bool, list[float]] = {True: [], False: []}
        for place, truth in np.ndenumerate(image_target):
            if is_known(truth):
                e = float(image_prediction[place] - truth)
                error[place] = e
                halves[bool(truth > 0.5)].append(e * e / 2 if abs(e) < 1 else abs(e) - 0.5)
        means = [mean(half) for half in halves.values() if half]
        total += len(error) * (mean(means) + 0.5 * plain_gradient(error, image_target.shape)) / 3
    return total


def plain_gradient(error: dict[tuple[int, int], float], size: tuple[int, int]) -> float:
    total = 0.0
    for _ in range(4):
        for down, right in ((1, 0), (0, 1)):
            pairs = [(place, (place[0] + down, place[1] + right)) for place in error]
            total += mean([abs(error[b] - error[a]) for a, b in pairs if b in error])
        # Every other row and column; an odd last one has no partner and is left out.
        size = (size[0] // 2, size[1] // 2)
        blocks: dict[tuple[int, int], list[float]] = {}
        for (y, x), value in error.items():
            if y // 2 < size[0] and x // 2 < size[1]:
                blocks.setdefault((y // 2, x // 2), []).append(value)
        error = {place: mean(values) for place, values in blocks.items()}
    return total


def draw_depth_case(height: int, width: int) -> tuple[Floats, Floats]:
    """Images with all, without unknown pixels, of ground, of roof, and with nothing known."""
    rng = np.random.default_rng(height * 100 + width)
    target = rng.choice([0.0, 0.1, 0.5, 0.51, -0.5, 4.0, 9.5, 60.0], (5, height, width))
    prediction = target + rng.normal(0, 2, target.shape)
    for image in (0, 2, 3):
        target[image][rng.random((height, width)) < 0.3] = np.nan
        target[image][rng.random((height, width)) < 0.1] = rng.choice([-0.6, 60.1, np.inf])
        # A hole as large as a pixel of the third scale, and what is left of its neighbours.
        target[image, 4:9, 2:10] = np.nan
    target[2][target[2] > 0.5] = 0.2
    target[3][target[3] <= 0.5] = 6.0
    target[4] = np.nan
    # As the loss sees it: a float32.
    return prediction.astype(np.float32).astype(float), target.astype(np.float32).astype(float)


@pytest.mark.parametrize("size", SIZES)
def test_heights(size: tuple[int, int]) -> None:
    prediction, target = draw_depth_case(*size)
    for images in ([0], [1], [2], [3], [4], [0, 1, 2, 3, 4]):
        loss = depth_loss(
            torch.from_numpy(prediction[images])[:, None], torch.from_numpy(target[images]).float()
        )
        assert loss.dtype == torch.float32
        expected = plain_depth_loss(prediction[images], target[images])
        assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (16, 9)])
def test_gradient_of_heights(size: tuple[int, int]) -> None:
    prediction, target = draw_depth_case(*size)
    values = torch.from_numpy(prediction)[:, None].requires_grad_()
    depth_loss(values, torch.from_numpy(target).float()).backward()
    assert values.grad is not None
    step = 1e-6
    for place in list(np.ndindex(target.shape))[:: 1 + target.size // 60]:
        slopes = []
        for sign in (1, -1):
            moved = prediction.copy()
            moved[place] += sign * step
            slopes.append(sign * plain_depth_loss(moved, target))
        expected = sum(slopes) / (2 * step)
        image, *pixel = place
        assert values.grad[image, 0][tuple(pixel)].item() == pytest.approx(expected, abs=1e-4)


def test_lines_at_extreme_logits() -> None:
    # Per kind a line that is seen and one that is missed, ground that is called line and ground
    # that is not, and two unknown pixels.
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4, 1e4, -1e4]).repeat(1, 4, 1, 1).requires_grad_()
    target = torch.tensor([1, 1, 0, 0, 255, 255], dtype=torch.uint8).repeat(1, 4, 1, 1)
    loss = lines_loss(logits, target, POSITIVE_WEIGHTS, 0.5)
    loss.backward()
    dice = 1 - (2 * 1 + 1) / (2 + 2 + 1)
    expected = sum(weight * 1e4 + 1e4 + 0.5 * 4 * dice for weight in POSITIVE_WEIGHTS)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert logits.grad is not None
    for kind, weight in enumerate(POSITIVE_WEIGHTS):
        assert logits.grad[0, kind, 0].tolist() == pytest.approx([0, -weight, 1, 0, 0, 0])


@pytest.mark.parametrize("prediction_m", [1e4, -1e4])
def test_heights_far_off(prediction_m: float) -> None:
    # Two pixels on a roof of 4 m and two on the ground, each pair with an unknown one beside it.
    target = torch.tensor([[[4.0, 4.0, math.nan], [0.0, 0.0, math.nan]]])
    prediction = torch.full((1, 1, 2, 3), prediction_m, requires_grad=True)
    loss = depth_loss(prediction, target)
    loss.backward()
    errors = [abs(prediction_m - height) for height in (4.0, 0.0)]
    # Downwards the errors differ by 4 m, and by nothing at the next scale, which has one pixel.
    expected = 4 / 3 * (mean(errors) - 0.5 + 0.5 * 4)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()
    # Of the loss: 4/3 of half a mean of two in either row; the gradient term pulls them together.
    outwards = math.copysign(1 / 3, prediction_m)
    together = 4 / 3 * 0.5 / 2
    assert prediction.grad[0, 0, 0].tolist() == pytest.approx([outwards - together] * 2 + [0])
    assert prediction.grad[0, 0, 1].tolist() == pytest.approx([outwards + together] * 2 + [0])


@pytest.mark.parametrize("size", SIZES)
def test_nothing_known_is_exactly_zero_with_the_graph_connected(size: tuple[int, int]) -> None:
    lines = torch.full((2, 4, *size), 1e4, requires_grad=True)
    heights = torch.full((2, 1, *size), 1e4, requires_grad=True)
    losses = {
        "lines": lines_loss(
            lines, torch.full((2, 4, *size), 255, dtype=torch.uint8), POSITIVE_WEIGHTS
        ),
        "depth": depth_loss(heights, torch.full((2, *size), math.nan)),
    }
    assert {name: loss.item() for name, loss in losses.items()} == {"lines": 0.0, "depth": 0.0}
    sum(losses.values()).backward()
    for values in (lines, heights):
        assert values.grad is not None
        assert (values.grad == 0).all()
