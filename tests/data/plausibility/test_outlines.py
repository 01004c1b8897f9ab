"""Labels beside, mirrored against or without any relation to their photos."""

import numpy as np
import pytest
import torch

from app.base.tasks import BACKGROUND_CLASS, SOME_ROOF
from app.data.plausibility.outlines import fit_outlines, judge_outlines
from app.data.sample import with_unknown

SIDE_PX = 240
GSD_M = 0.2  # 48 m


def draw_houses(seed):
    """(H, W) bool: some rectangles of no order."""
    rng = np.random.default_rng(seed)
    houses = np.zeros((SIDE_PX, SIDE_PX), np.bool_)
    for _ in range(5):
        (top, left), (height, width) = rng.integers(10, 180, 2), rng.integers(25, 50, 2)
        houses[top : top + height, left : left + width] = True
    return houses


def make_sample(seed, label=None, task="segments"):
    houses = draw_houses(seed)
    label = houses if label is None else label
    noise = np.random.default_rng(seed).normal(0, 8, (3, SIDE_PX, SIDE_PX))
    image = np.clip(np.where(houses, 150, 90) + noise, 0, 255).astype(np.uint8)
    if task == "segments":
        target = np.where(label, SOME_ROOF, BACKGROUND_CLASS).astype(np.uint8)
    else:
        target = np.zeros((4, SIDE_PX, SIDE_PX), np.uint8)
        target[0] = label & ~np.roll(label, 1, axis=0) | label & ~np.roll(label, -1, axis=1)
    planes = with_unknown(torch.from_numpy(image), {task: torch.from_numpy(target.copy())})
    return {**planes, "dataset": "airs", "sample_id": str(seed), "gsd_m": GSD_M}


def judge(change=lambda label: label, *, num_samples=12, are_whole=True, task="segments"):
    fits = {}
    for seed in range(num_samples):
        sample = make_sample(seed, change(draw_houses(seed)), task)
        fits[str(seed)] = fit_outlines(sample, span_m=48)
    return judge_outlines(fits, are_whole=are_whole)


def shift(down_px, right_px):
    return lambda label: np.roll(label, (down_px, right_px), axis=(0, 1))


@pytest.mark.parametrize("task", ["segments", "lines"])
def test_labels_that_fit_raise_nothing(task):
    assert judge(task=task) == []


def test_a_shift_that_real_labels_have_raises_nothing():
    assert judge(shift(3, 3)) == []  # 0.85 m


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shift(0, 75), "by 15.0 m (0.0 down, 15.0 left)"),
        (shift(-8, 6), "by 2.0 m (1.5 down, 1.2 left)"),
    ],
)
def test_a_shift_is_named_in_metres(change, words):
    [found] = judge(change, are_whole=False)
    assert (found.severity, found.kind) == ("error", "labels are shifted")
    assert words in found.what


def test_a_shift_of_drawn_lines_is_named():
    [found] = judge(shift(0, 10), task="lines")
    assert "by 2.0 m (0.0 down, 2.0 left)" in found.what


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (np.flipud, "better mirrored top to bottom"),
        (np.fliplr, "better mirrored left to right"),
        (lambda label: np.rot90(label, 2), "better turned by 180 degrees"),
        (np.rot90, "better turned by 90 degrees clockwise"),
        (np.transpose, "(rows and columns swapped)"),
    ],
)
def test_the_other_side_up_is_named(change, words):
    [found] = judge(change)
    assert (found.severity, found.kind) == ("error", "labels are shifted")
    assert words in found.what


def test_labels_of_other_photos_are_a_warning():
    fits = {
        str(seed): fit_outlines(make_sample(seed, draw_houses(100 + seed)), span_m=48)
        for seed in range(16)
    }
    [found] = judge_outlines(fits, are_whole=True)
    assert (found.severity, found.kind) == ("warning", "labels do not fit photos")
    assert "edges of the labels of 16 samples do not lie on edges" in found.what


def test_few_samples_small_photos_and_even_ones_say_nothing():
    assert judge(shift(0, 75), num_samples=5) == []
    sample = make_sample(0)
    assert fit_outlines({**sample, "gsd_m": 0.03}, span_m=7.2) is None
    even = {**sample, "image": torch.full_like(sample["image"], 90)}
    assert fit_outlines(even, span_m=48) is None
