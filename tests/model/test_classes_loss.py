"""The loss and its gradient in closed form, against the definition written out pixel by pixel."""

import pytest
import torch

from app.base.tasks import IGNORE_INDEX, build_tasks
from app.model.classes_loss import classes_loss

SHAPE = (3, 6, 5)


def written_out(logits, target, task, weights, dice_weight, smoothing):
    """In float64 and plain sums, for autograd to differentiate."""
    p = logits.double().softmax(1)
    log_p = logits.double().log_softmax(1)
    background, bins = task.background_class, task.azimuth_bins
    total = torch.zeros((), dtype=torch.float64)
    for n in range(target.shape[0]):
        known = [
            (y, x, int(target[n, y, x]))
            for y in range(target.shape[1])
            for x in range(target.shape[2])
            if target[n, y, x] != IGNORE_INDEX
        ]
        for y, x, label in known:
            classes = task.label_sets[label]
            if len(classes) > 1:
                total = total - p[n, list(classes), y, x].sum().log()
                continue
            (c,) = classes
            term = log_p[n, c, y, x]
            if c < bins:
                beside = log_p[n, (c - 1) % bins, y, x] + log_p[n, (c + 1) % bins, y, x]
                term = (1 - smoothing) * term + smoothing / 2 * beside
            total = total - weights[c] * term
        singles = [(y, x, label) for y, x, label in known if len(task.label_sets[label]) == 1]
        present = sorted({label for _, _, label in singles} - {background})
        class_dice = sum(
            dice(
                [p[n, c, y, x] for y, x, label in singles if label == c],
                [p[n, c, y, x] for y, x, _ in singles],
            )
            for c in present
        ) / max(1, len(present))
        objects = [1 - p[n, background, y, x] for y, x, _ in known]
        hits = [
            1 - p[n, background, y, x]
            for y, x, label in known
            if background not in task.label_sets[label]
        ]
        total = total + dice_weight * len(known) * (class_dice + dice(hits, objects)) / 2
    return total


def dice(hits, predicted):
    return 1 - (2 * sum(hits) + 1) / (sum(predicted) + len(hits) + 1)


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
@pytest.mark.parametrize(("dice_weight", "smoothing"), [(0.0, 0.0), (0.5, 0.1), (1.0, 0.5)])
def test_loss_and_gradient_are_those_of_the_definition(azimuth_bins, dice_weight, smoothing):
    task = build_tasks(azimuth_bins)[0]
    generator = torch.Generator().manual_seed(azimuth_bins)
    logits = 4 * torch.randn(SHAPE[0], task.num_classes, *SHAPE[1:], generator=generator)
    target = torch.randint(task.num_labels, SHAPE, generator=generator).to(torch.uint8)
    target[0, :2] = IGNORE_INDEX
    target[1] = task.background_class
    weights = tuple((0.5 + torch.rand(task.num_classes, generator=generator)).tolist())
    ours, reference = (logits.clone().requires_grad_() for _ in range(2))
    loss = classes_loss(ours, target, task, weights, dice_weight, smoothing)
    expected = written_out(reference, target, task, weights, dice_weight, smoothing)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
    (3 * loss).backward()  # a step's scale is another than 1
    (3 * expected).backward()
    torch.testing.assert_close(ours.grad, reference.grad, rtol=1e-4, atol=1e-5)


def test_far_apart_logits_stay_finite():
    task = build_tasks()[0]
    logits = torch.full((1, 18, 1, 4), -1e4)
    logits[:, 3] = 1e4
    logits.requires_grad_()
    target = torch.tensor(
        [[[3, 4, 17, 18]]], dtype=torch.uint8
    )  # right, next to it, far, some roof
    loss = classes_loss(logits, target, task, (1.0,) * 18, 0.5, 0.1)
    loss.backward()
    # By hand: 2e4 for each of a neighbour's tenths, for the wrong class and for background.
    assert loss.item() == pytest.approx(2e4 * (0.1 + 0.95 + 1), rel=1e-3)
    assert torch.isfinite(logits.grad).all()


def test_nothing_known_is_exactly_zero():
    logits = (1e4 * torch.randn(2, 18, 8, 8)).requires_grad_()
    target = torch.full((2, 8, 8), IGNORE_INDEX, dtype=torch.uint8)
    loss = classes_loss(logits, target, build_tasks()[0], (1.0,) * 18, 0.5, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()
