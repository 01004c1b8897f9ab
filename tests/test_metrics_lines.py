"""Lines metrics on small drawings, against plain loops."""

import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from app.metrics import LinesMetrics
from app.metrics.lines import count_matches, thin
from app.tasks import IGNORE_INDEX, find_task

Mask = npt.NDArray[np.uint8]
RIDGE = 1


def band(row: int, *, ring: bool = False, size: int = 24, width: int = 3) -> Mask:
    """A horizontal line whose centre lies on `row`, from side to side."""
    mask = np.zeros((size, size), np.uint8)
    half = width // 2
    if ring:
        mask[row - half - 1 : row + half + 2] = IGNORE_INDEX
    mask[row - half : row + half + 1] = 1
    return mask


def score(prediction: Mask, target: Mask, kind: int = RIDGE) -> dict[str, float | None]:
    """Values where only one kind is known."""
    metrics = LinesMetrics(find_task("lines"))
    metrics.update(*as_batch(prediction, target, kind))
    return {name: metric.value for name, metric in metrics.compute().items()}


def as_batch(prediction: Mask, target: Mask, kind: int = RIDGE) -> tuple[Tensor, Tensor]:
    logits = torch.full((1, 4, *prediction.shape), -5.0)
    logits[0, kind] = 10.0 * torch.from_numpy(prediction) - 5.0
    targets = torch.full((1, 4, *target.shape), IGNORE_INDEX, dtype=torch.uint8)
    targets[0, kind] = torch.from_numpy(target)
    return logits, targets


def test_perfect() -> None:
    values = score(band(10), band(10, ring=True))
    known = {
        name: value for name, value in values.items() if not name.startswith(("eave", "hip", "v"))
    }
    assert len(known) == 18
    assert set(known.values()) == {1.0}


def test_a_kind_without_known_pixels_counts_nothing() -> None:
    values = score(band(10), band(10))
    for name in ("eave_precision_2px", "hip_recall_5px", "valley_f1_3px"):
        assert values[name] is None


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize("shift", [2, 3, 4, 5, 6])
def test_a_shifted_line_matches_from_its_shift_on(shift: int, ring: bool) -> None:
    # With the ring, a line 2 px off lies on ignored pixels; it still counts as drawn.
    values = score(band(10 + shift), band(10, ring=ring))
    for tolerance in (2, 3, 5):
        expected = 1.0 if shift <= tolerance else 0.0
        for measure in ("precision", "recall", "f1"):
            assert values[f"ridge_{measure}_{tolerance}px"] == expected


def test_half_found() -> None:
    prediction = band(18, width=1)
    prediction[10, :12] = 1
    metrics = LinesMetrics(find_task("lines"))
    metrics.update(*as_batch(prediction, band(10, width=1)))
    computed = metrics.compute()
    # 12 of the 36 predicted pixels lie on the line; of its 24, those up to 2 px further on match.
    assert computed["ridge_precision_2px"].value == 12 / 36
    assert computed["ridge_precision_2px"].support == 36
    assert computed["ridge_recall_2px"].value == 14 / 24
    assert computed["ridge_recall_5px"].value == 17 / 24
    assert computed["ridge_recall_2px"].support == 24
    assert computed["ridge_f1_2px"].value == pytest.approx(2 / (36 / 12 + 24 / 14))


def test_predictions_in_unknown_areas_are_not_counted() -> None:
    target = band(10, ring=True)
    target[15:] = IGNORE_INDEX
    both = band(10) | band(18)
    counts = count_matches(both, target)
    assert list(counts) == list(count_matches(band(10), target))
    assert counts[0] == counts[2] == thin(band(10)).sum()
    target[15:] = 0
    assert score(both, target)["ridge_precision_5px"] == 0.5


def test_a_line_in_an_unknown_area_finds_the_true_line_beside_it() -> None:
    # True line on row 10, known to row 12; the prediction 4 px off lies where nothing is known.
    target = band(10, ring=True)
    target[13:] = IGNORE_INDEX
    values = score(band(14), target)
    assert values["ridge_precision_5px"] is None
    assert values["ridge_recall_5px"] == 1.0
    assert values["ridge_f1_5px"] is None
    assert values["ridge_f1_3px"] == 0.0


@pytest.mark.parametrize(
    ("prediction", "target", "precision", "recall", "f1"),
    [
        pytest.param(band(10) * 0, band(10), None, 0.0, 0.0, id="nothing predicted"),
        pytest.param(band(10), band(10) * 0, 0.0, None, None, id="no line in the target"),
        pytest.param(band(10) * 0, band(10) * 0, None, None, None, id="neither"),
        pytest.param(band(10), np.full_like(band(10), 255), None, None, None, id="all unknown"),
    ],
)
def test_undefined(
    prediction: Mask,
    target: Mask,
    precision: float | None,
    recall: float | None,
    f1: float | None,
) -> None:
    values = score(prediction, target)
    for prefix in ("", "ridge_"):
        assert values[f"{prefix}precision_2px"] == precision
        assert values[f"{prefix}recall_2px"] == recall
        assert values[f"{prefix}f1_2px"] == f1


def test_threshold_is_a_probability_above_one_half() -> None:
    _, target = as_batch(band(10), band(10))
    for logit, num_predicted in ((0.0, 0), (0.01, 24)):
        logits = torch.full((1, 4, 24, 24), -5.0)
        logits[0, RIDGE, 10] = logit
        metrics = LinesMetrics(find_task("lines"))
        metrics.update(logits, target)
        assert metrics.compute()["ridge_precision_2px"].support == num_predicted


def test_all_kinds_are_their_counts_added_up() -> None:
    # Ridges all right, hips all missed, one eave false: the pooled score weighs by pixels.
    logits = torch.full((1, 4, 24, 24), -5.0)
    target = torch.zeros((1, 4, 24, 24), dtype=torch.uint8)
    target[0, 1, 4], target[0, 2, 12], logits[0, 1, 4], logits[0, 0, 20, :8] = 1, 1, 5.0, 5.0
    metrics = LinesMetrics(find_task("lines"))
    metrics.update(logits, target)
    values = {name: metric.value for name, metric in metrics.compute().items()}
    assert values["ridge_f1_2px"] == 1.0
    assert values["hip_f1_2px"] == 0.0
    assert values["eave_precision_2px"] == 0.0
    assert values["precision_2px"] == 24 / (24 + 8)
    assert values["recall_2px"] == 24 / 48


@pytest.mark.parametrize("seed", range(4))
def test_counts_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, target = np.zeros((2, 30, 34), np.uint8)
    for mask in (prediction, target):
        for _ in range(3):
            ends = rng.integers(0, 30, (2, 2))
            cv2.line(mask, ends[0].tolist(), ends[1].tolist(), 1, 3)
    ring = (cv2.dilate(target, np.ones((3, 3), np.uint8)) == 1) & (target == 0)
    target[ring] = IGNORE_INDEX
    target[:, 28:] = np.where(target[:, 28:] == 1, 1, IGNORE_INDEX)

    predicted = np.argwhere(thin(prediction)).tolist()
    true = np.argwhere(thin((target == 1).astype(np.uint8))).tolist()
    scored = [(y, x) for y, x in predicted if is_scored(target, y, x)]
    expected = [len(scored), len(true)]
    expected += [count_near(scored, true, tolerance) for tolerance in (2, 3, 5)]
    expected += [count_near(true, predicted, tolerance) for tolerance in (2, 3, 5)]
    assert count_matches(prediction, target).tolist() == expected


def is_scored(target: Mask, y: int, x: int) -> bool:
    beside = target[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
    return bool(target[y, x] != IGNORE_INDEX or (beside == 1).any())


def count_near(pixels: list[list[int]], others: list[list[int]], tolerance: int) -> int:
    return sum(any(math.dist(pixel, other) <= tolerance for other in others) for pixel in pixels)


@pytest.mark.parametrize("angle_deg", range(0, 180, 15))
def test_thinning_keeps_lines_of_every_direction(angle_deg: int) -> None:
    y, x = np.mgrid[:100, :100] - 50.3
    angle = np.radians(angle_deg)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    centre = thin(((abs(along) <= 40) & (abs(across) <= 1.5)).astype(np.uint8)) == 1
    assert np.abs(across[centre]).max() < 1.5
    # One pixel wide, and from end to end.
    assert 0.7 * 80 - 4 <= centre.sum() <= 80 + 2
    assert along[centre].max() - along[centre].min() > 76


def test_thinning_leaves_its_input_alone() -> None:
    mask = band(10)
    thin(mask)
    assert np.array_equal(mask, band(10))


def test_a_line_along_the_border_is_thinned_too() -> None:
    mask = np.zeros((9, 30), np.uint8)
    mask[:3] = 1
    assert thin(mask).sum(axis=0).max() == 1
